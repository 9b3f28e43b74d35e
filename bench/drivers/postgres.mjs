import postgres from 'postgres';
import { preparingStub } from '../stub-pg.mjs';

export const instrumentation = 'postgresInstrumentation';

export function connect() {
  const sql = postgres({ socket: preparingStub, user: 'bench', max: 1, fetch_types: false });
  let id = 0;
  return {
    query: () => sql`SELECT id, name, total FROM orders WHERE customer_id = ${(id += 1)} LIMIT 3`,
    close: () => sql.end(),
  };
}
