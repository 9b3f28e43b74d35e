import { connectStub, STATEMENT } from '../stub-pg.mjs';

export const instrumentation = 'pgInstrumentation';

export async function connect() {
  const client = await connectStub();
  let id = 0;
  return { query: () => client.query(STATEMENT, [(id += 1)]), close: () => client.end() };
}
