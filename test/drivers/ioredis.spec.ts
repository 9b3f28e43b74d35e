import { Redis } from 'ioredis';
import { createRequire } from 'node:module';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { Controller, Get, Query } from '@nestjs/common';
import { ContextService, QueryBudgetExceededError } from 'nestjs-async-context';
import { ioredisInstrumentation } from '../../lib/drivers/ioredis/ioredis.driver';
import { platforms, startApp, type TestApp, until } from '../support/platforms';
import {
  commandsOf as commandsIn,
  type CommandCost,
  hasRedis,
  hasRedisBinary,
  redisKey as key,
  redisUrl,
  startRedis,
} from '../support/redis-server';
import { recordOfUnit } from '../support/units';

const instrumentations = [ioredisInstrumentation()];
const load = createRequire(import.meta.url);
const made = Array.from({ length: 20 }, (_, i) => i + 1);
const opened: Redis[] = [];

let test: TestApp;
let io: Redis;

/** The types of ioredis leave it out. */
interface Multi {
  multi(): ReturnType<Redis['pipeline']>;
}
const transactionIn = (pipeline: unknown): ReturnType<Redis['pipeline']> => (pipeline as Multi).multi();

/** First the transaction, then the pipeline. */
function executeTwice(pipeline: ReturnType<Redis['pipeline']>): Promise<unknown> {
  return (pipeline.exec() as unknown as typeof pipeline).exec();
}

const commandsOf = (work: () => unknown): Promise<CommandCost> => commandsIn(test, work);

function open(options: object = {}, url = redisUrl): Redis {
  const client = new Redis(url, options);
  client.on('error', () => undefined);
  opened.push(client);
  return client;
}

beforeAll(async () => {
  if (!hasRedis) return;
  test = await startApp({ instrumentations });
  io = open();
  await io.set(key('text'), 'text');
});
afterAll(async () => {
  if (!hasRedis) return;
  const keys = await io.keys(key('*'));
  if (keys.length > 0) await io.del(...keys);
  for (const client of opened) client.disconnect();
  await test.close();
});

