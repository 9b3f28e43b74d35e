import { Pool } from 'pg';

const URL = process.env.DATABASE_URL ?? 'postgres://postgres@127.0.0.1:5432/postgres';

/** Three rows of a table that need not exist: the benchmark reads and leaves nothing behind. */
export const SERVER_STATEMENT =
  "SELECT id, name, total FROM (VALUES (1, 'first', '10.00'), (2, 'second', '20.00'), (3, 'third', '30.00')) " +
  'AS orders (id, name, total) WHERE id > $1::int - 1000';

export function connectServer() {
  return new Pool({ connectionString: URL, max: 10, connectionTimeoutMillis: 2_000 });
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
