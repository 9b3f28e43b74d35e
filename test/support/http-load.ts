import { once } from 'node:events';
import { Worker } from 'node:worker_threads';

// Plain JavaScript: it is handed to a worker as text.
const SOURCE = `
const { parentPort } = require('node:worker_threads');
const { Agent, get } = require('node:http');
const agent = new Agent({ keepAlive: true, maxSockets: 200 });
const ask = url => new Promise((resolve, reject) =>
  get(url, { agent }, response => response.resume().on('end', () => resolve(response.statusCode))).on('error', reject));
parentPort.on('message', ({ url, count }) =>
  Promise.all(Array.from({ length: count }, () => ask(url))).then(
    statuses => parentPort.postMessage(statuses), error => parentPort.postMessage(String(error))));
`;

/** A client in a thread of its own: what it does is no work of the event loop under test. */
export class HttpLoad {
  readonly #worker = new Worker(SOURCE, { eval: true });

  /** Sends so many requests at once, and gives the statuses of their responses. */
  async send(url: string, count: number): Promise<readonly number[]> {
    this.#worker.postMessage({ url, count });
    const [statuses] = (await once(this.#worker, 'message')) as [readonly number[] | string];
    if (typeof statuses === 'string') throw new Error(statuses);
    return statuses;
  }

  async close(): Promise<void> {
    await this.#worker.terminate();
  }
}
