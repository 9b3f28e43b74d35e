import { Pool } from 'pg';

export const SERVER_URL = process.env.DATABASE_URL ?? 'postgres://postgres@127.0.0.1:5432/postgres';

/**
 * Three rows without a table: the benchmark reads and leaves nothing behind. And without a literal, as
 * ORMs write: a text with literals is scanned anew each time (about 5 µs), so that the cache keeps none.
 */
export const SERVER_STATEMENT =
  'SELECT id, id::text AS name, id::text AS total FROM generate_series($1::int, $1::int + cardinality(ARRAY[$1, $1])) AS orders (id)';

export function connectServer() {
  return new Pool({ connectionString: SERVER_URL, max: 10, connectionTimeoutMillis: 2_000 });
}

/** Why there is no PostgreSQL server to measure on, or `undefined` if one answers. */
export async function whyNoServer() {
  const pool = connectServer();
  try {
    await pool.query(SERVER_STATEMENT, [1]);
    return undefined;
  } catch (error) {
    return error.message || error.code;
  } finally {
    await pool.end();
  }
}

/** 1,000 orders of three items each, unlogged: no transaction waits for the disk. Gives back what drops them. */
export async function createOrders(pool, table) {
  await pool.query(`
    CREATE UNLOGGED TABLE ${table} AS SELECT id, 'order ' || id AS name, 0 AS seen FROM generate_series(1, 1000) AS id;
    ALTER TABLE ${table} ADD PRIMARY KEY (id);
    CREATE UNLOGGED TABLE ${table}_items AS
      SELECT id, (id + 2) / 3 AS order_id, 'item ' || id AS name FROM generate_series(1, 3000) AS id;
    CREATE INDEX ON ${table}_items (order_id);
    ANALYZE ${table}, ${table}_items`);
  return () => pool.query(`DROP TABLE ${table}, ${table}_items`).finally(() => pool.end());
}
