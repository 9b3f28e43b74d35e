import * as tedious from 'tedious';
import { once } from 'node:events';
import sql from 'mssql';
import { Controller, Get, Query } from '@nestjs/common';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { CostRecord } from 'nestjs-async-context';
import { mssqlInstrumentation } from '../../lib/drivers/mssql/mssql.driver';
import { connect, openPool } from '../support/mssql';
import { platforms, startApp, type TestApp, until } from '../support/platforms';
import { startTdsServer, type TdsServer } from '../support/tds-server';
import { chargedAtOnce, recordOfUnit } from '../support/units';

const instrumentations = [mssqlInstrumentation()];

let test: TestApp;
let server: TdsServer;
let pool: sql.ConnectionPool;
let openedBefore: sql.ConnectionPool;

beforeAll(async () => {
  server = await startTdsServer();
  openedBefore = await openPool(server);
  test = await startApp({ instrumentations });
  pool = await openPool(server);
});
afterAll(async () => {
  await Promise.all([pool.close(), openedBefore.close()]);
  await server.close();
  await test.close();
});

describe.each(platforms)('20 requests at once over a pool of two, on %s', platform => {
  const kinds: Record<string, (i: number) => Promise<unknown>> = {
    promises: i => pool.request().input('i', i).query("SELECT @i WAITFOR DELAY '00:00:00.002'"),
    callbacks: () =>
      new Promise((resolve, reject) => {
        pool.request().query('SELECT 1', (error, rows) => (error ? reject(error) : resolve(rows)));
      }),
    transactions: async () => {
      const transaction = new sql.Transaction(pool);
      await transaction.begin();
      await new sql.Request(transaction).query('SELECT 1');
      await transaction.rollback();
    },
    'a pool that was opened before the application': () => openedBefore.query('SELECT 1'),
  };

  @Controller()
  class WorkController {
    @Get()
    async work(@Query('kind') kind: string, @Query('times') times: string): Promise<void> {
      for (let i = 0; i < Number(times); i++) await kinds[kind]!(i);
    }
  }

  it.each(Object.keys(kinds))('are charged to their own: %s', async kind => {
    const app = await startApp({ platform, controllers: [WorkController], instrumentations });
    const made = Array.from({ length: 20 }, (_, i) => 1 + i);
    await Promise.all(made.map(times => fetch(`${app.url}/?kind=${kind}&times=${times}`)));
    const records = await app.records(20);
    expect(records.map(({ queries }) => queries.count).sort((a, b) => a - b)).toEqual(made);
    await app.close();
  });
});

describe('callbacks and rows', () => {
  it.each(['SELECT TOP 7 * FROM orders', 'SELECT * FROM nowhere'])(
    'of a stream run in the context of their own: %s',
    async text => {
      const { made, charged } = await chargedAtOnce(test, 20, async queries => {
        const request = pool.request();
        const asked: Promise<unknown>[] = [];
        const ask = (): void => {
          if ((queries -= 1) > 0) asked.push(pool.query('SELECT 1'));
        };
        request.stream = true;
        request.on('row', ask).on('error', () => Array.from({ length: 7 }, ask));
        const isDone = new Promise(resolve => request.on('done', resolve));
        void request.query(text);
        await isDone;
        await Promise.all(asked);
      });
      expect(charged).toEqual(made);
    },
  );

  it('of tedious itself do so as well', async () => {
    const connections = await Promise.all([connect(server), connect(server)]);
    const ask = (connection: tedious.Connection, left: number): Promise<unknown> =>
      new Promise((resolve, reject) => {
        const next = (): void => {
          if ((left -= 1) < 0) return resolve(undefined);
          connection.execSql(new tedious.Request('SELECT 1', error => (error ? reject(error) : next())));
        };
        next();
      });
    const [two, five] = await Promise.all([
      recordOfUnit(test, () => ask(connections[0]!, 2)),
      recordOfUnit(test, () => ask(connections[1]!, 5)),
    ]);
    expect([two!.queries.count, five!.queries.count]).toEqual([2, 5]);
    connections.forEach(connection => connection.close());
  });
});

