import { PGlite } from '@electric-sql/pglite';
import { PGLiteSocketServer } from '@electric-sql/pglite-socket';
import { Client } from 'pg';

/** As many as there are workers: an engine has one session, and two files at once would share it. */
const ENGINES = 2;
const ON_THIS_MACHINE = [
  'postgres://postgres@127.0.0.1:5432/postgres',
  'postgres://postgres:postgres@127.0.0.1:5432/postgres',
];

/**
 * Says where PostgreSQL is: `DATABASE_URL`, a server on this machine, or embedded engines, which
 * `DATABASE_URL=embedded` asks for as well.
 */
export async function setup(): Promise<(() => Promise<void>) | undefined> {
  const given = process.env['DATABASE_URL'];
  const urls = given === undefined ? ON_THIS_MACHINE : given === 'embedded' ? [] : [given];
  for (const url of urls) {
    if (await answers(url)) {
      process.env['TEST_DATABASE_URL'] = url;
      return undefined;
    }
  }
  if (urls[0] !== undefined && urls[0] === given) throw new Error('no PostgreSQL answers at DATABASE_URL');
  const engines = await Promise.all(Array.from({ length: ENGINES }, startEngine));
  process.env['TEST_DATABASE_URL'] = engines.map(({ url }) => url).join(' ');
  process.env['TEST_DATABASE_EMBEDDED'] = 'true';
  return async () => {
    for (const { stop } of engines) await stop();
  };
}

async function startEngine(): Promise<{ url: string; stop(): Promise<void> }> {
  const db = await PGlite.create();
  const server = new PGLiteSocketServer({ db, host: '127.0.0.1', port: 0, maxConnections: 50 });
  await server.start();
  const port = server.getServerConn().split(':').pop();
  return {
    url: `postgres://postgres@127.0.0.1:${port}/postgres`,
    stop: async () => {
      await server.stop();
      await db.close();
    },
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
