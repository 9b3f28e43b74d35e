import { createConnection } from 'mariadb';
import { StubSocket, STATEMENT } from '../stub-mysql.mjs';

export const instrumentation = 'mariadbInstrumentation';

export async function connect() {
  const connection = await createConnection({ stream: () => new StubSocket(), user: 'bench' });
  let id = 0;
  return {
    query: () => connection.query(STATEMENT, [(id += 1)]),
    close: () => connection.destroy(),
  };
}
