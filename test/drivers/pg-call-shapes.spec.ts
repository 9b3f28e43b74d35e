import { NestFactory } from '@nestjs/core';
import { type INestApplicationContext, Module } from '@nestjs/common';
import { AsyncLocalStorage } from 'node:async_hooks';
import { create as createDomain } from 'node:domain';
import { Client, Pool, type PoolClient, Query } from 'pg';
import Cursor from 'pg-cursor';
import QueryStream from 'pg-query-stream';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { AsyncContextModule, ContextService } from 'nestjs-async-context';
import { databaseUrl, isEmbedded } from '../support/database';
import { LogLines } from '../support/platforms';

/** A promise class of the application's own. */
class OwnPromise<T> extends Promise<T> {}

type Log = (entry: unknown) => void;
interface Sender {
  query(...args: unknown[]): unknown;
}
/** Sends a text in one of the shapes; what the caller gets to see goes to the log. */
type Shape = (sender: Sender, text: string, log: Log) => Promise<unknown> | void;

const TEXTS = {
  resolves: 'SELECT 1 AS one, 2 AS two',
  rejects: 'SELECT * FROM no_such_table',
  'is cancelled': 'SELECT pg_sleep(10)',
  'is terminated': 'SELECT pg_sleep(11)',
} as const;
type Ends = keyof typeof TEXTS;

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
  'config and values, promise': (sender, text, log) => {
    const config = Object.freeze({ text: `${text} -- $1` });
    return watch(sender.query(config, []), log);
  },
  'several statements, promise': (sender, text, log) => watch(sender.query(`SELECT 0; ${text}`), log),
  'a time-out that is not reached': (sender, text, log) =>
    watch(sender.query({ text, query_timeout: 5_000 }), log),
  'text, callback': (sender, text, log) => called(callback => sender.query(text, callback), log),
  'text, values, callback': (sender, text, log) => called(callback => sender.query(text, [], callback), log),
  'config with a callback': (sender, text, log) => called(callback => sender.query({ text, callback }), log),
  'config, callback': (sender, text, log) => {
    const config = { text };
    return called(callback => sender.query(config, callback), log).then(() => log(['config after', config]));
  },
  'text, callback, in a domain': (sender, text, log) => {
    const domain = createDomain();
    return called(
      callback =>
        domain.run(() =>
          sender.query(text, function (this: unknown, ...args: unknown[]) {
            log(['in its domain', (process as { domain?: unknown }).domain === domain]);
            (callback as (...all: unknown[]) => void).apply(this, args);
          }),
        ),
      log,
    ).finally(() => domain.exit());
  },
  'a query object and a callback': (sender, text, log) =>
    called(callback => sender.query(new Query(text), callback), log),
  'a client from the pool': (sender, text, log) =>
    new Promise<void>(resolve => {
      const returned = (sender as unknown as Pick<Pool, 'connect'>).connect(function (
        this: object | undefined,
        error: Error | undefined,
        client: PoolClient | undefined,
        release: (error?: Error) => void,
      ) {
        log(['connected', this?.constructor.name, arguments.length, error ? facts(error) : typeof release]);
        // oxlint-disable-next-line promise/no-promise-in-callback -- a pool can be asked no other way
        void watch(client!.query(text), log).then(() => {
          release();
          resolve();
        });
      } as never);
      log(['returned', returned]);
    }),
  'a query object to the pool': (sender, text, log) => watch(sender.query(new Query(text)), log),
  'a stream to the pool': (sender, text, log) => {
    const stream = new QueryStream(text);
    stream.on('data', row => log(['data', row])).on('error', error => log(['error', facts(error)]));
    // What is asked afterwards goes through another connection: it must not overtake the end of the stream.
    const closed = new Promise(resolve => stream.once('close', resolve));
    return Promise.all([watch(sender.query(stream), log), closed]);
  },
  'a stream': (sender, text, log) =>
    new Promise<void>(resolve => {
      const before = Object.keys(new QueryStream(text));
      const stream = sender.query(new QueryStream(text)) as QueryStream;
      log(['returned', stream.constructor.name, Object.keys(stream).join() === before.join()]);
      stream.on('data', row => log(['data', row]));
      stream.on('end', () => log('end'));
      stream.on('error', error => log(['error', facts(error)]));
      stream.on('close', () => (log(['close', ownHandlers(stream)]), resolve()));
    }),
  'a query object': (sender, text, log) =>
    new Promise<void>(resolve => {
      const query = sender.query(new Query(text)) as Query;
      log(['returned', query instanceof Query, Object.keys(query).includes('handleError')]);
      query.on('row', row => log(['row', row]));
      query.on('error', error => (log(['error', facts(error), ownHandlers(query)]), resolve()));
      query.on('end', result => (log(['end', facts(result), ownHandlers(query)]), resolve()));
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
  'a text that throws': sender =>
    sender.query({
      get text() {
        throw new RangeError('not now');
      },
    }),
  'a number': sender => sender.query(5),
  'a function': sender => sender.query(function named() {}),
  'a callback in the config that is none': sender => sender.query({ text: 'SELECT 1', callback: 5 }),
  'a value that cannot be sent': sender =>
    sender.query('SELECT $1', [
      {
        toPostgres() {
          throw new RangeError('not this');
        },
      },
    ]),
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
  // The connection is of use afterwards, or not.
  try {
    log(['afterwards', ((await sender.query('SELECT 3 AS n')) as { rows: unknown }).rows]);
  } catch (error) {
    log(['afterwards', facts(error)]);
  }
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
    const returned = send(function (this: object | undefined, error: unknown, result: unknown) {
      log(['called', this?.constructor.name, arguments.length, error ? facts(error) : facts(result)]);
      resolve();
    });
    log(['returned', returned === undefined ? 'undefined' : typeof returned]);
  });
}

