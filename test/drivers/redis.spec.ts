import { Controller, Get, Query } from '@nestjs/common';
import { createRequire } from 'node:module';
import { createClient, createClientPool } from 'redis';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ContextService, QueryBudgetExceededError } from 'nestjs-async-context';
import { redisInstrumentation } from '../../lib/drivers/redis/redis.driver';
import { platforms, startApp, type TestApp } from '../support/platforms';
import {
  commandsOf as commandsIn,
  type CommandCost,
  hasRedis,
  hasRedisBinary,
  redisKey as key,
  redisUrl as url,
  startRedis,
} from '../support/redis-server';
import { recordOfUnit } from '../support/units';

type Client = Awaited<ReturnType<typeof open>>;

const instrumentations = [redisInstrumentation()];
const load = createRequire(import.meta.url);
const made = Array.from({ length: 20 }, (_, i) => i + 1);
const opened: { destroy(): void; readonly isOpen: boolean }[] = [];

let test: TestApp;
let node: Client;

const commandsOf = (work: () => unknown): Promise<CommandCost> => commandsIn(test, work);

async function open(options: Parameters<typeof createClient>[0] = {}) {
  const client = createClient({ url, ...options });
  client.on('error', () => undefined);
  await client.connect();
  opened.push(client);
  return client;
}

/** Typed as a client: the tests ask both for the same. */
async function openPool(maximum: number, more: object = {}) {
  const pool = createClientPool({ url }, { minimum: 1, maximum, ...more });
  pool.on('error', () => undefined);
  await pool.connect();
  opened.push(pool);
  return pool as unknown as Client & Pick<typeof pool, 'execute'>;
}

beforeAll(async () => {
  if (!hasRedis) return;
  test = await startApp({ instrumentations });
  node = await open();
  await node.set(key('text'), 'text');
});
afterAll(async () => {
  if (!hasRedis) return;
  const keys = await node.keys(key('*'));
  if (keys.length > 0) await node.del(keys);
  for (const client of opened) if (client.isOpen) client.destroy();
  await test.close();
});

