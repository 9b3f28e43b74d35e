import { once } from 'node:events';
import { createRequire } from 'node:module';
import { createConnection, createPool, createPoolCluster, type Connection, type Pool } from 'mariadb';
import type * as Callbacks from 'mariadb/callback';
import { Controller, Get, Query } from '@nestjs/common';
import { DataTypes, Sequelize } from 'sequelize';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ProcessFigures, QueryBudgetExceededError } from 'nestjs-async-context';
import { mariadbInstrumentation } from '../../lib/drivers/mariadb/mariadb.driver';
import { platforms, startApp, type TestApp } from '../support/platforms';
import { chargedAtOnce, costOf, costs, recordOfUnit, type StatementCost } from '../support/units';

const address = new URL(process.env['TEST_MARIADB_URL'] ?? 'mysql://root@127.0.0.1:3306/test');
const options = {
  host: address.hostname,
  port: Number(address.port || 3306),
  user: decodeURIComponent(address.username),
  password: decodeURIComponent(address.password),
  database: address.pathname.slice(1),
};
const orders = `orders_${process.pid}`;
const items = `items_${process.pid}`;

const load = createRequire(import.meta.url);
const callbacks = load('mariadb/callback') as typeof Callbacks;
const commonjs = load('mariadb') as {
  createConnection: typeof createConnection;
  createPool: typeof createPool;
};
const instrumentations = [mariadbInstrumentation()];

let test: TestApp;
let connection: Connection;
let pool: Pool;
let raw: Callbacks.Connection;

const byCallback = <T = unknown>(
  run: (done: (error: unknown, result?: unknown) => void) => unknown,
): Promise<T> =>
  new Promise((resolve, reject) =>
    run((error, result) => (error ? reject(error as Error) : resolve(result as T))),
  );

beforeAll(async () => {
  test = await startApp({ instrumentations });
  connection = await createConnection({ ...options, multipleStatements: true });
  await connection.query(`CREATE TABLE ${orders} (id int PRIMARY KEY, name varchar(100))`);
  await connection.query(`CREATE TABLE ${items} (order_id int, n int)`);
  await connection.query(
    `INSERT INTO ${orders} VALUES ${Array.from({ length: 10 }, (_, i) => `(${i + 1}, 'o')`)}`,
  );
  pool = createPool({ ...options, connectionLimit: 2 });
  raw = callbacks.createConnection(options);
  await byCallback(done => raw.ping(done as never));
});
afterAll(async () => {
  await connection.query(`DROP TABLE ${orders}, ${items}`);
  await Promise.all([connection.end(), pool.end(), byCallback(done => raw.end(done))]);
  await test.close();
});