describe('the pool of mssql', () => {
  it('is waited for apart from the query', async () => {
    const small = await openPool(server, 1);
    const { isOver } = await occupy(small, '00.500');
    const second = await recordOfUnit(test, () => small.query('SELECT 1'));
    const first = await isOver;
    expect(first.queries.durationMs).toBeGreaterThan(490);
    expect(first.queries.waitMs).toBeLessThan(first.queries.durationMs);
    expect(second.queries.waitMs).toBeGreaterThan(400);
    expect(second.queries.durationMs).toBeLessThan(second.queries.waitMs);
    await small.close();
  });

  it.each<[string, (single: sql.ConnectionPool) => Promise<unknown>]>([
    [
      'a transaction',
      async single => {
        const transaction = new sql.Transaction(single);
        await transaction.begin();
        await transaction.rollback();
      },
    ],
    [
      'what is prepared',
      async single => {
        const statement = new sql.PreparedStatement(single);
        await statement.prepare('SELECT 1');
        await statement.unprepare();
      },
    ],
    ['a connection', async single => release(single, await acquireFrom(single))],
  ])('is waited for by what is no query as well: %s', async (_what, work) => {
    const single = await openPool(server, 1);
    const { isOver } = await occupy(single, '00.100');
    const record = await recordOfUnit(test, () => work(single));
    expect(record.queries).toMatchObject({ count: 0, errors: 0 });
    expect(record.queries.waitMs).toBeGreaterThan(60);
    await isOver;
    await single.close();
  });

  it.each<[string, (single: sql.ConnectionPool) => Promise<unknown>, string | undefined]>([
    ['query', single => single.query('SELECT * FROM orders'), 'orders'],
    ['transaction', single => new sql.Transaction(single).begin(), undefined],
    ['connection', acquireFrom, undefined],
  ])('that is exhausted is an error, and waiting, of who asked: %s', async (_what, work, table) => {
    const small = await openPool(server, 1, { pool: { max: 1, acquireTimeoutMillis: 100 } });
    small.on('error', () => undefined);
    const { isOver } = await occupy(small, '00.300');
    const refused = await recordOfUnit(test, () => expect(work(small)).rejects.toThrow('acquire'));
    expect(refused.queries).toMatchObject({ count: 1, errors: 1, rows: 0 });
    expect(refused.queries.shapes[0]?.table).toBe(table);
    expect(refused.queries.waitMs).toBeGreaterThan(90);
    expect((await isOver).queries).toMatchObject({ count: 1, errors: 0 });
    await small.close();
  });
});

/** Of the pool's own, not in its types. */
interface Own {
  acquire(requester: object): Promise<tedious.Connection>;
  release(connection: tedious.Connection): void;
}

function acquireFrom(single: sql.ConnectionPool): Promise<tedious.Connection> {
  return (single as unknown as Own).acquire({});
}

function release(single: sql.ConnectionPool, connection: tedious.Connection): void {
  (single as unknown as Own).release(connection);
}

/** Takes the one connection of a pool, for so many seconds. */
async function occupy(single: sql.ConnectionPool, seconds: string): Promise<{ isOver: Promise<CostRecord> }> {
  const isOver = recordOfUnit(test, () => single.query(`SELECT 1 WAITFOR DELAY '00:00:${seconds}'`));
  await until(() => (single.borrowed > 0 ? true : undefined), 'connection');
  return { isOver };
}

describe('what goes wrong', () => {
  const ask = (text: string, done: () => void): sql.Request => pool.request().query(text, done) as never;

  it.each<[string, (victim: sql.ConnectionPool, text: string) => Promise<unknown>]>([
    ['promise', (victim, text) => victim.query(text)],
    [
      'callback',
      (victim, text) =>
        new Promise((_resolve, reject) => {
          victim.request().query(text, error => {
            // One that is made there is charged to the same.
            void ask('SELECT 2', () => reject(error as Error));
          });
        }),
    ],
    [
      'stream',
      async (victim, text) => {
        const request = victim.request();
        request.stream = true;
        const error = once(request, 'never');
        void request.query(text);
        await error;
      },
    ],
  ])('with a server that is gone is an error of whose query was under way: %s', async (what, work) => {
    const other = await startTdsServer();
    const victim = await openPool(other, 1);
    victim.on('error', () => undefined);
    // The connection is opened by another one.
    await recordOfUnit(test, () => victim.query('SELECT 1'));
    const record = await recordOfUnit(test, async () => {
      const query = expect(work(victim, "SELECT 1 WAITFOR DELAY '00:00:05.000'")).rejects.toThrow();
      await new Promise(resolve => setTimeout(resolve, 50));
      other.cut();
      await query;
    });
    expect(record.queries).toMatchObject({ count: what === 'callback' ? 2 : 1, errors: 1 });
    await victim.close();
    await other.close();
  });

  it('is charged to who asked what tedious calls back, on a connection that another one opened', async () => {
    const other = await startTdsServer();
    let connection: tedious.Connection | undefined;
    await recordOfUnit(test, async () => (connection = await connect(other)));
    connection?.on('error', () => undefined);
    const record = await recordOfUnit(test, async () => {
      const isAsked = new Promise<void>(resolve => {
        const text = "SELECT 1 WAITFOR DELAY '00:00:05.000'";
        connection?.execSql(new tedious.Request(text, () => ask('SELECT 2', resolve)));
      });
      await new Promise(resolve => setTimeout(resolve, 50));
      other.cut();
      await isAsked;
    });
    expect(record.queries).toMatchObject({ count: 2, errors: 1 });
    await other.close();
  });

  it('within the time that a request has is an error of its own', async () => {
    const hasty = await openPool(server, 1, { requestTimeout: 100 });
    const record = await recordOfUnit(test, () =>
      expect(hasty.query("SELECT 1 WAITFOR DELAY '00:00:05.000'")).rejects.toThrow('Timeout'),
    );
    expect(record.queries).toMatchObject({ count: 1, errors: 1 });
    expect((await hasty.query('SELECT 1')).recordset).toHaveLength(1);
    await hasty.close();
  });
});
