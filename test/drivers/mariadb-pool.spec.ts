import { createRequire } from 'node:module';
import { createConnection, createPool, type Connection, type Pool } from 'mariadb';
import type * as Callbacks from 'mariadb/callback';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { QueryBudgetExceededError } from 'nestjs-async-context';
import { mariadbInstrumentation } from '../../lib/drivers/mariadb/mariadb.driver';
import { startApp, type TestApp } from '../support/platforms';
import { recordOfUnit } from '../support/units';

const address = new URL(process.env['TEST_MARIADB_URL'] ?? 'mysql://root@127.0.0.1:3306/test');
const options = {
  host: address.hostname,
  port: Number(address.port || 3306),
  user: decodeURIComponent(address.username),
  password: decodeURIComponent(address.password),
  database: address.pathname.slice(1),
};
const orders = `pooled_orders_${process.pid}`;
const callbacks = createRequire(import.meta.url)('mariadb/callback') as typeof Callbacks;
const instrumentations = [mariadbInstrumentation()];
const ends: (() => unknown)[] = [];

let test: TestApp;
let connection: Connection;

/** One that has opened its first connection; a ping each time makes it answer later than it is asked. */
async function poolOf(connectionLimit: number, more: object = {}): Promise<Pool> {
  const pool = createPool({ ...options, connectionLimit, ...more });
  ends.push(() => pool.end());
  await pool.query('SELECT 1');
  return pool;
}

const byCallback = (run: (done: (error: unknown) => void) => unknown): Promise<unknown> =>
  new Promise((resolve, reject) => run(error => (error ? reject(error as Error) : resolve(undefined))));

beforeAll(async () => {
  test = await startApp({ instrumentations });
  connection = await createConnection(options);
  await connection.query(`CREATE TABLE ${orders} (id int PRIMARY KEY)`);
  await connection.query(`INSERT INTO ${orders} VALUES ${Array.from({ length: 6 }, (_, i) => `(${i})`)}`);
});
afterEach(async () => {
  for (const end of ends.splice(0)) await end();
});
afterAll(async () => {
  await connection.query(`DROP TABLE ${orders}`);
  await connection.end();
  await test.close();
});

describe('a query of a pool of mariadb is begun where it is made', () => {
  it('so the place of an N+1 is known, also when the pool asks its connection first', async () => {
    const pool = await poolOf(1, { minDelayValidation: 0 });
    const record = await recordOfUnit(test, async () => {
      const rows = await pool.query<{ id: number }[]>(`SELECT id FROM ${orders}`);
      for (const { id } of rows) await pool.query(`SELECT * FROM ${orders} WHERE id = ?`, [id]);
    });
    expect(record.findings).toMatchObject([{ kind: 'n-plus-one', count: 6 }]);
    expect(record.findings?.[0]?.callSite).toContain('mariadb-pool.spec');
  });

  it.each<[string, (pool: Pool, id: number) => Promise<unknown>]>([
    ['query', (pool, id) => pool.query(`SELECT * FROM ${orders} WHERE id = ?`, [id])],
    ['execute', (pool, id) => pool.execute(`SELECT * FROM ${orders} WHERE id = ?`, [id])],
  ])('so what is sent at once is seen, also over a pool of two: %s', async (_what, ask) => {
    const pool = await poolOf(2);
    const record = await recordOfUnit(test, () => Promise.all([1, 2, 3, 4, 5].map(id => ask(pool, id))));
    expect(record.findings).toMatchObject([{ kind: 'fan-out', count: 5 }]);
    expect(record.queries).toMatchObject({ count: 5, errors: 0, rows: 5 });
  });

  it('once, with its values, so a duplicate is one', async () => {
    const pool = await poolOf(2);
    const record = await recordOfUnit(test, () =>
      Promise.all([1, 2, 1].map(id => pool.query(`SELECT * FROM ${orders} WHERE id = ?`, [id]))),
    );
    expect(record.findings).toMatchObject([{ kind: 'duplicate', count: 3, duplicates: 1 }]);
  });

  it('and its time counts from where it has got its connection', async () => {
    const pool = await poolOf(1);
    const busy = pool.query('SELECT SLEEP(0.5)');
    const record = await recordOfUnit(test, () => pool.query('SELECT SLEEP(0.1)'));
    const { waitMs, durationMs } = record.queries;
    expect(waitMs).toBeGreaterThan(400);
    expect(durationMs).toBeGreaterThan(90);
    // Each is counted once.
    expect(waitMs + durationMs).toBeLessThanOrEqual(record.durationMs);
    expect(durationMs).toBeLessThan(waitMs);
    await busy;
  });

  it('with callbacks as well, and it has waited', async () => {
    const pool = callbacks.createPool({ ...options, connectionLimit: 1 });
    ends.push(() => pool.end(() => undefined));
    const all = [0.05, 0, 0].map(
      seconds => () => byCallback(done => pool.query('SELECT SLEEP(?)', [seconds], done)),
    );
    const record = await recordOfUnit(test, () => Promise.all(all.map(ask => ask())));
    expect(record.queries).toMatchObject({ count: 3, errors: 0, rows: 3 });
    expect(record.findings).toMatchObject([{ kind: 'duplicate', count: 3, duplicates: 1 }]);
    expect(record.queries.waitMs).toBeGreaterThan(80);
  });
});