describe.skipIf(!hasRedis)('a command of redis', () => {
  it.each<[string, () => unknown, Record<string, number>, number?]>([
    ['GET', () => node.get(key('text')), { GET: 1 }],
    ['SET', () => node.set(key('b'), 'SECRET'), { SET: 1 }],
    ['many keys', () => node.mGet([key('text'), key('b')]), { MGET: 1 }],
    ['a hash', () => node.hSet(key('h'), { a: '1' }), { HSET: 1 }],
    ['an error', () => node.incr(key('text')), { INCR: 1 }, 1],
    ['a script', () => node.eval('return 1'), { EVAL: 1 }],
    ['a scan', scanAll, { SCAN: 1 }],
    ['a transaction', () => node.multi().set(key('b'), '1').get(key('b')).exec(), { SET: 1, GET: 1 }],
    ['a pipeline', () => node.multi().set(key('b'), '1').execAsPipeline(), { SET: 1 }],
    ['a duplicate', duplicateGet, { GET: 1 }],
    [
      'what it sends when it connects',
      async () => (await open({ database: 1, name: 'n', pingInterval: 5 })).get(key('text')),
      { GET: 1 },
    ],
    [
      'what it sends to keep its connection',
      async () => {
        const client = await open({ pingInterval: 5 });
        await new Promise(resolve => client.once('ping-interval', resolve));
        await client.ping();
      },
      { PING: 1 },
    ],
    ['raw, in small letters', () => node.sendCommand(['get', key('text')]), { GET: 1 }],
    ['raw, as bytes', () => node.sendCommand([Buffer.from('get'), key('text')] as never), { GET: 1 }],
    ['another database', () => node.select(0), {}],
    ['with options', () => node.withTypeMapping({}).get(key('text')), { GET: 1 }],
    ['one that blocks', async () => (await open()).blPop(key('none'), 0.01), { BLPOP: 1 }],
    [
      'a stream that blocks',
      async () => (await open()).xRead({ key: key('none'), id: '$' }, { BLOCK: 10 }),
      { XREAD: 1 },
    ],
    ['one that does not exist', () => node.sendCommand(['NOPE']), { NOPE: 1 }, 1],
    [
      'a transaction of which one fails',
      () => node.multi().incr(key('text')).get(key('text')).exec(),
      { INCR: 1, GET: 1 },
      1,
    ],
    ['a transaction that is discarded', () => node.multi().addCommand(['NOPE']).exec(), { NOPE: 1 }, 1],
    ['a pipeline that fails', () => node.multi().incr(key('text')).execAsPipeline(), { INCR: 1 }, 1],
    ['an empty transaction', () => node.multi().exec(), {}],
    ['a transaction that is given up', () => void node.multi().get(key('text')), {}],
    [
      'a transaction that watches',
      async () => {
        const client = await open();
        await client.watch(key('text'));
        await client.multi().get(key('text')).exec();
      },
      { WATCH: 1, GET: 1 },
    ],
    ['a callback', () => new Promise(resolve => node.legacy().get(key('text'), resolve)), { GET: 1 }],
    [
      'a transaction with a callback',
      () =>
        new Promise(resolve =>
          node
            .legacy()
            .multi()
            .get(key('text'))
            .set(key('b'), 'SECRET')
            .exec(resolve as never),
        ),
      { GET: 1, SET: 1 },
    ],
    [
      'subscriptions',
      async () => {
        const client = await open();
        await client.subscribe([key('a'), key('b')], () => undefined);
        await client.pSubscribe(key('*'), () => undefined);
        await client.sSubscribe(key('a'), () => undefined);
        // Is subscribed already.
        await client.subscribe(key('a'), () => undefined);
        await client.unsubscribe();
      },
      { SUBSCRIBE: 1, PSUBSCRIBE: 1, SSUBSCRIBE: 1, UNSUBSCRIBE: 1 },
    ],
    [
      'what the cache of the client answers',
      async () => {
        const client = await open({ RESP: 3, clientSideCache: { ttl: 60_000, maxEntries: 10 } });
        await client.get(key('text'));
        await client.get(key('text'));
        await client.get(key('text'));
      },
      { GET: 1 },
    ],
    ['a client of a pool', async () => (await openPool(1)).get(key('text')), { GET: 1 }],
    [
      'a client that is kept for a while',
      async () =>
        (await openPool(1)).execute(async client => {
          await client.get(key('text'));
          await client.incr(key('n'));
        }),
      { GET: 1, INCR: 1 },
    ],
    [
      'a transaction on a pool',
      async () => (await openPool(1)).multi().get(key('text')).incr(key('n')).exec(),
      { GET: 1, INCR: 1 },
    ],
    ['a client that is closed', async () => (await closed()).get(key('text')), { GET: 1 }, 1],
    ['a signal that aborts', () => node.withAbortSignal(AbortSignal.abort()).get(key('text')), { GET: 1 }, 1],
    [
      'a queue that is full',
      async () => {
        const client = await open({ commandsQueueMaxLength: 10 });
        await Promise.all(Array.from({ length: 11 }, () => client.get(key('text'))));
      },
      { GET: 11 },
      1,
    ],
  ])('is counted: %s', async (_what, work, commands, errors = 0) => {
    expect(await commandsOf(work)).toEqual({ errors, commands });
  });

  it.each<[string, () => Promise<Client>]>([
    ['a client', () => open()],
    ['a pool of two', () => openPool(2)],
    ['a pool that grows', () => openPool(10)],
  ])('comes back in its own context, 20 at once: %s', async (_what, start) => {
    const client = await start();
    const context = test.app.get(ContextService);
    let misplaced = 0;
    const records = await Promise.all(
      made.map(times =>
        recordOfUnit(test, async () => {
          const { requestId } = context;
          const check = (): void => void (misplaced += context.requestId === requestId ? 0 : 1);
          for (let i = 0; i < times; i++) await client.get(key('text')).then(check);
          await Promise.all(Array.from({ length: times }, () => client.get(key('text')).then(check)));
          const multi = client.multi();
          for (let i = 0; i < times; i++) multi.get(key('text'));
          await multi.exec().then(check);
          await client.multi().get(key('text')).execAsPipeline().then(check);
        }),
      ),
    );
    expect(records.map(({ cache }) => cache!.count)).toEqual(made.map(times => 3 * times + 1));
    expect(misplaced).toBe(0);
  });

  it('within a task that waited for a client is charged to who gave the task', async () => {
    const pool = await openPool(2);
    const context = test.app.get(ContextService);
    let misplaced = 0;
    const records = await Promise.all(
      made.map(times =>
        recordOfUnit(test, () => {
          const { requestId } = context;
          return pool.execute(async client => {
            for (let i = 0; i < times; i++) await client.get(key('text'));
            misplaced += context.requestId === requestId ? 0 : 1;
          });
        }),
      ),
    );
    expect(records.map(({ cache }) => cache!.count)).toEqual(made);
    expect(misplaced).toBe(0);
  });

  it('that a pool gave up on is an error of who asked', async () => {
    const pool = await openPool(1, { acquireTimeout: 30 });
    const [held, refused] = await Promise.all([
      commandsOf(() => pool.blPop(key('none'), 0.2)),
      commandsOf(() => pool.get(key('text'))),
    ]);
    expect(held).toEqual({ errors: 0, commands: { BLPOP: 1 } });
    // The pool does not say what a task would have sent.
    expect(refused).toEqual({ errors: 1, commands: { '?': 1 } });
  });

  it('comes back to its callback in its own context', async () => {
    const legacy = node.legacy();
    const context = test.app.get(ContextService);
    let misplaced = 0;
    await Promise.all(
      made.map(() =>
        recordOfUnit(test, async () => {
          const { requestId } = context;
          await new Promise<void>(resolve => legacy.get(key('text'), () => resolve()));
          misplaced += context.requestId === requestId ? 0 : 1;
        }),
      ),
    );
    expect(misplaced).toBe(0);
  });
});

