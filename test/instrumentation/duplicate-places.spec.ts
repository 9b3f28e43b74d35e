import type Sqlite from 'better-sqlite3';
import { PGlite } from '@electric-sql/pglite';
import { createRequire } from 'node:module';
import * as mariadb from 'mariadb';
import { type Connection, createConnection, createPool } from 'mysql2/promise';
import { Pool, type PoolClient, type PoolConfig } from 'pg';
import postgres from 'postgres';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { betterSqlite3Instrumentation } from '../../lib/drivers/sqlite/better-sqlite3.driver';
import { mariadbInstrumentation } from '../../lib/drivers/mariadb/mariadb.driver';
import { mysql2Instrumentation } from '../../lib/drivers/mysql2/mysql2.driver';
import { nodeSqliteInstrumentation } from '../../lib/drivers/sqlite/node-sqlite.driver';
import { pgInstrumentation } from '../../lib/drivers/pg/pg.driver';
import { pgliteInstrumentation } from '../../lib/drivers/pglite.driver';
import { postgresInstrumentation } from '../../lib/drivers/postgres/postgres.driver';
import { databaseUrl, isEmbedded } from '../support/database';
import { startApp, type TestApp } from '../support/platforms';
import { recordOfUnit } from '../support/units';

const load = createRequire(import.meta.url);
// better-sqlite3 13 ends a process of Node 20 when a database is opened; node:sqlite came with 22.
const isNode20 = process.version.startsWith('v20.');
const mysqlUri = process.env['TEST_MARIADB_URL'] ?? 'mysql://root@127.0.0.1:3306/test';
const schemas = [`place_a_${process.pid}`, `place_b_${process.pid}`] as const;
const [a, b] = schemas;
const ORDER = 'SELECT * FROM orders WHERE id = $1';

let test: TestApp;

/** How many runs are said to be duplicates. */
async function duplicatesOf(work: () => unknown): Promise<number> {
  const { findings = [] } = await recordOfUnit(test, work);
  return findings.reduce((sum, { duplicates }) => sum + duplicates, 0);
}

async function repeat(times: number, ask: () => unknown): Promise<void> {
  for (let i = 0; i < times; i += 1) await ask();
}

beforeAll(async () => {
  // They are counted where they are loaded before.
  if (!isNode20) for (const name of ['better-sqlite3', 'node:sqlite']) load(name);
  test = await startApp({
    instrumentations: [
      pgInstrumentation(),
      postgresInstrumentation(),
      pgliteInstrumentation(),
      mysql2Instrumentation(),
      mariadbInstrumentation(),
      betterSqlite3Instrumentation(),
      nodeSqliteInstrumentation(),
    ],
  });
});
afterAll(() => test.close());

