import knex from 'knex';
import sql from 'mssql';
import { once } from 'node:events';
import { Connection, Request, TYPES } from 'tedious';
import { Controller, Get, Query } from '@nestjs/common';
import { DataSource, EntitySchema } from 'typeorm';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ContextService, QueryBudgetExceededError } from 'nestjs-async-context';
import { mssqlInstrumentation } from '../../lib/instrumentation/drivers/mssql.driver';
import { platforms, startApp, type TestApp } from '../support/platforms';
import { startTdsServer, type TdsServer } from '../support/tds-server';
import { chargedAtOnce, costOf, costs, recordOfUnit, type StatementCost } from '../support/units';

const instrumentations = [mssqlInstrumentation()];

let test: TestApp;
let server: TdsServer;
let pool: sql.ConnectionPool;

const open = (max = 2, more: Partial<sql.config> = {}): Promise<sql.ConnectionPool> =>
  new sql.ConnectionPool({
    server: '127.0.0.1',
    port: server.port,
    user: 'test',
    password: 'test',
    options: { encrypt: false },
    pool: { max, acquireTimeoutMillis: 2_000 },
    ...more,
  }).connect();

/** A connection of `tedious` itself, as Knex and Sequelize have it. */
async function connect(): Promise<Connection> {
  const connection = new Connection({
    server: '127.0.0.1',
    options: { port: server.port, encrypt: false, trustServerCertificate: true },
    authentication: { type: 'default', options: { userName: 'test', password: 'test' } },
  });
  connection.connect();
  await once(connection, 'connect');
  return connection;
}

beforeAll(async () => {
  server = await startTdsServer();
  test = await startApp({ instrumentations });
  pool = await open();
});
afterAll(async () => {
  await pool.close();
  await server.close();
  await test.close();
});

const byId = (request = pool.request()): sql.Request => request.input('id', sql.Int, 5);

function newTable(): sql.Table {
  const table = new sql.Table('orders');
  table.columns.add('id', sql.Int, { nullable: true });
  for (const id of [1, 2, 3]) table.rows.add(id);
  return table;
}

async function prepare(text: string): Promise<sql.PreparedStatement> {
  const statement = new sql.PreparedStatement(pool);
  statement.input('id', sql.Int);
  await statement.prepare(text);
  return statement;
}

