import { PGlite } from '@electric-sql/pglite';

export const instrumentation = 'pgliteInstrumentation';

export async function connect() {
  const db = await PGlite.create();
  let id = 0;
  return { query: () => db.query('SELECT $1::int AS n', [(id += 1)]), close: () => db.close() };
}