describe('a statement of mariadb', () => {
  it.each<[string, () => unknown, Partial<StatementCost>]>([
    [
      'SELECT',
      () => connection.query(`SELECT * FROM ${orders} WHERE id > ?`, [5]),
      { rows: 5, table: orders, shape: `SELECT * FROM ${orders} WHERE id > ?` },
    ],
    [
      'SELECT with literals',
      () => connection.query(`SELECT * FROM ${orders} WHERE name = 'SECRET' AND id = 1`),
      { rows: 0, table: orders, shape: `SELECT * FROM ${orders} WHERE name = ? AND id = ?` },
    ],
    [
      'prepared and executed at once',
      () => connection.execute(`SELECT * FROM ${orders} WHERE id <= ?`, [3]),
      { rows: 3, table: orders, shape: `SELECT * FROM ${orders} WHERE id <= ?` },
    ],
    [
      'prepared by hand',
      async () => {
        const statement = await connection.prepare(`SELECT * FROM ${orders} WHERE id < ?`);
        await statement.execute([4]);
        statement.close();
      },
      { rows: 3, table: orders, shape: `SELECT * FROM ${orders} WHERE id < ?` },
    ],
    [
      'prepared by hand, as a stream',
      async () => {
        const statement = await connection.prepare(`SELECT * FROM ${orders} WHERE id > ?`);
        await (statement.executeStream([8]) as NodeJS.ReadableStream & { toArray(): unknown }).toArray();
        statement.close();
      },
      { rows: 2, table: orders, shape: `SELECT * FROM ${orders} WHERE id > ?` },
    ],
    [
      'rows and their columns',
      () => connection.query({ sql: `SELECT id, name FROM ${orders}`, metaAsArray: true }),
      { rows: 10, table: orders, shape: `SELECT id, name FROM ${orders}` },
    ],
    [
      'rows as arrays',
      () => connection.query({ sql: `SELECT id, name FROM ${orders}`, rowsAsArray: true }),
      { rows: 10, table: orders, shape: `SELECT id, name FROM ${orders}` },
    ],
    [
      'INSERT',
      () => connection.query(`INSERT INTO ${items} VALUES (1, 2), (3, 4)`),
      { rows: 2, writes: 1, table: items, shape: `INSERT INTO ${items} VALUES (?)` },
    ],
    [
      'UPDATE',
      () => connection.execute(`UPDATE ${items} SET n = ? WHERE order_id = ?`, [9, 1]),
      { rows: 1, writes: 1, table: items, shape: `UPDATE ${items} SET n = ? WHERE order_id = ?` },
    ],
    [
      'DELETE',
      () => connection.query(`DELETE FROM ${items} WHERE order_id IN (?, ?)`, [1, 3]),
      { rows: 2, writes: 1, table: items, shape: `DELETE FROM ${items} WHERE order_id IN (?)` },
    ],
    [
      'a batch',
      () =>
        connection.batch(`INSERT INTO ${items} VALUES (?, ?)`, [
          [5, 1],
          [6, 1],
          [7, 1],
        ]),
      { rows: 3, writes: 1, table: items, shape: `INSERT INTO ${items} VALUES (?)` },
    ],
    [
      'a batch, one by one',
      () =>
        connection.batch({ sql: `UPDATE ${items} SET n = ? WHERE order_id = ?`, bulk: false }, [
          [2, 5],
          [3, 6],
        ]),
      { rows: 2, writes: 1, table: items, shape: `UPDATE ${items} SET n = ? WHERE order_id = ?` },
    ],
    [
      'two statements in one text',
      () => connection.query(`SELECT * FROM ${orders} LIMIT 3; SELECT * FROM ${orders} LIMIT 4`),
      { rows: 7, table: orders, shape: `SELECT * FROM ${orders} LIMIT ?; SELECT * FROM ${orders} LIMIT ?` },
    ],
    [
      'a stream',
      () => connection.queryStream(`SELECT * FROM ${orders} WHERE id > 6`).toArray(),
      { rows: 4, table: orders, shape: `SELECT * FROM ${orders} WHERE id > ?` },
    ],
    [
      'a stream that fails',
      () =>
        connection
          .queryStream('SELECT * FROM nowhere')
          .toArray()
          .catch(() => undefined),
      { rows: 0, errors: 1, table: 'nowhere', shape: 'SELECT * FROM nowhere' },
    ],
    [
      'an error of the server',
      () => connection.query('SELECT * FROM nowhere'),
      { rows: 0, errors: 1, table: 'nowhere', shape: 'SELECT * FROM nowhere' },
    ],
    [
      'an error of a prepared one',
      () => connection.execute('SELECT * FROM nowhere WHERE id = ?', [1]),
      { rows: 0, errors: 1, table: 'nowhere', shape: 'SELECT * FROM nowhere WHERE id = ?' },
    ],
    [
      'a transaction',
      async () => {
        await connection.beginTransaction();
        await connection.query(`SELECT * FROM ${orders} WHERE id = 1 FOR UPDATE`);
        await connection.commit();
      },
      { transactions: 2, table: orders, shape: `SELECT * FROM ${orders} WHERE id = ? FOR UPDATE` },
    ],
    [
      'through a pool',
      () => pool.query(`SELECT * FROM ${orders} LIMIT 2`),
      { rows: 2, table: orders, shape: `SELECT * FROM ${orders} LIMIT ?` },
    ],
    [
      'executed through a pool',
      () => pool.execute(`SELECT * FROM ${orders} WHERE id < ?`, [3]),
      { rows: 2, table: orders, shape: `SELECT * FROM ${orders} WHERE id < ?` },
    ],
    [
      'a batch through a pool',
      () => pool.batch(`INSERT INTO ${items} VALUES (?, ?)`, [[8, 1]]),
      { rows: 1, writes: 1, table: items, shape: `INSERT INTO ${items} VALUES (?)` },
    ],
    [
      'with a callback',
      () => byCallback(done => raw.query(`SELECT * FROM ${orders} WHERE id > ?`, [8], done)),
      { rows: 2, table: orders, shape: `SELECT * FROM ${orders} WHERE id > ?` },
    ],
    [
      'executed with a callback',
      () => byCallback(done => raw.execute(`SELECT * FROM ${orders} WHERE id > ?`, [7], done)),
      { rows: 3, table: orders, shape: `SELECT * FROM ${orders} WHERE id > ?` },
    ],
    [
      'an error with a callback',
      () => byCallback(done => raw.query('SELECT * FROM nowhere', done)),
      { rows: 0, errors: 1, table: 'nowhere', shape: 'SELECT * FROM nowhere' },
    ],
    [
      'a stream of the API with callbacks',
      () => raw.queryStream(`SELECT * FROM ${orders} WHERE id > ?`, [6]).toArray(),
      { rows: 4, table: orders, shape: `SELECT * FROM ${orders} WHERE id > ?` },
    ],
    [
      'events',
      () => once(raw.query(`SELECT * FROM ${orders} WHERE id > 3`, undefined as never) as never, 'end'),
      { rows: 7, table: orders, shape: `SELECT * FROM ${orders} WHERE id > ?` },
    ],
  ])('is counted: %s', async (_what, work, expected) => {
    expect(await costOf(test, work)).toEqual(costs(expected));
  });

  it.each([
    ['require', commonjs.createConnection],
    ['import', createConnection],
  ])('is counted in the build for %s, what its connection asks for itself is not', async (_build, open) => {
    const before = test.app.get(ProcessFigures).attribution.drivers['mariadb']!.charged;
    const record = await recordOfUnit(test, async () => {
      const one = await open({ ...options, sessionVariables: { wait_timeout: 100 }, initSql: 'SET @a = 1' });
      await one.query('SELECT 1');
      await one.ping();
      await one.end();
    });
    expect(record.queries).toMatchObject({ count: 1, errors: 0 });
    expect(test.app.get(ProcessFigures).attribution.drivers['mariadb']!.charged).toBe(before + 1);
  });

  it('is counted through a cluster', async () => {
    const cluster = createPoolCluster();
    cluster.add('one', { ...options, connectionLimit: 1 });
    const record = await recordOfUnit(test, async () => {
      await cluster.of('one').query('SELECT 1');
      const one = await cluster.getConnection();
      await one.query('SELECT 2');
      await one.release();
    });
    expect(record.queries.count).toBe(2);
    await cluster.end();
  });

  it('leaves no value behind', async () => {
    const record = await recordOfUnit(test, async () => {
      await connection.query('SELECT ? AS a', ['SECRET-1']);
      await connection.query("SELECT 'SECRET-2' AS a");
      await connection.execute('SELECT ? AS a', ['SECRET-3']);
    });
    expect(record.queries.count).toBe(3);
    expect(JSON.stringify(record)).not.toContain('SECRET');
  });

  it('is a duplicate when its values are the same, and not when they differ', async () => {
    const record = await recordOfUnit(test, async () => {
      for (const id of [1, 2, 1]) await connection.query(`SELECT * FROM ${orders} WHERE id = ?`, [id]);
    });
    expect(record.findings).toMatchObject([{ kind: 'duplicate', count: 3, duplicates: 1 }]);
  });
});