describe('a statement of mssql', () => {
  it.each<[string, () => unknown, Partial<StatementCost>]>([
    [
      'SELECT',
      () => byId().query('SELECT TOP 3 * FROM orders WHERE id > @id'),
      { rows: 3, shape: 'SELECT TOP ? * FROM orders WHERE id > ?' },
    ],
    [
      'SELECT with literals, and names in brackets',
      () => pool.request().query("SELECT TOP 2 * FROM [orders] WHERE name = 'SECRET'"),
      { rows: 2, shape: 'SELECT TOP ? * FROM [orders] WHERE name = ?' },
    ],
    [
      'a tagged template',
      () => pool.query`SELECT TOP 2 * FROM orders WHERE id = ${5}`,
      { rows: 2, shape: 'SELECT TOP ? * FROM orders WHERE id = ?' },
    ],
    [
      'a batch of two statements',
      () => pool.request().batch('SELECT TOP 2 * FROM orders; SELECT TOP 3 * FROM orders'),
      { rows: 5, shape: 'SELECT TOP ? * FROM orders; SELECT TOP ? * FROM orders' },
    ],
    [
      'a procedure',
      () => byId().execute('find_orders'),
      { rows: 2, writes: 1, table: undefined, shape: 'EXEC find_orders' },
    ],
    [
      'a prepared statement',
      async () => {
        const statement = await prepare('SELECT TOP 4 * FROM orders WHERE id = @id');
        await statement.execute({ id: 1 });
        await statement.unprepare();
      },
      { rows: 4, shape: 'SELECT TOP ? * FROM orders WHERE id = ?' },
    ],
    [
      'INSERT',
      () => pool.request().query('INSERT INTO orders VALUES (1), (2)'),
      { writes: 1, shape: 'INSERT INTO orders VALUES (?)' },
    ],
    [
      'UPDATE',
      () => pool.request().query('UPDATE orders SET name = 1'),
      { writes: 1, shape: 'UPDATE orders SET name = ?' },
    ],
    [
      'DELETE',
      () => byId().query('DELETE FROM orders WHERE id = @id'),
      { writes: 1, shape: 'DELETE FROM orders WHERE id = ?' },
    ],
    [
      'a bulk load',
      () => pool.request().bulk(newTable()),
      { rows: 3, writes: 1, shape: 'INSERT INTO [orders] VALUES (?)' },
    ],
    [
      'a stream',
      async () => {
        const request = pool.request();
        request.stream = true;
        const rows: unknown[] = [];
        request.on('row', row => rows.push(row));
        void request.query('SELECT TOP 7 * FROM orders');
        await once(request, 'done');
        expect(rows).toHaveLength(7);
      },
      { rows: 7, shape: 'SELECT TOP ? * FROM orders' },
    ],
    [
      'with a callback',
      () =>
        new Promise((resolve, reject) => {
          pool
            .request()
            .query('SELECT TOP 2 * FROM orders', (error, rows) => (error ? reject(error) : resolve(rows)));
        }),
      { rows: 2, shape: 'SELECT TOP ? * FROM orders' },
    ],
    [
      'an error of the server',
      () => pool.request().query('SELECT * FROM nowhere'),
      { rows: 0, errors: 1, table: 'nowhere', shape: 'SELECT * FROM nowhere' },
    ],
    [
      'a transaction',
      async () => {
        const transaction = new sql.Transaction(pool);
        await transaction.begin();
        await new sql.Request(transaction).query('SELECT * FROM orders');
        await transaction.commit();
      },
      { transactions: 2, shape: 'SELECT * FROM orders' },
    ],
  ])('is counted: %s', async (_what, work, expected) => {
    expect(await costOf(test, work)).toEqual(costs({ table: 'orders', ...expected }));
  });

  it('leaves no value behind', async () => {
    const record = await recordOfUnit(test, async () => {
      await pool.request().input('name', 'SECRET-1').query('SELECT * FROM orders WHERE name = @name');
      await pool.request().query("SELECT * FROM orders WHERE name = 'SECRET-2'");
    });
    expect(record.queries.count).toBe(2);
    expect(JSON.stringify(record)).not.toContain('SECRET');
  });

  it('is a duplicate when its values are the same, and not when they differ', async () => {
    const text = 'SELECT * FROM orders WHERE id = @id';
    const record = await recordOfUnit(test, async () => {
      for (const id of [1, 2, 1]) await pool.request().input('id', id).query(text);
    });
    expect(record.findings).toMatchObject([{ kind: 'duplicate', count: 3, duplicates: 1 }]);
    const prepared = await recordOfUnit(test, async () => {
      const statement = await prepare(text);
      for (const id of [1, 2, 1]) await statement.execute({ id });
      await statement.unprepare();
    });
    expect(prepared.findings).toMatchObject([{ kind: 'duplicate', count: 3, duplicates: 1 }]);
  });
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
  it('of a stream run in the context of their own', async () => {
    const rows = async (queries: number): Promise<unknown> => {
      const request = pool.request();
      const asked: Promise<unknown>[] = [];
      request.stream = true;
      request.on('row', () => {
        if ((queries -= 1) > 0) asked.push(pool.query('SELECT 1'));
      });
      void request.query('SELECT TOP 7 * FROM orders');
      await once(request, 'done');
      return Promise.all(asked);
    };
    const { made, charged } = await chargedAtOnce(test, 20, rows);
    expect(charged).toEqual(made);
  });

  it('of tedious itself do so as well, and a statement that it prepares is counted', async () => {
    const connections = await Promise.all([connect(), connect()]);
    const ask = (connection: Connection, left: number): Promise<unknown> =>
      new Promise((resolve, reject) => {
        const next = (): void => {
          if ((left -= 1) < 0) return resolve(undefined);
          connection.execSql(new Request('SELECT 1', error => (error ? reject(error) : next())));
        };
        next();
      });
    const [two, five] = await Promise.all([
      recordOfUnit(test, () => ask(connections[0]!, 2)),
      recordOfUnit(test, () => ask(connections[1]!, 5)),
    ]);
    expect([two!.queries.count, five!.queries.count]).toEqual([2, 5]);
    const cost = await costOf(test, async () => {
      const connection = connections[0]!;
      await new Promise((resolve, reject) => {
        const request = new Request('SELECT TOP 2 * FROM orders WHERE id = @id', error =>
          error ? reject(error) : resolve(undefined),
        );
        request.addParameter('id', TYPES.Int, null);
        request.on('prepared', () => connection.execute(request, { id: 1 })).on('error', reject);
        connection.prepare(request);
      });
    });
    expect(cost).toMatchObject({ count: 1, rows: 2, shape: 'SELECT TOP ? * FROM orders WHERE id = ?' });
    connections.forEach(connection => connection.close());
  });
});

