import { PGlite } from '@electric-sql/pglite';
import { PGLiteSocketServer } from '@electric-sql/pglite-socket';
import { parentPort } from 'node:worker_threads';
import { SCHEMA } from './seed';

// In a thread of its own: a statement of PGlite blocks the thread that it runs in.
async function serve(): Promise<void> {
  const db = await PGlite.create();
  // The engine has one session and ignores what a connection asks for when it starts.
  await db.exec(`SET search_path TO ${SCHEMA}`);
  const server = new PGLiteSocketServer({ db, host: '127.0.0.1', port: 0 });
  await server.start();
  parentPort?.postMessage(server.getServerConn().split(':').pop());
}

void serve();