async function scanAll(): Promise<void> {
  for await (const found of node.scanIterator({ MATCH: key('*'), COUNT: 100_000 })) void found;
}

async function duplicateGet(): Promise<unknown> {
  const client = node.duplicate();
  opened.push(client);
  await client.connect();
  return client.get(key('text'));
}

async function closed(): Promise<Client> {
  const client = await open();
  await client.close();
  return client;
}

describe.skipIf(!hasRedis)('the instrumentation of redis', () => {
  const calls: [string, (client: Client) => unknown][] = [
    ['a promise', client => client.get(key('text'))],
    ['an error', client => client.incr(key('text'))],
    ['raw', client => client.sendCommand(['GET', key('text')])],
    ['a raw error', client => client.sendCommand(['NOPE'])],
    ['no arguments', client => client.sendCommand(undefined as never)],
    ['wrong arguments', client => client.sendCommand([1] as never)],
    ['a hash', client => client.hGetAll(key('none'))],
    ['a transaction', client => client.multi().get(key('text')).exists(key('none')).exec()],
    ['a transaction of which one fails', client => client.multi().incr(key('text')).exec()],
    ['a transaction that is discarded', client => client.multi().addCommand(['NOPE']).exec()],
    ['a pipeline', client => client.multi().get(key('text')).execAsPipeline()],
    ['a pipeline that fails', client => client.multi().incr(key('text')).execAsPipeline()],
    ['a script', client => client.eval('return {KEYS[1], ARGV[1]}', { keys: ['k'], arguments: ['a'] })],
    ['a legacy callback', client => new Promise(resolve => client.legacy().get(key('text'), resolve))],
    ['a signal', client => client.withAbortSignal(AbortSignal.abort()).get(key('text'))],
    ['its promise', client => Object.getPrototypeOf(client.sendCommand(['PING'])) === Promise.prototype],
    ['several at once', client => Promise.all([client.get(key('text')), client.exists(key('none'))])],
    [
      'a subscription',
      async () => {
        const subscriber = await open();
        const message = new Promise(resolve => {
          void subscriber
            .subscribe(key('channel'), (...args) => resolve(args))
            .then(() => node.publish(key('channel'), 'm'));
        });
        return [await message, await subscriber.unsubscribe()];
      },
    ],
  ];

  it('gives what the bare client gives', async () => {
    const seen = async (): Promise<unknown[]> => {
      const client = await open();
      const outcomes: unknown[] = [];
      for (const [name, call] of calls) {
        const outcome = await new Promise(resolve => resolve(call(client))).catch((error: Error) => ({
          name: error.name,
          class: error.constructor.name,
          message: error.message,
          own: Object.keys(error),
        }));
        outcomes.push([name, outcome]);
      }
      return outcomes;
    };
    let counted: unknown[] = [];
    await recordOfUnit(test, async () => void (counted = await seen()));
    await test.close();
    const bare = await seen();
    test = await startApp({ instrumentations });
    expect(counted).toEqual(bare);
  });

  it('leaves an unhandled rejection one', async () => {
    const seen: unknown[] = [];
    const listeners = process.listeners('unhandledRejection');
    process.removeAllListeners('unhandledRejection').on('unhandledRejection', error => seen.push(error));
    try {
      await recordOfUnit(test, async () => {
        void node.incr(key('text'));
        void node.sendCommand(['INCR', key('text')]);
        void node.multi().addCommand(['NOPE']).exec();
        await node.ping();
        await new Promise(resolve => setTimeout(resolve, 20));
      });
    } finally {
      process.removeAllListeners('unhandledRejection');
      for (const listener of listeners) process.on('unhandledRejection', listener);
    }
    expect(seen).toHaveLength(3);
  });

  it('is gone with the last application, and counts once beside others', async () => {
    const files = ['index', 'commands-queue', 'pool'];
    const prototypes = files.map(file => {
      const path = Object.keys(load.cache).find(one =>
        one.endsWith(`@redis/client/dist/lib/client/${file}.js`),
      )!;
      const copy = load(path) as { default?: { prototype: object }; RedisClientPool?: { prototype: object } };
      return (copy.default ?? copy.RedisClientPool)!.prototype as { sendCommand: unknown };
    });
    const facts = (): unknown[] => prototypes.map(one => Object.getOwnPropertyDescriptors(one));
    await test.close();
    const bareFacts = facts();
    const client = prototypes[0]!;
    const bare = client.sendCommand as (...args: unknown[]) => unknown;
    let theirs = 0;
    const wrap = (stackBoundary: unknown) =>
      function (this: unknown, ...args: unknown[]): unknown {
        // Other clients of this file keep their connections.
        if (String(args[0]).startsWith('GET')) theirs += 1;
        return (stackBoundary as typeof bare).apply(this, args);
      };
    client.sendCommand = wrap(bare);
    const one = await startApp({ instrumentations: [...instrumentations, redisInstrumentation()] });
    const two = await startApp({ instrumentations });
    const ours = client.sendCommand;
    client.sendCommand = wrap(ours);
    for (const app of [one, two]) {
      const cost = await commandsIn(app, () => node.get(key('text')));
      expect(cost).toEqual({ errors: 0, commands: { GET: 1 } });
    }
    expect(theirs).toBe(4);
    client.sendCommand = ours;
    await one.close();
    await two.close();
    client.sendCommand = bare;
    expect(facts()).toEqual(bareFacts);
    expect(facts().map(one => Reflect.ownKeys(one as object))).toEqual(
      bareFacts.map(one => Reflect.ownKeys(one as object)),
    );
    test = await startApp({ instrumentations });
  });

  it('says so where it does not know the version', async () => {
    const path = '/nowhere/node_modules/@redis/client/dist/lib/client/index.js';
    load.cache[path] = { exports: { default: class {} } } as never;
    try {
      const app = await startApp({ instrumentations });
      expect(app.logs.of('warn', 'AsyncContext').join()).toContain('this version of redis');
      await app.close();
    } finally {
      delete load.cache[path];
    }
  });
});

