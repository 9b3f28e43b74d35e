import { once } from 'node:events';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';

/** A PostgreSQL to talk to, and what stops it. */
export interface DatabaseServer {
  readonly name: string;
  readonly url: string;
  /** How many connections it serves side by side. */
  readonly connections: number;
  stop(): Promise<unknown>;
}

/** The server that `DATABASE_URL` names, else an embedded engine that needs nothing installed. */
export async function startDatabase(): Promise<DatabaseServer> {
  const url = process.env['DATABASE_URL'];
  if (url !== undefined)
    return { name: 'the PostgreSQL of DATABASE_URL', url, connections: 10, stop: async () => undefined };
  const worker = new Worker(join(__dirname, 'embedded.worker.js'));
  const [port] = (await once(worker, 'message')) as [string];
  return {
    name: 'PGlite, PostgreSQL in a worker thread',
    url: `postgres://postgres@127.0.0.1:${port}/postgres`,
    // More would mix up the steps of their statements: the engine has one session.
    connections: 1,
    stop: () => worker.terminate(),
  };
}
