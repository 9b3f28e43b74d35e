import { Client } from 'undici';
import { StubSocket } from '../stub-http.mjs';

export const instrumentation = 'httpInstrumentation';

/** Node's `fetch` is built on such a client, and costs ten times as much. */
export async function connect() {
  const client = new Client('http://stub.example', {
    connect: (_options, done) => process.nextTick(done, null, new StubSocket()),
  });
  return {
    query: async () => (await client.request({ path: '/orders', method: 'GET' })).body.text(),
    close: () => client.destroy(),
  };
}