describe.skipIf(!hasRedis)('a command of ioredis', () => {
  it.each<[string, () => unknown, Record<string, number>, number?]>([
    ['GET', () => io.get(key('text')), { GET: 1 }],
    ['SET', () => io.set(key('b'), 'SECRET'), { SET: 1 }],
    ['bytes', () => io.getBuffer(key('text')), { GET: 1 }],
    ['a callback', () => new Promise(resolve => io.get(key('text'), resolve)), { GET: 1 }],
    ['call()', () => io.call('INCR', key('n')), { INCR: 1 }],
    ['many keys', () => io.mget(key('text'), key('b')), { MGET: 1 }],
    ['an error', () => io.incr(key('text')), { INCR: 1 }, 1],
    ['one that does not exist', () => io.call('NOPE'), { NOPE: 1 }, 1],
    ['a script', () => io.eval('return 1', 0), { EVAL: 1 }],
    ['a scan', () => io.scanStream({ match: key('*'), count: 100_000 }).toArray(), { SCAN: 1 }],
    [
      'a pipeline',
      () => io.pipeline().set(key('b'), 1).get(key('b')).incr(key('text')).exec(),
      { SET: 1, GET: 1, INCR: 1 },
      1,
    ],
    ['a transaction', () => io.multi().set(key('b'), 1).get(key('b')).exec(), { SET: 1, GET: 1 }],
    ['a duplicate', () => duplicate().blpop(key('none'), 0.01), { BLPOP: 1 }],
    ['a subscription', () => open().subscribe(key('a'), key('b')), { SUBSCRIBE: 1 }],
    ['its own database', () => open({ db: 1 }).get(key('text')), { GET: 1 }],
    [
      'what it sends when it connects',
      () => open({ db: 1, connectionName: 'n', readOnly: true }).ping(),
      { PING: 1 },
    ],
    ['a pipeline that is given up', () => void io.pipeline().get(key('text')), {}],
    ['an empty pipeline', () => io.pipeline().exec(), {}],
    ['an empty transaction', () => io.multi().exec(), {}],
    [
      'a transaction of which one fails',
      () => io.multi().incr(key('text')).get(key('text')).exec(),
      { INCR: 1, GET: 1 },
      1,
    ],
    [
      'a transaction that is discarded',
      () => io.multi().get(key('text')).call('NOPE').exec(),
      { GET: 1, NOPE: 1 },
      2,
    ],
    [
      'a transaction within a pipeline',
      () =>
        executeTwice(
          transactionIn(io.pipeline().get(key('n')))
            .incr(key('text'))
            .get(key('n')),
        ),
      { GET: 2, INCR: 1 },
      1,
    ],
    [
      'a transaction that is not pipelined',
      async () => {
        const own = open();
        await own.multi({ pipeline: false });
        await own.get(key('text'));
        await own.exec();
      },
      { GET: 1 },
    ],
    ['a stream', () => open().xread('BLOCK', 10, 'STREAMS', key('stream'), '$'), { XREAD: 1 }],
    ['a sorted set that blocks', () => open().bzpopmin(key('none'), 0.01), { BZPOPMIN: 1 }],
    ['a connection that is closed', () => closed().get(key('text')), { GET: 1 }, 1],
    [
      'no queue while it is offline',
      () => open({ enableOfflineQueue: false, lazyConnect: true }).get(key('text')),
      { GET: 1 },
      1,
    ],
    ['a time limit', () => open({ commandTimeout: 20 }).blpop(key('none'), 0.3), { BLPOP: 1 }, 1],
    [
      'no server',
      () => open({ maxRetriesPerRequest: 1, retryStrategy: () => 5 }, 'redis://127.0.0.1:1').get('a'),
      { GET: 1 },
      1,
    ],
  ])('is counted: %s', async (_what, work, commands, errors = 0) => {
    expect(await commandsOf(work)).toEqual({ errors, commands });
  });

  it('of a script of its own is counted as what it is', async () => {
    io.defineCommand('nacSum', { numberOfKeys: 1, lua: 'return redis.call("GET", KEYS[1])' });
    const sum = (): Promise<unknown> =>
      (io as unknown as { nacSum(k: string): Promise<unknown> }).nacSum(key('text'));
    expect(await commandsOf(sum)).toEqual({ errors: 0, commands: { EVALSHA: 1 } });
    expect(await commandsOf(sum)).toEqual({ errors: 0, commands: { EVALSHA: 1 } });
  });

  it.each<[string, object]>([
    ['a connection', {}],
    ['one that connects lazily', { lazyConnect: true }],
    ['automatic pipelines', { enableAutoPipelining: true }],
    ['lazy automatic pipelines', { enableAutoPipelining: true, lazyConnect: true }],
  ])('comes back in its own context, 20 at once: %s', async (_what, options) => {
    const client = open(options);
    const context = test.app.get(ContextService);
    let misplaced = 0;
    const records = await Promise.all(
      made.map(times =>
        recordOfUnit(test, async () => {
          const { requestId } = context;
          const check = (): void => void (misplaced += context.requestId === requestId ? 0 : 1);
          for (let i = 0; i < times; i++) {
            await new Promise<void>(resolve => client.get(key('text'), () => resolve(check())));
          }
          const pipeline = client.pipeline();
          for (let i = 0; i < times; i++) pipeline.get(key('text'), check);
          await new Promise<void>(resolve => pipeline.exec(() => resolve(check())));
          await new Promise<void>(resolve =>
            client
              .multi()
              .get(key('text'))
              .exec(() => resolve(check())),
          );
          await Promise.all(Array.from({ length: times }, () => client.get(key('text')).then(check)));
        }),
      ),
    );
    expect(records.map(({ cache }) => cache!.count)).toEqual(made.map(times => 3 * times + 1));
    expect(misplaced).toBe(0);
  });

  it('of a stream is charged to who reads it, however many it takes', async () => {
    const pairs = Array.from({ length: 4_000 }, (_, i) => [`field ${i}`, 'x']);
    await io.hset(key('hash'), ...pairs.flat());
    const context = test.app.get(ContextService);
    let misplaced = 0;
    const records = await Promise.all(
      made.map(count =>
        recordOfUnit(test, async () => {
          const { requestId } = context;
          const stream = io.hscanStream(key('hash'), { count: 100 * count });
          await new Promise<void>((resolve, reject) => {
            stream.on('data', () => (misplaced += context.requestId === requestId ? 0 : 1));
            stream.on('end', resolve).on('error', reject);
          });
        }),
      ),
    );
    // A scan of 4,000 fields takes some 40 commands by 100, and 2 or 3 by 2,000.
    expect(records[0]!.cache!.byTarget['HSCAN']!.count).toBeGreaterThan(30);
    expect(records[19]!.cache!.byTarget['HSCAN']!.count).toBeLessThan(5);
    expect(misplaced).toBe(0);
  });

  it('in a listener of a subscription is not charged to the request that was the first to use it', async () => {
    const subscriber = open({ lazyConnect: true });
    const context = test.app.get(ContextService);
    const seen: unknown[] = [];
    subscriber.on('message', () => seen.push(context.requestId));
    const cost = await commandsOf(async () => {
      await subscriber.subscribe(key('channel'));
      await io.publish(key('channel'), 'SECRET');
      await until(() => seen.length > 0, 'message');
    });
    expect(cost).toEqual({ errors: 0, commands: { SUBSCRIBE: 1, PUBLISH: 1 } });
    expect(seen).toEqual([undefined]);
  });
});

