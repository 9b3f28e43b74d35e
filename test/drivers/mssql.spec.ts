import { Connection, Request, TYPES } from 'tedious';
import { once } from 'node:events';
import sql from 'mssql';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ProcessFigures } from 'nestjs-async-context';
import { mssqlInstrumentation } from '../../lib/drivers/mssql/mssql.driver';
import { byId, connect, executePrepared, newTable, openPool } from '../support/mssql';
import { startApp, type TestApp } from '../support/platforms';
import { startTdsServer, type TdsServer } from '../support/tds-server';
import { costOf, costs, recordOfUnit, type StatementCost } from '../support/units';

const instrumentations = [mssqlInstrumentation()];

let test: TestApp;
let server: TdsServer;
let pool: sql.ConnectionPool;

beforeAll(async () => {
  server = await startTdsServer();
  test = await startApp({ instrumentations });
  pool = await openPool(server);
});
afterAll(async () => {
  await pool.close();
  await server.close();
  await test.close();
});

describe('a statement of mssql', () => {
  it.each<[string, () => unknown, Partial<StatementCost>]>([
    [
      'SELECT',
      () => byId(pool).query('SELECT TOP 3 * FROM orders WHERE id > @id'),
      { rows: 3, shape: 'SELECT TOP ? * FROM orders WHERE id > ?' },
    ],
    [
      'SELECT with literals, and names in brackets',
      () => pool.request().query("SELECT TOP 2 * FROM [orders] WHERE name = 'SECRET'"),
      { rows: 2, shape: 'SELECT TOP ? * FROM [orders] WHERE name = ?' },
    ],
    [
      'SELECT of which the server does not tell the number of rows',
      () => pool.request().query('SELECT TOP 6 * FROM orders -- SET NOCOUNT ON'),
      { rows: 6, shape: 'SELECT TOP ? * FROM orders' },
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
      () => byId(pool).execute('find_orders'),
      { rows: 2, writes: 1, table: undefined, shape: 'EXEC find_orders' },
    ],
    [
      'a prepared statement',
      () => executePrepared(pool, 'SELECT TOP 4 * FROM orders WHERE id = @id'),
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
      () => byId(pool).query('DELETE FROM orders WHERE id = @id'),
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

  it('is counted for each, also when one request makes two at once', async () => {
    const record = await recordOfUnit(test, () => {
      const request = pool.request();
      return Promise.all([request.query('SELECT 1'), request.query('SELECT TOP 2 * FROM orders')]);
    });
    expect(record.queries.count).toBe(2);
  });

  it('that is cancelled before it is sent is an error, and no other one takes its place', async () => {
    const cost = await costOf(test, async () => {
      const transaction = new sql.Transaction(pool);
      await transaction.begin();
      const request = new sql.Request(transaction);
      const query = expect(request.query('SELECT * FROM orders')).rejects.toThrow('Canceled');
      setImmediate(() => request.cancel());
      await query;
      await transaction.commit();
    });
    expect(cost).toMatchObject({ count: 1, errors: 1, transactions: 2 });
  });

  it('leaves no value behind', async () => {
    const record = await recordOfUnit(test, async () => {
      await pool.request().input('name', 'SECRET-1').query('SELECT * FROM orders WHERE name = @name');
      await pool.request().query("SELECT * FROM orders WHERE name = 'SECRET-2'");
    });
    expect(record.queries.count).toBe(2);
    expect(JSON.stringify(record)).not.toContain('SECRET');
  });
});

describe('a repeat of mssql', () => {
  const text = 'SELECT * FROM items WHERE id = @id';
  const find = (id: number): Promise<unknown> => pool.request().input('id', id).query(text);

  it.each<[string, () => Promise<unknown>]>([
    ['values', async () => [await find(1), await find(2), await find(1)]],
    ['a statement that is prepared', () => executePrepared(pool, text, [1, 2, 1])],
    [
      'statements that are prepared again',
      async () => [await executePrepared(pool, text, [1, 2]), await executePrepared(pool, text, [1])],
    ],
    [
      'a request of tedious that is prepared again',
      async () => {
        const connection = await connect(server);
        for (const ids of [[1, 2], [1]]) await executeOnTedious(connection, text, ids);
        connection.close();
      },
    ],
  ])('is a duplicate when its values are the same, and not when they differ: %s', async (_what, work) => {
    const record = await recordOfUnit(test, work);
    expect(record.findings).toMatchObject([{ kind: 'duplicate', count: 3, duplicates: 1 }]);
  });

  it('is an N+1 with its place, which is known before there is a connection', async () => {
    const record = await recordOfUnit(test, async () => {
      const { recordset } = await pool.query<{ id: number }>('SELECT TOP 6 * FROM orders');
      for (const { id } of recordset) await find(id);
    });
    expect(record.findings).toMatchObject([{ kind: 'n-plus-one', count: 6 }]);
    expect(record.findings?.[0]?.callSite).toContain('mssql.spec');
  });

  it('is a fan-out when all are made at once, also over a smaller pool', async () => {
    const record = await recordOfUnit(test, () => Promise.all([1, 2, 3, 4, 5, 6].map(find)));
    expect(record.findings).toMatchObject([{ kind: 'fan-out', count: 6 }]);
  });
});

describe('on tedious itself', () => {
  it('a statement that is prepared is counted by its text', async () => {
    const connection = await connect(server);
    const cost = await costOf(test, () =>
      executeOnTedious(connection, 'SELECT TOP 2 * FROM orders WHERE id = @id', [1]),
    );
    expect(cost).toMatchObject({ count: 1, rows: 2, shape: 'SELECT TOP ? * FROM orders WHERE id = ?' });
    connection.close();
  });

  it('a bulk load is one, from its announcement on, also after one that was refused', async () => {
    const connection = await connect(server);
    const load = (table: string): Promise<unknown> =>
      new Promise((resolve, reject) => {
        const bulk = connection.newBulkLoad(table, error => (error ? reject(error) : resolve(undefined)));
        bulk.addColumn('id', TYPES.Int, { nullable: true });
        connection.execBulkLoad(bulk, [{ id: 1 }, { id: 2 }]);
      });
    const refused = {
      table: 'nowhere',
      rows: 0,
      writes: 1,
      errors: 1,
      shape: 'INSERT INTO nowhere VALUES (?)',
    };
    const loaded = { table: 'orders', rows: 2, writes: 1, shape: 'INSERT INTO orders VALUES (?)' };
    expect(await costOf(test, () => load('nowhere'))).toEqual(costs(refused));
    expect(await costOf(test, () => load('orders'))).toEqual(costs(loaded));
    connection.close();
  });
});

async function executeOnTedious(connection: Connection, text: string, ids: number[]): Promise<void> {
  let next = (_error?: Error | null): void => undefined;
  const request = new Request(text, error => next(error));
  const done = (): Promise<void> =>
    new Promise((resolve, reject) => {
      next = error => (error ? reject(error) : resolve());
    });
  request.addParameter('id', TYPES.Int, null);
  connection.prepare(request);
  await once(request, 'prepared');
  for (const id of ids) {
    const executed = done();
    connection.execute(request, { id });
    await executed;
  }
  const unprepared = done();
  connection.unprepare(request);
  await unprepared;
}

describe('the instrumentation', () => {
  const replaced: [object, string][] = [
    [Connection.prototype, 'makeRequest'],
    [sql.Request.prototype as object, '_query'],
    [sql.Transaction.prototype as object, 'acquire'],
    [sql.ConnectionPool.prototype as object, 'acquire'],
  ];
  const methods = (): unknown[] => replaced.map(([of, name]) => (of as Record<string, unknown>)[name]);

  it('is taken back with the last application, and counts once for two', async () => {
    const ours = methods();
    const other = await startApp({ instrumentations });
    expect((await recordOfUnit(other, () => pool.query('SELECT 1'))).queries.count).toBe(1);
    await other.close();
    expect(methods()).toEqual(ours);
    await test.close();
    methods().forEach((method, i) => expect(method, replaced[i]![1]).not.toBe(ours[i]));
    expect((await pool.query('SELECT 1')).recordset).toHaveLength(1);
    test = await startApp({ instrumentations });
    expect((await recordOfUnit(test, () => pool.query('SELECT 1'))).queries.count).toBe(1);
    expect(test.app.get(ProcessFigures).attribution.drivers['mssql']!.charged).toBeGreaterThan(0);
  });
});