describe('a pool that gives no connection', () => {
  it('is an error of whose query it was, with its text, when it ends meanwhile', async () => {
    const pool = createPool({ ...options, connectionLimit: 1 });
    await pool.query('SELECT 1');
    const busy = pool.query('SELECT SLEEP(0.05)');
    const record = await recordOfUnit(test, async () => {
      const waiting = expect(pool.query(`SELECT * FROM ${orders}`)).rejects.toThrow('pool is ending');
      await pool.end();
      await waiting;
    });
    expect(record.queries).toMatchObject({ count: 1, errors: 1, rows: 0 });
    expect(record.queries.shapes).toMatchObject([{ table: orders }]);
    await busy;
  });

  it('is an error of who asked for one by itself', async () => {
    const pool = await poolOf(1, { acquireTimeout: 50 });
    const busy = pool.query('SELECT SLEEP(0.1)');
    const record = await recordOfUnit(test, () =>
      expect(pool.getConnection()).rejects.toThrow('pool timeout'),
    );
    expect(record.queries).toMatchObject({ count: 1, errors: 1 });
    expect(record.queries.waitMs).toBeGreaterThan(40);
    await busy;
  });
});

describe("onExceeded: 'throw', when the pool is full", () => {
  const BEYOND = 'INSERT INTO nowhere VALUES (?)';

  it.each<[string, (pool: Pool, raw: Callbacks.Pool) => Promise<unknown>]>([
    ['query', pool => pool.query(BEYOND, [1])],
    ['execute', pool => pool.execute(BEYOND, [1])],
    ['batch', pool => pool.batch(BEYOND, [[1]])],
    ['query with a callback', (_, raw) => byCallback(done => raw.query(BEYOND, [1], done))],
    ['execute with a callback', (_, raw) => byCallback(done => raw.execute(BEYOND, [1], done))],
    ['batch with a callback', (_, raw) => byCallback(done => raw.batch(BEYOND, [[1]], done))],
  ])('keeps back what is beyond the budget before it waits: %s', async (_what, ask) => {
    const app = await startApp({ instrumentations, budget: { queries: 1 }, onExceeded: 'throw' });
    const pool = await poolOf(1);
    const raw = callbacks.createPool({ ...options, connectionLimit: 1 });
    ends.push(() => raw.end(() => undefined));
    const busy = [pool.query('SELECT SLEEP(2)'), byCallback(done => raw.query('SELECT SLEEP(2)', [], done))];
    const record = await recordOfUnit(app, async () => {
      await connection.query('SELECT 1');
      await expect(ask(pool, raw)).rejects.toThrow(QueryBudgetExceededError);
    });
    expect(record.queries).toMatchObject({ count: 2, errors: 0, waitMs: 0 });
    expect(record.durationMs).toBeLessThan(2_000);
    await Promise.all(busy);
    expect(await pool.query('SELECT 1 AS n')).toMatchObject([{ n: 1 }]);
    await byCallback(done => raw.query('SELECT 1', [], done));
    await app.close();
  });
});