/** What a query object has of its own of what the driver calls. */
function ownHandlers(query: object): string[] {
  return Object.getOwnPropertyNames(query).filter(name => name.startsWith('handle'));
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
const NOT_ON_POOL = [
  'a query object',
  'a query object and a callback',
  'a cursor',
  'a stream',
  'config with a callback',
  'a callback that is none',
  'a callback in the config that is none',
];
const ONLY_ON_POOL = ['a client from the pool', 'a query object to the pool', 'a stream to the pool'];
/** Sent twice, or answered by `close` as well: what comes first depends on the socket. */
const NOT_TERMINATED = ['prepared, promise', 'a stream', 'a cursor', 'a stream to the pool'];
/** What the bare driver does here it does once per process, or never answers. */
const isSupported = (shape: string, on: string): boolean =>
  on === 'pool' ? !NOT_ON_POOL.includes(shape) : !ONLY_ON_POOL.includes(shape);
const endsOf = (shape: string, on: string): Ends[] =>
  (Object.keys(TEXTS) as Ends[]).filter(
    ends => ends !== 'is terminated' || (on !== 'own promise' && !NOT_TERMINATED.includes(shape)),
  );

const bare = new Map<string, unknown[]>();
const covered = new Map<string, unknown[]>();
const ON = ['client', 'own promise', 'pool'] as const;
const names: string[] = ON.flatMap(on => [
  ...Object.keys(shapes)
    .filter(shape => isSupported(shape, on))
    .flatMap(shape => endsOf(shape, on).map(ends => `${shape} ${ends} on ${on}`)),
  ...Object.keys(wrong)
    .filter(name => on !== 'own promise' && isSupported(name, on))
    .map(name => `${name} throws on ${on}`),
]);

const settings = { connectionString: databaseUrl(), application_name: `shapes-${process.pid}` };

async function connect(on: (typeof ON)[number]): Promise<Sender & { end(): Promise<void> }> {
  const ignore = (): void => undefined;
  if (on === 'pool') return new Pool({ ...settings, max: 1 }).on('error', ignore) as never;
  const client = new Client((on === 'client' ? settings : { ...settings, Promise: OwnPromise }) as never);
  await client.connect();
  return client.on('error', ignore) as never;
}

/** Runs all scenarios; the same code, with and without the instrumentation. */
async function runAll(into: Map<string, unknown[]>, run: <T>(work: () => T) => T): Promise<void> {
  const admin = new Client({ connectionString: databaseUrl() });
  await admin.connect();
  let ending: Promise<unknown> = Promise.resolve();
  const end = setInterval(() => {
    ending = admin.query(
      `SELECT CASE WHEN query LIKE '%pg_sleep(10)%' THEN pg_cancel_backend(pid) ELSE pg_terminate_backend(pid) END
       FROM pg_stat_activity
       WHERE application_name = '${settings.application_name}' AND query LIKE '%pg_sleep(1_)%' AND state = 'active'`,
    );
  }, 20);
  for (const on of ON) {
    const sender = await connect(on);
    for (const [shape, send] of Object.entries(shapes)) {
      if (!isSupported(shape, on)) continue;
      for (const ends of endsOf(shape, on)) {
        const own = ends === 'is terminated' ? await connect(on) : sender;
        into.set(
          `${shape} ${ends} on ${on}`,
          await run(() => observe(own, log => send(own, TEXTS[ends], log))),
        );
        if (own !== sender) await own.end();
      }
    }
    for (const [name, send] of Object.entries(wrong)) {
      if (on !== 'own promise' && isSupported(name, on))
        into.set(`${name} throws on ${on}`, await run(() => observe(sender, () => send(sender))));
    }
    await sender.end();
  }
  clearInterval(end);
  await ending;
  await admin.end();
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
    });
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

