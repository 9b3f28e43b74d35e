import { once } from 'node:events';
import mysql, { type Pool as CallbackPool } from 'mysql2';
import { createConnection, createPool, type Connection, type Pool } from 'mysql2/promise';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Controller, Get, Query } from '@nestjs/common';
import { ProcessFigures, QueryBudgetExceededError } from 'nestjs-async-context';
import { mysql2Instrumentation } from '../../lib/drivers/mysql2/mysql2.driver';
import { platforms, startApp, type TestApp, until } from '../support/platforms';
import { chargedAtOnce, costOf, costs, recordOfUnit, type StatementCost } from '../support/units';

const uri = process.env['TEST_MARIADB_URL'] ?? 'mysql://root@127.0.0.1:3306/test';
const orders = `orders_${process.pid}`;
const items = `items_${process.pid}`;

let test: TestApp;
let connection: Connection;
let pool: Pool;
let raw: mysql.Connection;

const instrumentations = [mysql2Instrumentation()];

beforeAll(async () => {
  test = await startApp({ instrumentations });
  connection = await createConnection({ uri, multipleStatements: true });
  await connection.query(`CREATE TABLE ${orders} (id int PRIMARY KEY, name varchar(100))`);
  await connection.query(`CREATE TABLE ${items} (order_id int, n int)`);
  await connection.query(
    `INSERT INTO ${orders} VALUES ${Array.from({ length: 10 }, (_, i) => `(${i + 1}, 'o')`)}`,
  );
  pool = createPool({ uri, connectionLimit: 2 });
  raw = mysql.createConnection(uri);
});
afterAll(async () => {
  await raw.promise().end();
  await connection.query(`DROP TABLE ${orders}, ${items}`);
  await connection.end();
  await pool.end();
  await test.close();
});

describe('a statement of mysql2', () => {
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
      'prepared',
      () => connection.execute(`SELECT * FROM ${orders} WHERE id = ?`, [1]),
      { rows: 1, table: orders, shape: `SELECT * FROM ${orders} WHERE id = ?` },
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
      () => connection.query(`DELETE FROM ${items} WHERE order_id IN (?)`, [[1, 3]]),
      { rows: 2, writes: 1, table: items, shape: `DELETE FROM ${items} WHERE order_id IN (?)` },
    ],
    [
      'two statements in one text',
      () => connection.query(`SELECT * FROM ${orders} LIMIT 3; SELECT * FROM ${orders} LIMIT 4`),
      { rows: 7, table: orders, shape: `SELECT * FROM ${orders} LIMIT ?; SELECT * FROM ${orders} LIMIT ?` },
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
      'prepared by hand',
      async () => {
        const statement = await connection.prepare(`SELECT * FROM ${orders} WHERE id < ?`);
        await statement.execute([4]);
      },
      { rows: 3, table: orders, shape: `SELECT * FROM ${orders} WHERE id < ?` },
    ],
    [
      'a name that is written in',
      () => connection.query('SELECT * FROM ?? WHERE id = ?', [orders, 1]),
      { rows: 1, table: orders, shape: `SELECT * FROM \`${orders}\` WHERE id = ?` },
    ],
    [
      'a list of rows that is written in',
      () =>
        connection.query(`INSERT INTO ${items} VALUES ?`, [
          [
            [5, 1],
            [6, 1],
          ],
        ]),
      { rows: 2, writes: 1, table: items, shape: `INSERT INTO ${items} VALUES ?` },
    ],
    [
      'a stream',
      () => raw.query(`SELECT * FROM ${orders} WHERE id > 6`).stream().toArray(),
      { rows: 4, table: orders, shape: `SELECT * FROM ${orders} WHERE id > ?` },
    ],
    [
      'a stream that fails',
      () =>
        raw
          .query('SELECT * FROM nowhere')
          .stream()
          .toArray()
          .catch(() => undefined),
      { rows: 0, errors: 1, table: 'nowhere', shape: 'SELECT * FROM nowhere' },
    ],
    [
      'events of a write',
      () => once(raw.query(`UPDATE ${items} SET n = 3 WHERE order_id > 4`), 'end'),
      { rows: 2, writes: 1, table: items, shape: `UPDATE ${items} SET n = ? WHERE order_id > ?` },
    ],
    [
      'through a pool',
      () => pool.query(`SELECT * FROM ${orders} LIMIT 2`),
      { rows: 2, table: orders, shape: `SELECT * FROM ${orders} LIMIT ?` },
    ],
  ])('is counted: %s', async (_what, work, expected) => {
    expect(await costOf(test, work)).toEqual(costs(expected));
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

  it('is no duplicate when its values cannot be compared', async () => {
    const record = await recordOfUnit(test, async () => {
      for (const id of [1, 2, 3]) {
        await connection.query(`SELECT '${'x'.repeat(1_025)}${id}' AS a`);
        await connection.query('SELECT ? AS a, ? AS b', ['x'.repeat(1_025) + id, 1]);
      }
    });
    expect(record.findings).toBeUndefined();
  });
});

