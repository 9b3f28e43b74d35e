import { copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { createConnection, createPool, type Connection, type Pool } from 'mariadb';
import type * as Callbacks from 'mariadb/callback';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { mariadbInstrumentation } from '../../lib/drivers/mariadb/mariadb.driver';
import { mariadbClasses } from '../../lib/drivers/mariadb/mariadb-classes';
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
const load = createRequire(import.meta.url);
const callbacks = load('mariadb/callback') as typeof Callbacks;
const instrumentations = [mariadbInstrumentation()];
const folders: string[] = [];

let test: TestApp;
let connection: Connection;
let raw: Callbacks.Connection;
let pool: Pool;
let rawPool: Callbacks.Pool;

const byCallback = (run: (done: (error: unknown) => void) => unknown): Promise<unknown> =>
  new Promise((resolve, reject) => run(error => (error ? reject(error as Error) : resolve(undefined))));

/** Another copy of mariadb, laid out as version 3.4 is: that which Prisma's adapter brings. */
function otherCopy(write: (folder: string) => void): unknown {
  const root = fileURLToPath(new URL('../..', import.meta.url));
  mkdirSync(join(root, '.cache'), { recursive: true });
  // Below the root, so that what mariadb needs is found.
  const top = mkdtempSync(join(root, '.cache', 'mariadb-'));
  folders.push(top);
  const folder = join(top, 'node_modules', 'mariadb');
  mkdirSync(folder, { recursive: true });
  write(folder);
  return load(join(folder, 'promise.js'));
}

beforeAll(async () => {
  connection = await createConnection(options);
  raw = callbacks.createConnection(options);
  pool = createPool({ ...options, connectionLimit: 1 });
  rawPool = callbacks.createPool({ ...options, connectionLimit: 1 });
  await pool.query('SELECT 1');
  await byCallback(done => raw.ping(done as never));
  await byCallback(done => rawPool.query('SELECT 1', [], done));
  test = await startApp({ instrumentations });
});
afterAll(async () => {
  await Promise.all([connection.end(), pool.end()]);
  await Promise.all([byCallback(done => raw.end(done)), byCallback(done => rawPool.end(done))]);
  await test.close();
  for (const folder of folders) rmSync(folder, { recursive: true });
});

describe('a connection of mariadb that was open before the application', () => {
  it.each<[string, () => unknown, object]>([
    ['a callback', () => byCallback(done => raw.query('SELECT 1', done)), { count: 1, rows: 1 }],
    [
      'a callback of a pool',
      () => byCallback(done => rawPool.query('SELECT 1', [], done)),
      { count: 1, rows: 1 },
    ],
    [
      'a transaction',
      async () => {
        await connection.beginTransaction();
        await connection.commit();
      },
      { transactions: 2 },
    ],
    [
      'a stream of what a pool gives',
      async () => {
        const one = await pool.getConnection();
        await one.queryStream('SELECT 1 AS n UNION SELECT 2').toArray();
        await one.release();
      },
      { count: 1, rows: 2 },
    ],
  ])('is counted like any other: %s', async (_what, work, expected) => {
    expect((await recordOfUnit(test, work)).queries).toMatchObject({ errors: 0, ...expected });
  });
});

describe('the rows of a connection of mariadb', () => {
  it.each<[string, object]>([
    ['objects', {}],
    ['rows and their columns', { metaAsArray: true }],
    ['arrays', { rowsAsArray: true }],
  ])('are counted by what its options make of them: %s', async (_what, more) => {
    const one = await createConnection({ ...options, ...more });
    const sql = 'SELECT NOW() AS a, NOW() AS b, NOW() AS c UNION ALL SELECT NOW(), NOW(), NOW()';
    const work = async (): Promise<void> => {
      await one.query(sql);
      await one.execute(sql);
    };
    expect((await recordOfUnit(test, work)).queries).toMatchObject({ count: 2, rows: 4 });
    await one.end();
  });
});

describe('a connection of mariadb that is closed', () => {
  it('is an error of each query, also with a callback', async () => {
    const one = await createConnection(options);
    const other = callbacks.createConnection(options);
    await byCallback(done => other.ping(done as never));
    await Promise.all([one.end(), byCallback(done => other.end(done))]);
    const record = await recordOfUnit(test, async () => {
      await expect(one.query('SELECT 1')).rejects.toThrow('connection closed');
      await expect(byCallback(done => other.query('SELECT 1', done))).rejects.toThrow('connection closed');
    });
    expect(record.queries).toMatchObject({ count: 2, errors: 2, rows: 0 });
  });
});

describe('the instrumentation', () => {
  it('leaves no socket and no timer behind where it looks for the classes', () => {
    const before = process.getActiveResourcesInfo();
    const classes = mariadbClasses(callbacks as never);
    expect(process.getActiveResourcesInfo()).toEqual(before);
    expect(classes).toEqual({
      pool: expect.anything() as unknown,
      connection: expect.anything() as unknown,
      callbackApi: expect.anything() as unknown,
    });
  });

  it('covers a copy of its own of somebody else', async () => {
    const copy = otherCopy(folder => {
      copyFileSync(load.resolve('mariadb'), join(folder, 'promise.js'));
    }) as { createPool: typeof createPool };
    expect(copy.createPool).not.toBe((load('mariadb') as { createPool: unknown }).createPool);
    const app = await startApp({ instrumentations });
    const other = copy.createPool({ ...options, connectionLimit: 1 });
    const record = await recordOfUnit(app, () => other.query('SELECT 1'));
    expect(record.queries).toMatchObject({ count: 1, rows: 1 });
    await other.end();
    await app.close();
  });

  it('says so of a version that it does not know, and makes no pool of it', async () => {
    const copy = otherCopy(folder => {
      writeFileSync(
        join(folder, 'promise.js'),
        "exports.version = '3.3.2'; exports.made = []; exports.createPool = exports.createConnection = o => exports.made.push(o);",
      );
    }) as { made: unknown[] };
    const app = await startApp({ instrumentations });
    expect(app.logs.lines.map(({ message }) => String(message)).join('\n')).toContain(
      'mariadb 3.3.2 is older',
    );
    expect(copy.made).toEqual([]);
    await app.close();
  });
});