describe.skipIf(!hasRedis)("onExceeded: 'throw'", () => {
  let app: TestApp;
  beforeAll(async () => {
    app = await startApp({ instrumentations, onExceeded: 'throw', budget: { cache: 2 } });
  });
  afterAll(() => app?.close());

  it.each<[string, (client: Client) => unknown]>([
    ['a promise', client => client.incr(key('kept'))],
    ['raw', client => client.sendCommand(['INCR', key('kept')])],
    ['a transaction', client => client.multi().incr(key('kept')).incr(key('kept')).exec()],
    ['a pipeline', client => client.multi().incr(key('kept')).incr(key('kept')).execAsPipeline()],
    ['a callback', () => new Promise(resolve => node.legacy().sendCommand('INCR', key('kept'), resolve))],
  ])('keeps back what is too much: %s', async (_what, call) => {
    for (const client of [node, await openPool(1)]) {
      const outcome = await app.app.get(ContextService).run({}, async () => {
        await client.get(key('text'));
        await client.get(key('text'));
        return new Promise(resolve => resolve(call(client))).catch((error: unknown) => error);
      });
      expect(outcome).toBeInstanceOf(QueryBudgetExceededError);
      expect(await client.get(key('kept'))).toBeNull();
    }
  });

  it('keeps a transaction back as a whole', async () => {
    let outcome: unknown;
    const { cache } = await recordOfUnit(app, async () => {
      await node.get(key('text'));
      const transaction = node.multi().incr(key('kept')).incr(key('kept'));
      outcome = await transaction.exec().catch((error: unknown) => error);
    });
    expect(outcome).toBeInstanceOf(QueryBudgetExceededError);
    expect(await node.get(key('kept'))).toBeNull();
    // The first was within the budget, and failed with the second.
    expect(cache).toMatchObject({ count: 3, errors: 1, maxConcurrent: 1 });
  });

  it('leaves a subscription and the error of a pool alone', async () => {
    const subscriber = await open();
    const pool = await openPool(1, { acquireTimeout: 20 });
    const held = pool.blPop(key('none'), 0.2);
    const error = await app.app.get(ContextService).run({}, async () => {
      await node.get(key('text'));
      await node.get(key('text'));
      await subscriber.subscribe(key('channel'), () => undefined);
      return pool.get(key('text')).catch((reason: unknown) => reason);
    });
    expect((error as Error).constructor.name).toBe('TimeoutError');
    await held;
  });
});