describe.each(platforms)('20 requests at once over a pool of two, on %s', platform => {
  let small: Callbacks.Pool;
  const kinds: Record<string, (i: number) => Promise<unknown>> = {
    promises: i => pool.query('SELECT ? AS n, SLEEP(0.002)', [i]),
    prepared: i => pool.execute('SELECT ? AS n', [i]),
    callbacks: i => byCallback(done => small.query('SELECT ? AS n', [i], done)),
    transactions: async i => {
      const client = await pool.getConnection();
      try {
        await client.beginTransaction();
        await client.query('SELECT ? AS n', [i]);
        await client.rollback();
      } finally {
        await client.release();
      }
    },
  };

  @Controller()
  class WorkController {
    @Get()
    async work(@Query('kind') kind: string, @Query('times') times: string): Promise<void> {
      for (let i = 0; i < Number(times); i++) await kinds[kind]!(i);
    }
  }

  beforeAll(() => {
    small = callbacks.createPool({ ...options, connectionLimit: 2 });
  });
  afterAll(() => byCallback(done => small.end(done)));

  it.each(Object.keys(kinds))('are charged to their own: %s', async kind => {
    const app = await startApp({ platform, controllers: [WorkController], instrumentations });
    const made = Array.from({ length: 20 }, (_, i) => 1 + i);
    await Promise.all(made.map(times => fetch(`${app.url}/?kind=${kind}&times=${times}`)));
    const records = await app.records(20);
    expect(records.map(({ queries }) => queries.count).sort((a, b) => a - b)).toEqual(made);
    await app.close();
  });
});

