import { createClient } from 'redis';
import { StubSocket } from '../stub-redis.mjs';

export const instrumentation = 'redisInstrumentation';

/** What the client sees of its socket, which takes several commands at once. */
class StubConnection extends StubSocket {
  isOpen = true;
  isReady = true;
  socketEpoch = 1;

  write(commands) {
    for (const _command of commands) super.write();
  }
}

export async function connect() {
  // Its default time limit makes a signal for each command, which costs more than all that is measured.
  const client = createClient({ commandOptions: { timeout: 0 }, maintNotifications: 'disabled' });
  client._ejectSocket();
  client._insertSocket(new StubConnection());
  let id = 0;
  return { query: () => client.get(`order:${(id += 1)}`), close: () => undefined };
}