describe('through', () => {
  it('TypeORM is counted exactly', async () => {
    const Order = new EntitySchema<{ id: number; name: string }>({
      name: 'orders',
      columns: { id: { type: Number, primary: true }, name: { type: String } },
    });
    const db = new DataSource({
      type: 'mssql',
      host: '127.0.0.1',
      port: server.port,
      username: 'test',
      password: 'test',
      options: { encrypt: false },
      entities: [Order],
    });
    await db.initialize();
    const record = await recordOfUnit(test, async () => {
      await db.getRepository(Order).findBy({ id: 1 });
      await db.transaction(manager => manager.getRepository(Order).findBy({ name: 'a' }));
    });
    expect(record.queries).toMatchObject({ count: 2, transactions: 2, errors: 0 });
    await db.destroy();
  });

  it('Knex, on tedious, is counted exactly, and 20 at once are charged to their own', async () => {
    const db = knex({
      client: 'mssql',
      connection: {
        server: '127.0.0.1',
        port: server.port,
        user: 'test',
        password: 'test',
        options: { encrypt: false },
      } as object,
      pool: { min: 0, max: 2 },
    });
    const cost = await costOf(test, () => db('orders').where({ id: 1 }).limit(3));
    expect(cost).toMatchObject({ count: 1, table: 'orders' });
    const { made, charged } = await chargedAtOnce(test, 20, async queries => {
      for (let id = 0; id < queries; id++) await db('orders').where({ id });
    });
    expect(charged).toEqual(made);
    await db.destroy();
  });
});

describe('the pool of mssql', () => {
  it('is waited for apart from the query', async () => {
    const small = await open(1);
    const [first, second] = await Promise.all([
      recordOfUnit(test, () => small.query("SELECT 1 WAITFOR DELAY '00:00:00.100'")),
      recordOfUnit(test, () => small.query('SELECT 1')),
    ]);
    expect(first!.queries.waitMs).toBeLessThan(60);
    expect(first!.queries.durationMs).toBeGreaterThan(90);
    expect(second!.queries.waitMs).toBeGreaterThan(60);
    expect(second!.queries.durationMs).toBeLessThan(60);
    await small.close();
  });

  it('that is exhausted is an error, and waiting, of who asked', async () => {
    const small = await open(1, { pool: { max: 1, acquireTimeoutMillis: 100 } });
    small.on('error', () => undefined);
    const busy = recordOfUnit(test, () => small.query("SELECT 1 WAITFOR DELAY '00:00:00.300'"));
    const refused = await recordOfUnit(test, () =>
      expect(small.query('SELECT * FROM orders')).rejects.toThrow('acquire'),
    );
    expect(refused.queries).toMatchObject({ count: 1, errors: 1, rows: 0 });
    expect(refused.queries.waitMs).toBeGreaterThan(90);
    expect((await busy).queries).toMatchObject({ count: 1, errors: 0 });
    await small.close();
  });
});

describe('what goes wrong', () => {
  it('with a server that is gone is an error of the request whose query was under way', async () => {
    const other = await startTdsServer();
    const victim = await open(1, { port: other.port });
    victim.on('error', () => undefined);
    const record = await recordOfUnit(test, async () => {
      const query = expect(victim.query("SELECT 1 WAITFOR DELAY '00:00:05.000'")).rejects.toThrow();
      await new Promise(resolve => setTimeout(resolve, 50));
      other.cut();
      await query;
    });
    expect(record.queries).toMatchObject({ count: 1, errors: 1 });
    await victim.close();
    await other.close();
  });

  it('within the time that a request has is an error of its own', async () => {
    const hasty = await open(1, { requestTimeout: 100 });
    const record = await recordOfUnit(test, () =>
      expect(hasty.query("SELECT 1 WAITFOR DELAY '00:00:05.000'")).rejects.toThrow('Timeout'),
    );
    expect(record.queries).toMatchObject({ count: 1, errors: 1 });
    expect((await hasty.query('SELECT 1')).recordset).toHaveLength(1);
    await hasty.close();
  });
});