describe('Sequelize on mariadb', () => {
  it('is counted exactly, and 20 requests at once are charged to their own', async () => {
    const { host, port, user, password, database } = options;
    const db = new Sequelize(database, user, password, {
      dialect: 'mariadb',
      host,
      port,
      logging: false,
      pool: { max: 2 },
    });
    const Order = db.define('order', { name: DataTypes.STRING }, { tableName: orders, timestamps: false });
    await db.authenticate();
    const cost = await costOf(test, () => Order.findAll({ where: { id: [1, 2, 3] } }));
    expect(cost).toMatchObject({ count: 1, rows: 3, table: orders });
    const { made, charged } = await chargedAtOnce(test, 20, async queries => {
      for (let id = 1; id <= queries; id++) await Order.findByPk(id);
    });
    expect(charged).toEqual(made);
    await db.close();
  });
});

describe('the pool of mariadb', () => {
  it('is waited for apart from the query', async () => {
    const small = createPool({ ...options, connectionLimit: 1 });
    await small.query('SELECT 1');
    const [first, second] = await Promise.all([
      recordOfUnit(test, () => small.query('SELECT SLEEP(0.5)')),
      recordOfUnit(test, () => small.query('SELECT 1')),
    ]);
    expect(first!.queries.durationMs).toBeGreaterThan(490);
    expect(first!.queries.waitMs).toBeLessThan(first!.queries.durationMs);
    expect(second!.queries.waitMs).toBeGreaterThan(400);
    expect(second!.queries.durationMs).toBeLessThan(second!.queries.waitMs);
    await small.end();
  });

  it('that is exhausted is an error, and waiting, of who asked', async () => {
    const small = createPool({ ...options, connectionLimit: 1, acquireTimeout: 100 });
    await small.query('SELECT 1');
    const busy = recordOfUnit(test, () => small.query('SELECT SLEEP(0.3)'));
    const refused = await recordOfUnit(test, () =>
      expect(small.query(`SELECT * FROM ${orders}`)).rejects.toThrow('pool timeout'),
    );
    expect(refused.queries).toMatchObject({ count: 1, errors: 1, rows: 0 });
    expect(refused.queries.waitMs).toBeGreaterThan(90);
    expect((await busy).queries).toMatchObject({ count: 1, errors: 0 });
    await small.end();
  });

  it('charges callbacks, events and streams, and what they go on to ask, to their own', async () => {
    const small = callbacks.createPool({ ...options, connectionLimit: 2 });
    const twice = (queries: number): Promise<unknown> =>
      new Promise((resolve, reject) => {
        const next = (left: number): void => {
          if (left === 0) return resolve(undefined);
          small.getConnection((failed, one) => {
            if (failed) return reject(failed);
            const command = one!.query('SELECT 1', undefined as never) as unknown as NodeJS.EventEmitter;
            command.once('data', () => command.once('end', () => one!.release(() => next(left - 1))));
          });
        };
        next(queries);
      });
    const { made, charged } = await chargedAtOnce(test, 20, twice);
    expect(charged).toEqual(made);
    await byCallback(done => small.end(done));
  });
});

describe('a connection that is lost', () => {
  it('is an error of the request whose query was under way, and the process lives', async () => {
    const victim = await createConnection(options);
    victim.on('error', () => undefined);
    const record = await recordOfUnit(test, async () => {
      const query = victim.query('SELECT SLEEP(5)').catch(() => undefined);
      await new Promise(resolve => setTimeout(resolve, 50));
      await pool.query(`KILL ${victim.threadId}`);
      await query;
    });
    expect(record.queries).toMatchObject({ count: 2, errors: 1 });
    victim.destroy();
  });
});

