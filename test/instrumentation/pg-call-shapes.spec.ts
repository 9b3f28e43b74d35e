import { NestFactory } from '@nestjs/core';
import { Module } from '@nestjs/common';
import { AsyncLocalStorage } from 'node:async_hooks';
import { Client, Pool, Query } from 'pg';
import Cursor from 'pg-cursor';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { AsyncContextModule, ContextService } from 'nestjs-async-context';
import { databaseUrl, isEmbedded } from '../support/database';
import { LogLines } from '../support/platforms';

/** A promise class of the application's own. */
class OwnPromise<T> extends Promise<T> {}

type Ends = 'resolves' | 'rejects' | 'throws' | 'is cancelled';
type Log = (entry: unknown) => void;
interface Sender {
  query(...args: unknown[]): unknown;
}
/** Sends a text in one of the shapes; what the caller gets to see goes to the log. */
type Shape = (sender: Sender, text: string, log: Log) => Promise<unknown> | void;

const TEXTS: Readonly<Record<Exclude<Ends, 'throws'>, string>> = {
  resolves: 'SELECT 1 AS one, 2 AS two',
  rejects: 'SELECT * FROM no_such_table',
  'is cancelled': 'SELECT pg_sleep(10)',
};

const shapes: Record<string, Shape> = {
  'text, promise': (sender, text, log) => watch(sender.query(text), log),
  'text and values, promise': (sender, text, log) => watch(sender.query(text, []), log),
  'config, promise': (sender, text, log) => {
    const config = { text, rowMode: 'array' };
    return watch(sender.query(config), log).then(() => log(['config after', Object.keys(config)]));
  },
  'prepared, promise': (sender, text, log) => {
    const config = { name: `named ${text}`, text };
    return watch(sender.query(config, []), log)
      .then(() => watch(sender.query(config), log))
      .then(() => log(['config after', config]));
  },
  'text, callback': (sender, text, log) => called(callback => sender.query(text, callback), log),
  'text, values, callback': (sender, text, log) => called(callback => sender.query(text, [], callback), log),
  'config with a callback': (sender, text, log) => called(callback => sender.query({ text, callback }), log),
  'a query object': (sender, text, log) =>
    new Promise<void>(resolve => {
      const query = sender.query(new Query(text)) as Query;
      log(['returned', query instanceof Query, Object.keys(query).includes('handleError')]);
      query.on('row', row => log(['row', row]));
      query.on('error', error => (log(['error', facts(error)]), resolve()));
      query.on('end', result => (log(['end', facts(result)]), resolve()));
    }),
  'a cursor': (sender, text, log) =>
    new Promise<void>(resolve => {
      const cursor = sender.query(new Cursor(text)) as Cursor;
      cursor.on('end', () => log('end'));
      cursor.read(5, (error: unknown, rows: unknown) => {
        log(['read', error ? facts(error) : rows]);
        setImmediate(resolve);
      });
    }),
};

const wrong: Record<string, (sender: Sender) => unknown> = {
  'no query at all': sender => sender.query(null),
  'an undefined query': sender => sender.query(undefined),
  'a callback that is none': sender => sender.query('SELECT 1', [], 'callback'),
  'an empty config': sender => sender.query({}),
  'values that are no list': sender => sender.query('SELECT $1', 5),
};

/** Every shape against a client and a pool, with what is seen of it. */
async function observe(sender: Sender, run: (log: Log) => unknown): Promise<unknown[]> {
  const seen: unknown[] = [];
  const log: Log = entry => void seen.push(entry);
  try {
    const result = run(log);
    process.nextTick(() => log('next tick'));
    void Promise.resolve().then(() => log('microtask'));
    await result;
  } catch (error) {
    log(['threw', facts(error)]);
  }
  // The connection is of use afterwards.
  log(['afterwards', ((await sender.query('SELECT 3 AS n')) as { rows: unknown }).rows]);
  return seen;
}

function watch(promise: unknown, log: Log): Promise<unknown> {
  log(['returned', (promise as object).constructor.name]);
  return (promise as Promise<unknown>).then(
    result => log(['resolved', facts(result)]),
    (error: unknown) => log(['rejected', facts(error)]),
  );
}

function called(send: (callback: unknown) => unknown, log: Log): Promise<void> {
  return new Promise(resolve => {
    const returned = send(function (this: unknown, error: unknown, result: unknown) {
      log(['called', typeof this, arguments.length, error ? facts(error) : facts(result)]);
      resolve();
    });
    log(['returned', returned === undefined ? 'undefined' : typeof returned]);
  });
}

/** What may be compared of a result or an error: not process ids, timings and stacks. */
function facts(value: unknown): unknown {
  if (value instanceof Error) {
    const { code, routine } = value as Error & { code?: string; routine?: string };
    const onStack = value.stack?.includes('pg-call-shapes.spec.ts') ?? false;
    return [value.constructor.name, value.message, code, routine, onStack];
  }
  const { command, rowCount, rows, fields } = (value ?? {}) as {
    command?: string;
    rowCount?: number;
    rows?: unknown;
    fields?: { name: string }[];
  };
  return [value?.constructor.name, command, rowCount, rows, fields?.map(({ name }) => name)];
}

