import { createConnection } from 'mysql2/promise';
import { StubSocket, STATEMENT } from '../stub-mysql.mjs';

export const instrumentation = 'mysql2Instrumentation';

export async function connect() {
  const connection = await createConnection({ stream: () => new StubSocket(), user: 'bench' });
  let id = 0;
  return {
    query: () => connection.query(STATEMENT, [(id += 1)]),
    close: () => connection.destroy(),
  };
}