describe('the call shapes', () => {
  async function seen(work: () => unknown): Promise<unknown> {
    try {
      return JSON.parse(JSON.stringify((await work()) ?? null)) as unknown;
    } catch (error) {
      const { name, code, message } = error as Error & { code?: string };
      return { name, code, message };
    }
  }

  it.each<[string, () => unknown]>([
    ['promise', () => pool.query('SELECT TOP 2 * FROM orders')],
    ['values', () => byId().query('SELECT TOP 2 * FROM orders WHERE id = @id')],
    ['template', () => pool.query`SELECT * FROM orders WHERE id = ${1}`],
    ['batch', () => pool.batch('SELECT 1; UPDATE orders SET name = 1')],
    ['procedure', () => byId().execute('find_orders')],
    ['bulk load', () => pool.request().bulk(newTable())],
    ['error', () => pool.query('SELECT * FROM nowhere')],
    [
      'prepared',
      async () => {
        const statement = await prepare('SELECT * FROM orders WHERE id = @id');
        const result = await statement.execute({ id: 1 });
        await statement.unprepare();
        return result;
      },
    ],
    ['wrong value', () => pool.request().input('id', sql.Int, 'x').query('SELECT @id')],
    [
      'closed pool',
      async () => {
        const closed = await open();
        await closed.close();
        return closed.query('SELECT 1');
      },
    ],
    [
      'callback',
      () =>
        new Promise(resolve =>
          pool.request().query('SELECT 1', (...args) => resolve(args.map(arg => arg ?? null))),
        ),
    ],
  ])('are those of the bare driver: %s', async (_what, work) => {
    let counted: unknown;
    await recordOfUnit(test, async () => {
      counted = await seen(work);
    });
    const app = await startApp({ instrumentations: [] });
    expect(counted).toEqual(await seen(work));
    await app.close();
  });
});

describe("onExceeded: 'throw'", () => {
  it.each<[string, (single: sql.ConnectionPool) => unknown]>([
    ['query', single => single.query('UPDATE orders SET name = 1')],
    ['batch', single => single.batch('UPDATE orders SET name = 1')],
    ['procedure', single => single.request().execute('find_orders')],
    ['bulk load', single => single.request().bulk(newTable())],
  ])('keeps back what is beyond the budget, and the connection serves on: %s', async (_what, work) => {
    const app = await startApp({ instrumentations, budget: { queries: 1 }, onExceeded: 'throw' });
    const single = await open(1);
    const record = await recordOfUnit(app, async () => {
      await pool.query('SELECT 1');
      const error = await Promise.resolve(work(single)).catch((thrown: unknown) => thrown);
      const { originalError = error } = error as { originalError?: unknown };
      expect(originalError).toBeInstanceOf(QueryBudgetExceededError);
    });
    expect(record.queries).toMatchObject({ count: 2, errors: 0 });
    expect((await single.query('SELECT 1')).recordset).toHaveLength(1);
    await single.close();
    await app.close();
  });
});

describe('the instrumentation', () => {
  it('is taken back with the last application, and counts once for two', async () => {
    const { makeRequest } = Connection.prototype as unknown as { makeRequest: unknown };
    const other = await startApp({ instrumentations });
    expect((await recordOfUnit(other, () => pool.query('SELECT 1'))).queries.count).toBe(1);
    await other.close();
    await test.close();
    expect((Connection.prototype as unknown as { makeRequest: unknown }).makeRequest).not.toBe(makeRequest);
    expect((await pool.query('SELECT 1')).recordset).toHaveLength(1);
    test = await startApp({ instrumentations });
    expect((await recordOfUnit(test, () => pool.query('SELECT 1'))).queries.count).toBe(1);
    expect(test.app.get(ContextService).attribution.drivers['mssql']!.charged).toBeGreaterThan(0);
  });
});
