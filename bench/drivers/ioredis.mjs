import { Redis } from 'ioredis';
import { once } from 'node:events';
import { StubSocket } from '../stub-redis.mjs';

export const instrumentation = 'ioredisInstrumentation';

/** Connects to a stub that stays in the process. */
class StubConnector {
  firstError;

  check() {
    return true;
  }

  connect() {
    return Promise.resolve(new StubSocket());
  }

  disconnect() {}
}

export async function connect() {
  const client = new Redis({ Connector: StubConnector, enableReadyCheck: false, disableClientInfo: true });
  await once(client, 'ready');
  let id = 0;
  return { query: () => client.get(`order:${(id += 1)}`), close: () => client.disconnect() };
}