describe.skipIf(!hasRedisBinary)('a server of redis that dies', () => {
  it('is an error of the commands that were under way, and of their own requests', async () => {
    const app = await startApp({ instrumentations });
    const server = await startRedis();
    const options = { url: server.url, socket: { reconnectStrategy: false } } as const;
    const [client, other] = await Promise.all([open(options), open(options)]);
    const costs = Promise.all([
      commandsIn(app, () => client.blPop('never', 5)),
      commandsIn(app, () => Promise.allSettled([other.brPop('never', 5), other.get('a'), other.get('b')])),
      commandsIn(app, () => undefined),
    ]);
    setTimeout(() => void server.stop('SIGKILL'), 50);
    expect(await costs).toEqual([
      { errors: 1, commands: { BLPOP: 1 } },
      { errors: 3, commands: { BRPOP: 1, GET: 2 } },
      { errors: 0, commands: {} },
    ]);
    await app.close();
  });
});

describe.skipIf(!hasRedis).each(platforms)('on %s', platform => {
  it('20 requests at once over a pool of two are charged to their own', async () => {
    const pool = await openPool(2);

    @Controller()
    class CacheController {
      @Get()
      async work(@Query('times') times: string): Promise<void> {
        for (let i = 0; i < Number(times); i++) await pool.get(key('text'));
        await Promise.all(Array.from({ length: Number(times) }, () => pool.get(key('text'))));
      }
    }

    const requestId = { trust: true };
    const app = await startApp({ platform, controllers: [CacheController], instrumentations, requestId });
    await Promise.all(
      made.map(times => fetch(`${app.url}/?times=${times}`, { headers: { 'x-request-id': `of-${times}` } })),
    );
    const records = await app.records(20);
    expect(new Map(records.map(record => [record.requestId, record.cache!.count]))).toEqual(
      new Map(made.map(times => [`of-${times}`, 2 * times])),
    );
    await app.close();
  });
});