describe.each(platforms)('20 requests at once over a pool of two, on %s', platform => {
  const callbacks: CallbackPool = mysql.createPool({ uri, connectionLimit: 2 });
  const kinds: Record<string, (i: number) => Promise<unknown>> = {
    promises: i => pool.query('SELECT ? AS n, SLEEP(0.002)', [i]),
    prepared: i => pool.execute('SELECT ? AS n', [i]),
    callbacks: i =>
      new Promise((resolve, reject) =>
        callbacks.query('SELECT ? AS n', [i], (error, rows) => (error ? reject(error) : resolve(rows))),
      ),
    transactions: async i => {
      const client = await pool.getConnection();
      try {
        await client.beginTransaction();
        await client.query('SELECT ? AS n', [i]);
        await client.rollback();
      } finally {
        client.release();
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

  afterAll(() => callbacks.promise().end());

  it.each(Object.keys(kinds))('are charged to their own: %s', async kind => {
    const app = await startApp({ platform, controllers: [WorkController], instrumentations });
    const made = Array.from({ length: 20 }, (_, i) => 1 + i);
    await Promise.all(made.map(times => fetch(`${app.url}/?kind=${kind}&times=${times}`)));
    const records = await app.records(20);
    expect(records.map(({ queries }) => queries.count).sort((a, b) => a - b)).toEqual(made);
    await app.close();
  });
});

describe('the pool of mysql2', () => {
  it('is waited for apart from the query', async () => {
    const small = createPool({ uri, connectionLimit: 1 });
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

  it('that is full is an error of who asked', async () => {
    const small = createPool({ uri, connectionLimit: 1, queueLimit: 1 });
    const busy = recordOfUnit(test, () => small.query('SELECT SLEEP(0.1)'));
    const queued = recordOfUnit(test, () => small.query('SELECT 1'));
    const refused = await costOf(test, () => small.query('SELECT 2'));
    expect(refused).toMatchObject({ count: 1, errors: 1, rows: 0 });
    expect([(await busy).queries.errors, (await queued).queries.errors]).toEqual([0, 0]);
    await small.end();
  });

  it('charges callbacks, and what they go on to ask, to their own', async () => {
    const small = mysql.createPool({ uri, connectionLimit: 2 });
    const twice = (queries: number): Promise<unknown> =>
      new Promise((resolve, reject) => {
        const next = (left: number): void => {
          if (left === 0) return resolve(undefined);
          small.query('SELECT 1', error => (error ? reject(error) : next(left - 1)));
        };
        next(queries);
      });
    const { made, charged } = await chargedAtOnce(test, 20, twice);
    expect(charged).toEqual(made);
    await small.promise().end();
  });
});

describe('a connection that is lost', () => {
  it('is an error of the request whose query was under way, and the process lives', async () => {
    const victim = await createConnection(uri);
    const record = recordOfUnit(test, async () => {
      const query = victim.query('SELECT SLEEP(5)').catch(() => undefined);
      await until(() => victim.threadId, 'a thread');
      await new Promise(resolve => setTimeout(resolve, 50));
      await pool.query(`KILL ${victim.threadId}`);
      await query;
    });
    expect((await record).queries).toMatchObject({ count: 2, errors: 1 });
    victim.destroy();
  });
});

describe('the call shapes', () => {
  /** What a call gives, as far as an application can see. */
  async function seen(work: () => unknown): Promise<unknown> {
    try {
      const result = await work();
      return JSON.parse(JSON.stringify(result)) as unknown;
    } catch (error) {
      const { name, code, message } = error as Error & { code?: string };
      return { name, code, message };
    }
  }

  const callback = (run: (done: (...args: unknown[]) => void) => unknown): Promise<unknown> =>
    new Promise(resolve => run((error, rows) => resolve([(error as Error | null)?.message ?? null, rows])));

  const shapes: [string, () => unknown][] = [
    ['promise', () => connection.query('SELECT 1 AS n')],
    ['values', () => connection.query('SELECT ? AS n', ['a'])],
    ['options', () => connection.query({ sql: 'SELECT ? AS n', values: [1], rowsAsArray: true })],
    ['prepared', () => connection.execute('SELECT ? AS n', [1])],
    ['error', () => connection.query('SELECT * FROM nowhere')],
    ['error of a prepared one', () => connection.execute('SELECT * FROM nowhere')],
    ['wrong value', () => connection.execute('SELECT ? AS n', [undefined] as never)],
    ['callback', () => callback(done => raw.query('SELECT 1 AS n', done as never))],
    ['callback with an error', () => callback(done => raw.query('SELECT * FROM nowhere', done as never))],
    ['pool', () => pool.query('SELECT 1 AS n')],
    ['prepared by hand', () => connection.prepare('SELECT ? AS n').then(one => one.execute([1]))],
    [
      'prepared by hand, with a wrong value',
      () =>
        connection.prepare('SELECT * FROM information_schema.tables LIMIT ?').then(one => one.execute(['x'])),
    ],
    [
      'prepared by hand, with a callback',
      () => callback(done => raw.prepare('SELECT ? AS n', (_error, one) => one.execute([1], done as never))),
    ],
    [
      'prepared by hand, with events',
      () =>
        new Promise((resolve, reject) => {
          raw.prepare('SELECT ? AS n', (_error, one) => {
            const command = (one.execute as (values: unknown[]) => mysql.Query)([1]);
            command.on('result', resolve).on('error', reject);
          });
        }),
    ],
    ['stream', () => raw.query('SELECT 1 AS n UNION SELECT 2').stream().toArray()],
  ];
  it.each(shapes)('are those of the bare driver: %s', async (_what, work) => {
    let counted: unknown;
    const record = await recordOfUnit(test, async () => {
      counted = await seen(work);
    });
    expect(record.queries.count).toBeGreaterThanOrEqual(_what === 'wrong value' ? 0 : 1);
    const app = await startApp({ instrumentations: [] });
    expect(counted).toEqual(await seen(work));
    await app.close();
  });
});

describe("onExceeded: 'throw'", () => {
  const keptBack: [string, (connection: Connection, raw: mysql.Connection, pool: Pool) => unknown][] = [
    ['query', one => one.query('INSERT INTO nowhere VALUES (1)')],
    ['execute', one => one.execute('INSERT INTO nowhere VALUES (1)')],
    ['prepared by hand', one => one.prepare('SELECT 1').then(statement => statement.execute([]))],
    ['of a pool', (_one, _raw, several) => several.query('INSERT INTO nowhere VALUES (1)')],
    ['execute of a pool', (_one, _raw, several) => several.execute('INSERT INTO nowhere VALUES (1)')],
    [
      'with a callback',
      (_one, other) =>
        new Promise((resolve, reject) => {
          other.query('INSERT INTO nowhere VALUES (1)', error =>
            error ? reject(error) : resolve(undefined),
          );
        }),
    ],
    ['with events', (_one, other) => once(other.query('INSERT INTO nowhere VALUES (1)'), 'end')],
    ['a stream', (_one, other) => other.query('INSERT INTO nowhere VALUES (1)').stream().toArray()],
  ];

  it.each(keptBack)(
    'keeps back what is beyond the budget, and the connection serves on: %s',
    async (_what, work) => {
      const app = await startApp({
        instrumentations,
        budget: { queries: 1 },
        onExceeded: 'throw',
      });
      const single = createPool({ uri, connectionLimit: 1 });
      const record = await recordOfUnit(app, async () => {
        await connection.query('SELECT 1');
        await expect(work(connection, raw, single)).rejects.toThrow(QueryBudgetExceededError);
      });
      expect(record.queries).toMatchObject({ count: 2, errors: 0 });
      for (const one of [connection, raw.promise(), single]) {
        expect(await one.query('SELECT 1 AS n')).toMatchObject([[{ n: 1 }], {}]);
      }
      await single.end();
      await app.close();
    },
  );
});

describe('the instrumentation', () => {
  it('is taken back with the last application, and counts once for two', async () => {
    const { channel } = await import('node:diagnostics_channel');
    const hears = (): boolean => channel('tracing:mysql2:query:start').hasSubscribers;
    expect(hears()).toBe(true);
    const other = await startApp({ instrumentations });
    const record = await recordOfUnit(other, () => connection.query('SELECT 1'));
    expect(record.queries.count).toBe(1);
    await other.close();
    expect(hears()).toBe(true);
    await test.close();
    expect(hears()).toBe(false);
    expect(await connection.query('SELECT 1 AS n')).toMatchObject([[{ n: 1 }], {}]);
    test = await startApp({ instrumentations });
    expect(test.app.get(ProcessFigures).attribution.drivers['mysql2']!.charged).toBeGreaterThan(0);
  });
});
