import { PGlite } from '@electric-sql/pglite';
import { PGLiteSocketServer } from '@electric-sql/pglite-socket';
import { Client } from 'pg';

const SERVERS = [
  'postgres://postgres@127.0.0.1:5432/postgres',
  'postgres://postgres:postgres@127.0.0.1:5432/postgres',
];

/** Says where PostgreSQL is: `DATABASE_URL`, a server on this machine, or an embedded engine. */
export async function setup(): Promise<(() => Promise<void>) | undefined> {
  for (const url of [process.env['DATABASE_URL'], ...SERVERS]) {
    if (url !== undefined && (await answers(url))) {
      process.env['TEST_DATABASE_URL'] = url;
      return undefined;
    }
  }
  const db = await PGlite.create();
  const server = new PGLiteSocketServer({ db, host: '127.0.0.1', port: 0, maxConnections: 50 });
  await server.start();
  const port = server.getServerConn().split(':').pop();
  process.env['TEST_DATABASE_URL'] = `postgres://postgres@127.0.0.1:${port}/postgres`;
  process.env['TEST_DATABASE_EMBEDDED'] = 'true';
  return async () => {
    await server.stop();
    await db.close();
  };
}

async function answers(connectionString: string): Promise<boolean> {
  const client = new Client({ connectionString, connectionTimeoutMillis: 2_000 });
  try {
    await client.connect();
    return true;
  } catch {
    return false;
  } finally {
    await client.end().catch(() => undefined);
  }
}
