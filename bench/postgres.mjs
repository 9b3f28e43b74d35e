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