describe('an error that nobody handles', () => {
  let client: Client;
  let app: INestApplicationContext;

  beforeAll(async () => {
    app = await NestFactory.createApplicationContext(AppModule, { logger: new LogLines() });
    client = new Client({ connectionString: databaseUrl() });
    await client.connect();
  });
  afterAll(async () => {
    await client.end();
    await app.close();
  });

  /** What reaches the process instead of a handler of the application's. */
  async function unhandled(event: 'unhandledRejection' | 'uncaughtException', send: () => void) {
    const seen: unknown[] = [];
    const listeners = process.listeners(event as 'uncaughtException');
    process.removeAllListeners(event).on(event, error => seen.push(error));
    try {
      await app.get(ContextService).run({}, async () => {
        send();
        expect((await client.query('SELECT 1 AS one')).rows).toEqual([{ one: 1 }]);
      });
      await new Promise(resolve => setTimeout(resolve, 20));
    } finally {
      process.removeAllListeners(event);
      for (const listener of listeners) process.on(event as 'uncaughtException', listener);
    }
    return seen;
  }

  it('stays an unhandled rejection', async () => {
    const seen = await unhandled(
      'unhandledRejection',
      () => void client.query('SELECT * FROM no_such_table'),
    );
    expect(seen).toMatchObject([{ code: '42P01' }]);
  });

  it('stays an uncaught exception where a callback throws it', async () => {
    const thrown = new Error('thrown by a callback');
    const seen = await unhandled('uncaughtException', () =>
      client.query('SELECT 1', () => {
        throw thrown;
      }),
    );
    expect(seen).toEqual([thrown]);
  });

  it('stays an uncaught exception where a listener of a query object throws it', async () => {
    const thrown = new Error('thrown by a listener');
    const seen = await unhandled('uncaughtException', () =>
      client.query(new Query('SELECT 1', () => undefined)).on('end', () => {
        process.nextTick(() => {
          throw thrown;
        });
      }),
    );
    expect(seen).toEqual([thrown]);
  });
});