// An embedded engine has one session.
describe.skipIf(isEmbedded)('duplicates on PostgreSQL', () => {
  const connectionString = databaseUrl();
  const inSchema = (schema: string): PoolConfig => ({
    connectionString,
    options: `-c search_path=${schema}`,
  });
  let pool: Pool;
  let tenants: readonly [Pool, Pool];

  beforeAll(async () => {
    pool = new Pool({ connectionString, max: 4 });
    tenants = [new Pool(inSchema(a)), new Pool(inSchema(b))];
    for (const schema of schemas) {
      await pool.query(`CREATE SCHEMA ${schema}`);
      await pool.query(`CREATE TABLE ${schema}.orders (id int)`);
    }
  });
  afterAll(async () => {
    await pool.query(`DROP SCHEMA ${a} CASCADE`);
    await pool.query(`DROP SCHEMA ${b} CASCADE`);
    await Promise.all([pool, ...tenants].map(one => one.end()));
  });

  const withClient = async (work: (client: PoolClient) => Promise<unknown>): Promise<void> => {
    const client = await pool.connect();
    try {
      await work(client);
    } finally {
      await client.query('RESET ALL');
      client.release();
    }
  };

  it('are the same question to the same pool, or to two pools of the same database', async () => {
    const other = new Pool({ connectionString });
    const ask = (one: Pool) => one.query(`SELECT * FROM ${a}.orders WHERE id = $1`, [1]);
    expect(await duplicatesOf(() => repeat(3, () => ask(pool)))).toBe(2);
    expect(await duplicatesOf(async () => [await ask(pool), await ask(other)])).toBe(1);
    expect(await duplicatesOf(() => withClient(async client => repeat(2, () => ask(client as never))))).toBe(
      1,
    );
    await other.end();
  });

  it('are a question to a pool and to a client of it', async () => {
    const ask = (on: Pool | PoolClient) => on.query(`SELECT * FROM ${a}.orders WHERE id = $1`, [1]);
    const found = await duplicatesOf(async () => {
      await ask(pool);
      const client = await pool.connect();
      await ask(client);
      client.release();
    });
    expect(found).toBe(1);
  });

  it('are not the question to another schema or database', async () => {
    expect(await duplicatesOf(() => Promise.all(tenants.map(one => one.query(ORDER, [1]))))).toBe(0);
    const database = new URL(connectionString);
    database.pathname = '/template1';
    const other = new Pool({ connectionString: database.href });
    expect(
      await duplicatesOf(async () => {
        for (const one of [pool, other])
          await one.query('SELECT count(*) FROM pg_class WHERE relname = $1', ['x']);
      }),
    ).toBe(0);
    await other.end();
  });

  it.each<[string, (client: PoolClient, schema: string) => Promise<unknown>]>([
    ['SET search_path', (client, schema) => client.query(`SET search_path TO ${schema}`)],
    [
      'set_config()',
      (client, schema) => client.query("SELECT set_config('search_path', $1, false)", [schema]),
    ],
  ])('are not the question after another %s', async (_, set) => {
    const found = await duplicatesOf(() =>
      withClient(async client => {
        for (const schema of schemas) {
          await set(client, schema);
          await client.query(ORDER, [1]);
        }
      }),
    );
    expect(found).toBe(0);
  });

  it('are not the question of two tenants on two connections at once', async () => {
    const found = await duplicatesOf(() =>
      Promise.all(
        schemas.map(schema =>
          withClient(async client => {
            await client.query(`SET search_path TO ${schema}`);
            await new Promise(resolve => setTimeout(resolve, 50));
            await client.query(ORDER, [1]);
          }),
        ),
      ),
    );
    expect(found).toBe(0);
  });

  it('begin anew with a transaction, and are found within it and after it', async () => {
    const ask = (client: PoolClient) => client.query(`SELECT * FROM ${a}.orders WHERE id = $1`, [2]);
    const transaction = async (client: PoolClient, times: number): Promise<void> => {
      await client.query('BEGIN');
      await repeat(times, () => ask(client));
      await client.query('COMMIT');
    };
    expect(await duplicatesOf(() => withClient(client => repeat(2, () => transaction(client, 1))))).toBe(0);
    expect(await duplicatesOf(() => withClient(client => transaction(client, 3)))).toBe(2);
    expect(
      await duplicatesOf(() =>
        withClient(async client => {
          await ask(client);
          await transaction(client, 1);
          await ask(client);
        }),
      ),
    ).toBe(1);
    expect(
      await duplicatesOf(() =>
        withClient(async client => {
          await client.query('BEGIN');
          for (const schema of schemas) {
            await client.query(`SET LOCAL search_path TO ${schema}`);
            await client.query(ORDER, [1]);
          }
          await client.query('COMMIT');
        }),
      ),
    ).toBe(0);
  });

  it('are found by postgres.js on one client, and not on two or in two transactions', async () => {
    const [first, second] = schemas.map(schema =>
      postgres(connectionString, { connection: { search_path: schema } }),
    );
    const ask = (on: postgres.Sql) => on`SELECT * FROM orders WHERE id = ${1}`;
    expect(await duplicatesOf(() => repeat(3, () => ask(first!)))).toBe(2);
    expect(await duplicatesOf(async () => [await ask(first!), await ask(second!)])).toBe(0);
    expect(await duplicatesOf(() => repeat(2, () => first!.begin(tx => ask(tx as never))))).toBe(0);
    expect(await duplicatesOf(() => first!.begin(tx => repeat(2, () => ask(tx as never))))).toBe(1);
    await Promise.all([first!.end(), second!.end()]);
  });
});

