import { once } from 'node:events';
import { Worker } from 'node:worker_threads';

/** How a number of requests were answered. */
export interface Answers {
  readonly count: number;
  /** Answers that were none, or of another status than 200. */
  readonly failed: number;
  readonly medianMs: number;
  readonly p99Ms: number;
  readonly slowestMs: number;
}

// Plain JavaScript: it is handed to a worker as text.
const SOURCE = `
const { parentPort } = require('node:worker_threads');
const { Agent, get } = require('node:http');
const agent = new Agent({ keepAlive: true });
const ask = url => new Promise(resolve =>
  get(url, { agent }, response => response.resume().on('end', () => resolve(response.statusCode === 200)))
    .on('error', () => resolve(false)));
const wait = ms => new Promise(resolve => setTimeout(resolve, ms));
parentPort.on('message', async ({ url, count, overMs, clients }) => {
  const durations = [];
  let failed = 0;
  let sent = 0;
  const begin = performance.now();
  await Promise.all(Array.from({ length: clients }, async () => {
    while (sent < count) {
      const dueMs = begin + (overMs * sent++) / count;
      const early = dueMs - performance.now();
      if (early > 0) await wait(early);
      const start = performance.now();
      if (!(await ask(url))) failed += 1;
      durations.push(performance.now() - start);
    }
  }));
  durations.sort((a, b) => a - b);
  const at = share => Math.round((durations[Math.ceil(durations.length * share) - 1] ?? 0) * 100) / 100;
  parentPort.postMessage({ count, failed, medianMs: at(0.5), p99Ms: at(0.99), slowestMs: at(1) });
});
`;

/** Clients in a thread of their own, which ask evenly over a time. */
export class PacedLoad {
  readonly #worker = new Worker(SOURCE, { eval: true });

  /** @param overMs the least that it takes, in milliseconds; 0 for as fast as the clients can */
  async send(url: string, count: number, overMs = 0, clients = 20): Promise<Answers> {
    this.#worker.postMessage({ url, count, overMs, clients });
    const [answers] = (await once(this.#worker, 'message')) as [Answers];
    return answers;
  }

  async close(): Promise<void> {
    await this.#worker.terminate();
  }
}
