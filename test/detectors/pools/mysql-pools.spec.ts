import * as mariadb from 'mariadb';
import { createRequire } from 'node:module';
import mysql from 'mysql2';
import { createPool as createPromisePool } from 'mysql2/promise';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ContextService } from 'nestjs-async-context';
import { startApp, type TestApp, until } from '../../support/platforms';
import { recordOfUnit } from '../../support/units';

const uri = process.env['TEST_MARIADB_URL'] ?? 'mysql://root@127.0.0.1:3306/test';
const address = new URL(uri);
const options = {
  host: address.hostname,
  port: Number(address.port || 3306),
  user: decodeURIComponent(address.username),
  password: decodeURIComponent(address.password),
  database: address.pathname.slice(1),
  connectionLimit: 2,
};
const callbacks = createRequire(import.meta.url)('mariadb/callback') as typeof import('mariadb/callback');

interface Connection {
  query(text: string): Promise<unknown>;
  release(): unknown;
}

interface Pool {
  query(text: string): Promise<unknown>;
  getConnection(): Promise<Connection>;
  end(): Promise<unknown>;
}

type Done<T = unknown> = (error: unknown, value: T) => void;
const called = <T>(run: (done: Done<T>) => unknown): Promise<T> =>
  new Promise((resolve, reject) => run((error, value) => (error ? reject(error as Error) : resolve(value))));

interface CallbackConnection {
  query(text: string, done: Done): unknown;
  release(): unknown;
}

interface CallbackPool {
  query(text: string, done: Done): unknown;
  getConnection(done: Done<CallbackConnection>): unknown;
  end(done: Done): unknown;
}

/** A pool with callbacks, asked as one with promises is. */
function promised(pool: CallbackPool): Pool {
  return {
    query: text => called(done => pool.query(text, done)),
    getConnection: async () => {
      const connection = await called<CallbackConnection>(done => pool.getConnection(done));
      return {
        query: text => called(done => connection.query(text, done)),
        release: () => connection.release(),
      };
    },
    end: () => called(done => pool.end(done)),
  };
}

const pools: Record<string, [driver: string, make: () => Pool]> = {
  mysql2: ['mysql2', () => promised(mysql.createPool(options) as unknown as CallbackPool)],
  'mysql2/promise': ['mysql2', () => createPromisePool(options)],
  mariadb: ['mariadb', () => mariadb.createPool(options) as unknown as Pool],
  'mariadb/callback': ['mariadb', () => promised(callbacks.createPool(options) as unknown as CallbackPool)],
};

let test: TestApp;
let pool: Pool;
const lines = (): string[] => test.logs.of('warn', 'ConnectionPool');
const pause = (ms: number) => new Promise(resolve => setTimeout(resolve, ms));
const inUnit = (handler: string, work: () => Promise<unknown>): Promise<unknown> =>
  test.app.get(ContextService).run({ handler }, work);

describe.each(Object.keys(pools))('a pool of %s', name => {
  const [driver, make] = pools[name]!;

  beforeEach(async () => {
    test = await startApp({ poolWaitMs: 100, connectionLeakMs: 100 });
    pool = make();
    // Both connections are open.
    await Promise.all([pool.query('SELECT SLEEP(0.05)'), pool.query('SELECT SLEEP(0.05)')]);
  });
  afterEach(async () => {
    await pool.end();
    await test.close();
  });

  it('that is waited for names its holders, and what they are in', async () => {
    const query = inUnit('Reports.monthly', () => pool.query('SELECT SLEEP(0.3)'));
    const transaction = inUnit('Orders.pay', async () => {
      const connection = await pool.getConnection();
      await connection.query('START TRANSACTION');
      await connection.query("SELECT 'secret'");
      await pause(300);
      await connection.query('COMMIT');
      connection.release();
    });
    await pause(50);
    const record = await recordOfUnit(test, async () => (await pool.getConnection()).release());
    await Promise.all([query, transaction]);
    expect(record.queries.waitMs).toBeGreaterThan(100);
    expect(lines()).toHaveLength(1);
    expect(lines()[0]).toContain(`for a ${driver} connection: 2 of 2 in use, 1 call waiting`);
    expect(lines()[0]).toMatch(/Reports\.monthly, 1 for \d+ ms: in SELECT SLEEP\(\?\)\n/);
    expect(lines()[0]).toMatch(/Orders\.pay, 1 for \d+ ms: idle in a transaction, last: SELECT \?\n/);
    expect(lines()[0]).not.toContain('secret');
  });

  it('whose connection is not released is told of, with handler and line', async () => {
    let leaked: Connection | undefined;
    const getConnection = async (): Promise<void> => {
      leaked = await pool.getConnection();
      await leaked.query('SELECT 1');
    };
    await inUnit('Orders.leak', getConnection);
    const line = await until(() => lines()[0], 'report of a leak');
    expect(line).toContain(`Orders.leak has not released a ${driver} connection`);
    expect(line).toMatch(/acquired {2}at mysql-pools\.spec\.ts:\d+/);
    expect(line).toContain('between statements, last: SELECT ?');
    leaked!.release();
  });

  it('whose connections are released says nothing', async () => {
    for (let i = 0; i < 50; i++) {
      await inUnit('Orders.clean', async () => {
        const connection = await pool.getConnection();
        await connection.query('SELECT 1');
        connection.release();
        await pool.query('SELECT 1');
      });
    }
    await pause(300);
    expect(lines()).toEqual([]);
  });
});