@Module({ imports: [AsyncContextModule.forRoot({ onExceeded: 'throw', budget: 1_000_000 })] })
class AppModule {}

/** The bare pool never answers these: it puts its own callback in their place. */
const isSupported = (shape: string, on: string): boolean =>
  on !== 'pool' ||
  !['a query object', 'a cursor', 'config with a callback', 'a callback that is none'].includes(shape);

const bare = new Map<string, unknown[]>();
const covered = new Map<string, unknown[]>();
const names: string[] = [
  ...Object.keys(shapes).flatMap(shape =>
    (['resolves', 'rejects', 'is cancelled'] as const).flatMap(ends =>
      ['client', 'pool', 'own promise']
        .filter(on => isSupported(shape, on))
        .map(on => `${shape} ${ends} on ${on}`),
    ),
  ),
  ...Object.keys(wrong).flatMap(name =>
    ['client', 'pool'].filter(on => isSupported(name, on)).map(on => `${name} throws on ${on}`),
  ),
];

/** Runs all scenarios; the same code, with and without the instrumentation. */
async function runAll(into: Map<string, unknown[]>, run: <T>(work: () => T) => T): Promise<void> {
  const admin = new Client({ connectionString: databaseUrl() });
  const client = new Client({ connectionString: databaseUrl(), application_name: 'shapes' });
  const own = new Client({
    connectionString: databaseUrl(),
    application_name: 'shapes',
    Promise: OwnPromise,
  } as never);
  const pool = new Pool({ connectionString: databaseUrl(), max: 1, application_name: 'shapes' });
  const senders: Record<string, Sender> = {
    client: client as never,
    'own promise': own as never,
    pool: pool as never,
  };
  await Promise.all([admin.connect(), client.connect(), own.connect()]);
  const cancel = setInterval(() => {
    // The last one may find the connection closed.
    void admin
      .query(
        "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE application_name = 'shapes' AND query LIKE '%pg_sleep(10)%' AND state = 'active'",
      )
      .catch(() => undefined);
  }, 20);
  for (const [on, sender] of Object.entries(senders)) {
    for (const [shape, send] of Object.entries(shapes)) {
      if (!isSupported(shape, on)) continue;
      for (const [ends, text] of Object.entries(TEXTS)) {
        into.set(
          `${shape} ${ends} on ${on}`,
          await run(() => observe(sender, log => send(sender, text, log))),
        );
      }
    }
    for (const [name, send] of Object.entries(wrong)) {
      if (on !== 'own promise' && isSupported(name, on))
        into.set(`${name} throws on ${on}`, await run(() => observe(sender, () => send(sender))));
    }
  }
  clearInterval(cancel);
  await Promise.all([admin.end(), client.end(), own.end(), pool.end()]);
}

// Cancelling takes a second connection that is served while the first one sleeps.
describe.skipIf(isEmbedded && !process.env['CI'])(
  `each call shape of pg${isEmbedded ? ' (skipped: set DATABASE_URL to a PostgreSQL server)' : ''}`,
  () => {
    const other = new AsyncLocalStorage<string>();

    beforeAll(async () => {
      const query = Client.prototype.query;
      await runAll(bare, work => other.run('theirs', work));
      const app = await NestFactory.createApplicationContext(AppModule, { logger: new LogLines() });
      expect(Client.prototype.query).not.toBe(query);
      const context = app.get(ContextService);
      let counted = 0;
      await runAll(covered, work =>
        other.run('theirs', () =>
          context.run({}, () => {
            const { cost } = context;
            const result = work();
            void Promise.resolve(result).then(() => (counted += cost?.queries ?? 0));
            return result;
          }),
        ),
      );
      expect(counted).toBeGreaterThan(names.length);
      await app.close();
      expect(Client.prototype.query).toBe(query);
    }, 120_000);
    afterAll(() => {
      bare.clear();
      covered.clear();
    });

    it.each(names)('is as without this package: %s', name => {
      expect(bare.get(name)?.length).toBeGreaterThan(1);
      expect(covered.get(name)).toEqual(bare.get(name));
    });
  },
);

describe('a rejection that nobody handles', () => {
  it('stays unhandled', async () => {
    const app = await NestFactory.createApplicationContext(AppModule, { logger: new LogLines() });
    const client = new Client({ connectionString: databaseUrl() });
    await client.connect();
    const unhandled: unknown[] = [];
    const listeners = process.listeners('unhandledRejection');
    process
      .removeAllListeners('unhandledRejection')
      .on('unhandledRejection', reason => unhandled.push(reason));
    await app.get(ContextService).run({}, async () => {
      void client.query('SELECT * FROM no_such_table');
      await client.query('SELECT 1');
    });
    await new Promise(resolve => setTimeout(resolve, 20));
    process.removeAllListeners('unhandledRejection');
    for (const listener of listeners) process.on('unhandledRejection', listener);
    await client.end();
    await app.close();
    expect(unhandled).toMatchObject([{ code: '42P01' }]);
  });
});