function duplicate(): Redis {
  const client = io.duplicate();
  opened.push(client);
  return client;
}

function closed(): Redis {
  const client = open({ lazyConnect: true });
  client.disconnect();
  return client;
}

describe.skipIf(!hasRedis)('the instrumentation of ioredis', () => {
  const calls: [string, (client: Redis) => unknown][] = [
    ['a promise', client => client.get(key('text'))],
    ['an error', client => client.incr(key('text'))],
    ['a command that does not exist', client => client.call('NOPE')],
    ['a buffer', client => client.getBuffer(key('text'))],
    [
      'a callback',
      client =>
        new Promise(resolve =>
          client.get(key('text'), function (this: unknown, ...args: unknown[]) {
            resolve([this, args]);
          }),
        ),
    ],
    [
      'a callback with an error',
      client => new Promise(resolve => client.incr(key('text'), (...args) => resolve(args))),
    ],
    ['a pipeline', client => client.pipeline().get(key('text')).incr(key('text')).exec()],
    [
      'a pipeline with callbacks',
      client => {
        const seen: unknown[] = [];
        const note = (...args: unknown[]): void => void seen.push(args);
        return client
          .pipeline([['get', key('text')]])
          .incr(key('text'), note)
          .exec((...args) => note(args))
          .then(() => seen);
      },
    ],
    ['a transaction', client => client.multi().get(key('text')).incr(key('text')).exec()],
    ['a transaction that is discarded', client => client.multi().call('NOPE').exec()],
    [
      'a pipeline that was executed',
      async client => {
        const pipeline = client.pipeline().get(key('text'));
        return [pipeline.length, await pipeline.exec(), pipeline.length];
      },
    ],
    ['a scan', client => client.scanStream({ match: key('text'), count: 100_000 }).toArray()],
    ['a script', client => client.eval('return {KEYS[1], ARGV[1]}', 1, 'k', 'a')],
    ['several at once', client => Promise.all([client.get(key('text')), client.exists(key('none'))])],
    ['its promise', client => Object.getPrototypeOf(client.get(key('text'))) === Promise.prototype],
    [
      'its chain',
      client => {
        const pipeline = client.pipeline();
        return pipeline.get(key('text')) === pipeline;
      },
    ],
  ];

  it.each<[string, object]>([
    ['a connection', {}],
    ['automatic pipelines', { enableAutoPipelining: true }],
    ['friendly stacks', { showFriendlyErrorStack: true }],
  ])('gives what the bare client gives: %s', async (_what, options) => {
    const seen = async (): Promise<unknown[]> => {
      const client = open(options);
      const outcomes: unknown[] = [];
      for (const [name, call] of calls) {
        outcomes.push([
          name,
          await Promise.resolve(call(client)).then(
            value => value,
            (error: Error) => ({ name: error.name, message: error.message, own: Object.keys(error) }),
          ),
        ]);
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
        void io.incr(key('text'));
        void io.multi().call('NOPE').exec();
        await io.ping();
        await new Promise(resolve => setTimeout(resolve, 20));
      });
    } finally {
      process.removeAllListeners('unhandledRejection');
      for (const listener of listeners) process.on('unhandledRejection', listener);
    }
    expect(seen.map(error => String(error).slice(0, 22))).toEqual([
      'ReplyError: ERR value ',
      'ReplyError: EXECABORT ',
    ]);
  });

  it('is gone with the last application, and counts once beside others', async () => {
    const prototypes = ['Redis.js', 'Pipeline.js', 'cluster/index.js'].map(
      file => (load(`ioredis/built/${file}`) as { default: { prototype: object } }).default.prototype,
    );
    const facts = (): unknown[] => prototypes.map(one => Object.getOwnPropertyDescriptors(one));
    await test.close();
    const bareFacts = facts();
    const bare = Redis.prototype.sendCommand;
    let theirs = 0;
    const wrap = (stackBoundary: typeof bare): typeof bare =>
      function (this: Redis, ...args) {
        theirs += 1;
        return stackBoundary.apply(this, args);
      };
    Redis.prototype.sendCommand = wrap(bare);
    const one = await startApp({ instrumentations: [...instrumentations, ioredisInstrumentation()] });
    const two = await startApp({ instrumentations });
    const ours = Redis.prototype.sendCommand;
    Redis.prototype.sendCommand = wrap(ours);
    for (const app of [one, two]) {
      expect(await commandsIn(app, () => io.get(key('text')))).toEqual({ errors: 0, commands: { GET: 1 } });
    }
    expect(theirs).toBe(4);
    Redis.prototype.sendCommand = ours;
    await one.close();
    await two.close();
    Redis.prototype.sendCommand = bare;
    expect(facts()).toEqual(bareFacts);
    expect(facts().map(one => Reflect.ownKeys(one as object))).toEqual(
      bareFacts.map(one => Reflect.ownKeys(one as object)),
    );
    test = await startApp({ instrumentations });
  });

  let minutes = 0;
  it.each<[string, string]>([
    ['another', 'built/Redis.js'],
    ['one older than 5', 'built/redis/index.js'],
  ])('says so where it does not know the version: %s', async (_what, file) => {
    const path = `/nowhere/node_modules/ioredis/${file}`;
    load.cache[path] = { exports: { default: class {} } } as never;
    // The same is said once a minute.
    const now = performance.now.bind(performance);
    minutes += 1;
    vi.spyOn(performance, 'now').mockImplementation(() => now() + minutes * 61_000);
    try {
      const app = await startApp({ instrumentations });
      expect(app.logs.of('warn', 'AsyncContext').join()).toContain('this version of ioredis');
      expect(await commandsIn(app, () => io.get(key('text')))).toEqual({ errors: 0, commands: { GET: 1 } });
      await app.close();
    } finally {
      vi.restoreAllMocks();
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

  /** How a call ends after two commands that are allowed; it never waits for what will not come. */
  const third = (call: () => unknown): Promise<unknown> =>
    app.app.get(ContextService).run({}, async () => {
      await io.get(key('text'));
      await io.get(key('text'));
      const late = new Promise(resolve => setTimeout(resolve, 1_000, 'nothing'));
      return Promise.race([Promise.resolve(call()).catch((error: unknown) => error), late]);
    });

  it.each<[string, (client: Redis) => unknown]>([
    ['a promise', client => client.incr(key('kept'))],
    ['a callback', client => new Promise(resolve => client.incr(key('kept'), resolve))],
    ['call()', client => client.call('INCR', key('kept'))],
    ['a pipeline', client => client.pipeline().incr(key('kept')).incr(key('kept')).exec()],
    [
      'the callback of a pipeline',
      client => new Promise(resolve => client.pipeline().incr(key('kept')).exec(resolve)),
    ],
    ['a transaction', client => client.multi().incr(key('kept')).exec()],
    [
      'a transaction in a pipeline',
      client => executeTwice(transactionIn(client.pipeline()).incr(key('kept'))),
    ],
    [
      'the callback of a transaction',
      client => new Promise(resolve => client.multi().incr(key('kept')).exec(resolve)),
    ],
    [
      'a pipeline made over time',
      async client => {
        const pipeline = client.pipeline().incr(key('kept'));
        await new Promise(resolve => setTimeout(resolve, 5));
        return pipeline.incr(key('kept')).exec();
      },
    ],
  ])('keeps back what is too much: %s', async (_what, call) => {
    for (const options of [{}, { enableAutoPipelining: true }]) {
      const client = open(options);
      await client.ping();
      expect(await third(() => call(client))).toBeInstanceOf(QueryBudgetExceededError);
      expect(await client.get(key('kept'))).toBeNull();
    }
  });

  it('keeps a transaction back as a whole', async () => {
    let outcome: unknown;
    const { cache } = await recordOfUnit(app, async () => {
      await io.get(key('text'));
      const transaction = io.multi().incr(key('kept')).incr(key('kept'));
      outcome = await transaction.exec().catch((error: unknown) => error);
    });
    expect(outcome).toBeInstanceOf(QueryBudgetExceededError);
    expect(await io.get(key('kept'))).toBeNull();
    // The first was within the budget, and failed with the second.
    expect(cache).toMatchObject({ count: 3, errors: 1, maxConcurrent: 1 });
  });

  it('does no harm to the others of an automatic pipeline', async () => {
    const automatic = open({ enableAutoPipelining: true });
    await automatic.mset(key('1'), 'one', key('2'), 'two');
    const [first, second] = await Promise.all([
      app.app
        .get(ContextService)
        .run({}, () => Promise.allSettled([1, 2, 1, 2].map(n => automatic.get(key(`${n}`))))),
      app.app.get(ContextService).run({}, () => Promise.all([2, 1].map(n => automatic.get(key(`${n}`))))),
    ]);
    expect(first.map(one => (one.status === 'fulfilled' ? one.value : (one.reason as Error).name))).toEqual([
      'one',
      'two',
      'QueryBudgetExceededError',
      'QueryBudgetExceededError',
    ]);
    expect(second).toEqual(['two', 'one']);
  });
});

describe.skipIf(!hasRedisBinary)('a server of ioredis that dies', () => {
  it('is an error of the commands that were under way, and of their own requests', async () => {
    const app = await startApp({ instrumentations });
    const server = await startRedis();
    const client = open({ maxRetriesPerRequest: 0, retryStrategy: () => null }, server.url);
    const other = open({ maxRetriesPerRequest: 0, retryStrategy: () => null }, server.url);
    await Promise.all([client.ping(), other.ping()]);
    const costs = Promise.all([
      commandsIn(app, () => client.blpop('never', 5)),
      commandsIn(app, () => Promise.allSettled([other.brpop('never', 5), other.get('a'), other.get('b')])),
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

  it('and comes back: what was sent again is counted once, in its own request', async () => {
    const app = await startApp({ instrumentations });
    const server = await startRedis();
    const client = open({ retryStrategy: () => 20 }, server.url);
    const admin = open({}, server.url);
    await client.ping();
    const id = await client.client('ID');
    const cost = commandsIn(app, () => client.blpop('list', 5));
    await new Promise(resolve => setTimeout(resolve, 50));
    await admin.client('KILL', 'ID', id);
    await new Promise(resolve => setTimeout(resolve, 100));
    await admin.rpush('list', 'value');
    expect(await cost).toEqual({ errors: 0, commands: { BLPOP: 1 } });
    client.disconnect();
    admin.disconnect();
    await server.stop();
    await app.close();
  });
});

describe.skipIf(!hasRedis).each(platforms)('on %s', platform => {
  it.each<[string, object]>([
    ['one connection', {}],
    ['one connection with automatic pipelines', { enableAutoPipelining: true }],
  ])('20 requests at once are charged to their own: %s', async (_what, options) => {
    const client = open(options);
    await client.ping();

    @Controller()
    class CacheController {
      @Get()
      async work(@Query('times') times: string): Promise<void> {
        for (let i = 0; i < Number(times); i++) await client.get(key('text'));
        await Promise.all(Array.from({ length: Number(times) }, () => client.get(key('text'))));
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
