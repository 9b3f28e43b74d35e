import { type Connection, Request, TYPES } from 'tedious';
import { once } from 'node:events';
import sql from 'mssql';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ContextService, QueryBudgetExceededError } from 'nestjs-async-context';
import { mssqlInstrumentation } from '../../lib/drivers/mssql/mssql.driver';
import { byId, connect, executePrepared, newTable, openPool } from '../support/mssql';
import { startApp } from '../support/platforms';
import { startTdsServer, type TdsServer } from '../support/tds-server';
import { recordOfUnit } from '../support/units';

const instrumentations = [mssqlInstrumentation()];

let server: TdsServer;
let pool: sql.ConnectionPool;

beforeAll(async () => {
  server = await startTdsServer();
  pool = await openPool(server);
});
afterAll(async () => {
  await pool.close();
  await server.close();
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
    ['values', () => byId(pool).query('SELECT TOP 2 * FROM orders WHERE id = @id')],
    ['template', () => pool.query`SELECT * FROM orders WHERE id = ${1}`],
    ['batch', () => pool.batch('SELECT 1; UPDATE orders SET name = 1')],
    ['procedure', () => byId(pool).execute('find_orders')],
    ['bulk load', () => pool.request().bulk(newTable())],
    ['error', () => pool.query('SELECT * FROM nowhere')],
    ['prepared', () => executePrepared(pool, 'SELECT * FROM orders WHERE id = @id', [1, 2])],
    ['wrong value', () => pool.request().input('id', sql.Int, 'x').query('SELECT @id')],
    ['no table', () => pool.request().bulk(new sql.Table())],
    [
      'transaction',
      async () => {
        const transaction = new sql.Transaction(pool);
        const events: unknown[] = [];
        for (const event of ['begin', 'commit']) transaction.on(event, () => events.push(event));
        await transaction.begin();
        const result = await new sql.Request(transaction).query('SELECT TOP 2 * FROM orders');
        await transaction.commit();
        return { result, events };
      },
    ],
    [
      'stream',
      async () => {
        const request = pool.request();
        const events: unknown[] = [];
        request.stream = true;
        for (const event of ['recordset', 'row', 'rowsaffected', 'error']) {
          request.on(event, value => events.push(event, value));
        }
        const returned = request.query('SELECT TOP 2 * FROM orders');
        events.push('done', await once(request, 'done'), typeof returned);
        return events;
      },
    ],
    [
      'stream to be read',
      async () => {
        const request = pool.request();
        const stream = request.toReadableStream();
        void request.query('SELECT TOP 5 * FROM orders');
        const rows: unknown[] = [];
        for await (const row of stream) rows.push(row);
        return rows;
      },
    ],
    [
      'closed pool',
      async () => {
        const closed = await openPool(server);
        await closed.close();
        return closed.query('SELECT 1');
      },
    ],
    [
      'callback',
      () =>
        new Promise(resolve => {
          const request = pool.request();
          const returned: unknown = request.query('SELECT 1', (...args) => {
            resolve([...args.map(arg => arg ?? null), returned === request]);
          });
        }),
    ],
  ])('are those of the bare driver: %s', async (_what, work) => {
    const app = await startApp({ instrumentations });
    let counted: unknown;
    await recordOfUnit(app, async () => {
      counted = await seen(work);
    });
    await app.close();
    expect(counted).toEqual(await seen(work));
  });
});

describe('a request of tedious', () => {
  it('is left as it was, so it can be sent again', async () => {
    const app = await startApp({ instrumentations });
    const connection = await connect(server);
    const request: Request & { callback?: unknown } = new Request('SELECT 1', () => undefined);
    const { callback } = request;
    for (let sent = 1; sent <= 3; sent++) {
      connection.execSqlBatch(request);
      await once(request, 'requestCompleted');
      expect(request.callback).toBe(callback);
      expect(Object.hasOwn(request, 'emit')).toBe(false);
    }
    connection.close();
    await app.close();
  });
});

describe("onExceeded: 'throw'", () => {
  it.each<[string, (single: sql.ConnectionPool) => unknown]>([
    ['query', single => single.query('UPDATE orders SET name = 1')],
    ['batch', single => single.batch('UPDATE orders SET name = 1')],
    ['procedure', single => single.request().execute('find_orders')],
    ['bulk load', single => single.request().bulk(newTable())],
    [
      'callback',
      single => {
        let refuse = (_error: unknown): void => undefined;
        const isRefused = new Promise((_resolve, reject) => (refuse = reject));
        const request = single.request();
        expect(() => request.query('UPDATE orders SET name = 1', error => refuse(error))).not.toThrow();
        return isRefused;
      },
    ],
  ])('keeps back what is beyond the budget, and the connection serves on: %s', async (_what, work) => {
    const app = await startApp({ instrumentations, budget: { queries: 1 }, onExceeded: 'throw' });
    const single = await openPool(server, 1);
    await single.query('SELECT 1');
    server.received.length = 0;
    const record = await recordOfUnit(app, async () => {
      await single.query('SELECT 2');
      const error = await Promise.resolve(work(single)).catch((thrown: unknown) => thrown);
      expect(error).toBeInstanceOf(QueryBudgetExceededError);
    });
    expect(record.queries).toMatchObject({ count: 2, errors: 0 });
    expect(server.received).toEqual(['SELECT 1;', 'SELECT 2']);
    expect((await single.query('SELECT 1')).recordset).toHaveLength(1);
    await single.close();
    await app.close();
  });
});

describe("onExceeded: 'throw', on tedious itself", () => {
  it.each<[string, (connection: Connection, done: (error?: Error | null) => void) => void]>([
    ['text', (connection, done) => connection.execSql(new Request('SELECT 2', done))],
    [
      'bulk load',
      (connection, done) => {
        const bulk = connection.newBulkLoad('orders', done);
        bulk.addColumn('id', TYPES.Int, { nullable: true });
        connection.execBulkLoad(bulk, [{ id: 1 }]);
      },
    ],
  ])('sends nothing of what is beyond the budget: %s', async (_what, work) => {
    const app = await startApp({ instrumentations, budget: { queries: 1 }, onExceeded: 'throw' });
    const connection = await connect(server);
    server.received.length = 0;
    const record = await recordOfUnit(app, async () => {
      await pool.query('SELECT 1');
      const error = await new Promise(resolve => work(connection, resolve));
      expect(error).toBeInstanceOf(QueryBudgetExceededError);
    });
    expect(record.queries).toMatchObject({ count: 2, errors: 0 });
    expect(server.received.at(-1)).toBe('SELECT 1');
    connection.close();
    await app.close();
  });
});

describe('contextService.uncounted()', () => {
  it('counts apart, with what is called back', async () => {
    const app = await startApp({ instrumentations });
    const context = app.app.get(ContextService);
    const record = await recordOfUnit(app, async () => {
      await pool.query('SELECT 1');
      await context.uncounted(
        'audit',
        () =>
          new Promise(resolve => {
            pool.request().query('SELECT 2', () => resolve(pool.query('SELECT 3')));
          }),
      );
    });
    expect(record.queries.count).toBe(1);
    expect(record).toMatchObject({ uncounted: [{ reason: 'audit', queries: 2 }] });
    await app.close();
  });
});