describe('the call shapes', () => {
  /** What a call gives, as far as an application can see. */
  async function seen(work: () => unknown): Promise<unknown> {
    try {
      const result = await work();
      return JSON.parse(
        JSON.stringify(result, (_key, value: unknown) => (typeof value === 'bigint' ? `${value}n` : value)),
      ) as unknown;
    } catch (error) {
      const { name, code, message } = error as Error & { code?: string };
      return { name, code, message: message.replace(/no: \d+/, 'no: ?') };
    }
  }

  const everything = (run: (done: (...args: unknown[]) => void) => unknown): Promise<unknown> =>
    new Promise(resolve => run((error, rows, meta) => resolve([String(error), rows, typeof meta])));

  it.each<[string, () => unknown]>([
    ['promise', () => connection.query('SELECT 1 AS n')],
    ['values', () => connection.query('SELECT ? AS n', ['a'])],
    ['named values', () => connection.query({ sql: 'SELECT :a AS n', namedPlaceholders: true }, { a: 1 })],
    ['options', () => connection.query({ sql: 'SELECT 1 AS n', rowsAsArray: true, metaAsArray: true })],
    ['executed', () => connection.execute('SELECT ? AS n', [1])],
    ['no text', () => connection.query('')],
    ['an error', () => connection.query('SELECT * FROM nowhere')],
    ['an error of an executed one', () => connection.execute('SELECT * FROM nowhere')],
    ['a value that is missing', () => connection.query('SELECT ? AS n, ?', [1])],
    ['a batch', () => connection.batch(`DELETE FROM ${items} WHERE order_id = ?`, [[77], [78]])],
    ['an empty batch', () => connection.batch(`DELETE FROM ${items} WHERE order_id = ?`, [])],
    ['a batch without values', () => connection.batch('SELECT 1')],
    ['prepared by hand', () => connection.prepare('SELECT ? AS n').then(one => one.execute([1]))],
    ['a stream', () => connection.queryStream('SELECT 1 AS n UNION SELECT 2').toArray()],
    ['a stream that fails', () => connection.queryStream('SELECT * FROM nowhere').toArray()],
    ['a pool', () => pool.query('SELECT 1 AS n')],
    ['a callback', () => everything(done => raw.query('SELECT 1 AS n', done))],
    ['a callback with an error', () => everything(done => raw.query('SELECT * FROM nowhere', done))],
    ['a callback of an executed one', () => everything(done => raw.execute('SELECT ? AS n', [1], done))],
    [
      'a callback of a batch',
      () => everything(done => raw.batch(`DELETE FROM ${items} WHERE n = ?`, [[99]], done)),
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
  const BEYOND = 'INSERT INTO nowhere VALUES (?)';

  it.each<[string, (single: Pool) => unknown]>([
    ['query', () => connection.query(BEYOND, [1])],
    ['execute', () => connection.execute(BEYOND, [1])],
    ['a batch', () => connection.batch(BEYOND, [[1]])],
    ['prepared by hand', () => connection.prepare('SELECT 1').then(one => one.execute([]))],
    ['a stream', () => connection.queryStream(BEYOND, [1]).toArray()],
    ['of a pool', single => single.query(BEYOND, [1])],
    ['executed by a pool', single => single.execute(BEYOND, [1])],
    ['with a callback', () => byCallback(done => raw.query(BEYOND, [1], done))],
    ['executed with a callback', () => byCallback(done => raw.execute(BEYOND, [1], done))],
  ])('keeps back what is beyond the budget, and the connection serves on: %s', async (_what, work) => {
    const app = await startApp({ instrumentations, budget: { queries: 1 }, onExceeded: 'throw' });
    const single = createPool({ ...options, connectionLimit: 1 });
    const record = await recordOfUnit(app, async () => {
      await connection.query('SELECT 1');
      await expect(work(single)).rejects.toThrow(QueryBudgetExceededError);
    });
    expect(record.queries).toMatchObject({ count: 2, errors: 0 });
    expect(await connection.query('SELECT 1 AS n')).toMatchObject([{ n: 1 }]);
    expect(await single.query('SELECT 1 AS n')).toMatchObject([{ n: 1 }]);
    expect(await byCallback(done => raw.query('SELECT 1 AS n', done))).toMatchObject([{ n: 1 }]);
    await single.end();
    await app.close();
  });
});

describe('the instrumentation', () => {
  it('is taken back with the last application, and counts once for two', async () => {
    const { charged } = test.app.get(ProcessFigures).attribution.drivers['mariadb']!;
    const other = await startApp({ instrumentations });
    expect((await recordOfUnit(other, () => connection.query('SELECT 1'))).queries.count).toBe(1);
    await other.close();
    await test.close();
    expect(await connection.query('SELECT 1 AS n')).toMatchObject([{ n: 1 }]);
    test = await startApp({ instrumentations });
    expect((await recordOfUnit(test, () => connection.query('SELECT 1'))).queries.count).toBe(1);
    expect(test.app.get(ProcessFigures).attribution.drivers['mariadb']!.charged).toBeGreaterThan(charged);
  });
});
