import { Agent, get } from 'node:http';
import { StubSocket } from '../stub-http.mjs';

export const instrumentation = 'httpInstrumentation';

class StubAgent extends Agent {
  createConnection() {
    return new StubSocket();
  }
}

export async function connect() {
  const agent = new StubAgent({ keepAlive: true });
  const options = { host: 'stub.example', path: '/orders', agent };
  const query = () =>
    new Promise((resolve, reject) => {
      get(options, response => response.on('end', resolve).resume()).on('error', reject);
    });
  return { query, close: () => agent.destroy() };
}