describe('duplicates on MariaDB', () => {
  beforeAll(async () => {
    const admin = await createConnection(mysqlUri);
    for (const schema of schemas) {
      await admin.query(`CREATE DATABASE ${schema}`);
      await admin.query(`CREATE TABLE ${schema}.orders (id int)`);
    }
    await admin.end();
  });
  afterAll(async () => {
    const admin = await createConnection(mysqlUri);
    for (const schema of schemas) await admin.query(`DROP DATABASE ${schema}`);
    await admin.end();
  });
  const uriOf = (database: string): string =>
    Object.assign(new URL(mysqlUri), { pathname: `/${database}` }).href;
  const TEXT = 'SELECT * FROM orders WHERE id = ?';

  it('are told apart by their database with mysql2', async () => {
    const pools = schemas.map(schema => createPool({ uri: uriOf(schema), connectionLimit: 2 }));
    const ask = (on: Pick<Connection, 'execute'>) => on.execute(TEXT, [1]);
    expect(await duplicatesOf(() => repeat(3, () => ask(pools[0]!)))).toBe(2);
    expect(await duplicatesOf(async () => [await ask(pools[0]!), await ask(pools[1]!)])).toBe(0);
    const connection = await createConnection(mysqlUri);
    const used = await duplicatesOf(async () => {
      for (const schema of [a, b, b]) {
        await connection.query(`USE ${schema}`);
        await ask(connection);
      }
    });
    expect(used).toBe(0);
    await Promise.all([...pools, connection].map(one => one.end()));
  });

  it('are told apart by their database with mariadb', async () => {
    const pools = schemas.map(schema => mariadb.createPool(uriOf(schema).replace('mysql:', 'mariadb:')));
    const ask = (on: mariadb.Pool) => on.query(TEXT, [1]);
    expect(await duplicatesOf(() => repeat(3, () => ask(pools[0]!)))).toBe(2);
    expect(await duplicatesOf(async () => [await ask(pools[0]!), await ask(pools[1]!)])).toBe(0);
    await Promise.all(pools.map(one => one.end()));
  });
});

describe('duplicates of an engine in the process', () => {
  interface Engine {
    readonly exec: (text: string) => unknown;
    readonly ask: () => unknown;
    readonly close: () => unknown;
  }
  const TEXT = 'SELECT * FROM orders WHERE id = 1';
  it.each<[string, () => Engine | Promise<Engine>]>([
    [
      'better-sqlite3',
      () => {
        const db = new (load('better-sqlite3') as typeof Sqlite)(':memory:');
        return { exec: text => db.exec(text), ask: () => db.prepare(TEXT).all(), close: () => db.close() };
      },
    ],
    [
      'node:sqlite',
      () => {
        const { DatabaseSync } = load('node:sqlite') as { DatabaseSync: typeof Sqlite };
        const db = new DatabaseSync(':memory:');
        return { exec: text => db.exec(text), ask: () => db.prepare(TEXT).all(), close: () => db.close() };
      },
    ],
    [
      'PGlite',
      async () => {
        const db = await PGlite.create();
        return { exec: text => db.exec(text), ask: () => db.query(TEXT), close: () => db.close() };
      },
    ],
  ])('are told apart by their database and transaction with %s', async (name, open) => {
    if (isNode20 && name !== 'PGlite') return;
    const [one, other] = [await open(), await open()];
    for (const { exec } of [one, other]) await exec('CREATE TABLE orders (id int)');
    expect(await duplicatesOf(() => repeat(3, one.ask))).toBe(2);
    expect(await duplicatesOf(async () => [await one.ask(), await other.ask()])).toBe(0);
    const inTransaction = await duplicatesOf(async () => {
      await one.ask();
      await one.exec('BEGIN');
      await one.ask();
      await one.exec('COMMIT');
    });
    expect(inTransaction).toBe(0);
    await one.close();
    await other.close();
  });
});
