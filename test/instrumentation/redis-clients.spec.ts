import { Controller, Get, Query } from '@nestjs/common';
import { Cluster, Redis } from 'ioredis';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createClient, createClientPool, createCluster } from 'redis';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ContextService, QueryBudget, QueryBudgetExceededError } from 'nestjs-async-context';
import { ioredisInstrumentation } from '../../lib/instrumentation/drivers/ioredis.driver';
import { redisInstrumentation } from '../../lib/instrumentation/drivers/redis.driver';
import { platforms, startApp, type TestApp, until } from '../support/platforms';
import { recordOfUnit } from '../support/units';

const url = process.env['REDIS_URL'] ?? 'redis://127.0.0.1:6379';
const key = (name: string): string => `nac-${process.pid}-${name}`;
const instrumentations = [ioredisInstrumentation(), redisInstrumentation()];

let test: TestApp;
let io: Redis;
let node: ReturnType<typeof createClient>;

/** Commands by name, and how many failed. */
async function commandsOf(
  work: () => unknown,
): Promise<{ errors: number; commands: Record<string, number> }> {
  const { cache, queries } = await recordOfUnit(test, async () => {
    await new Promise(resolve => resolve(work())).catch(() => undefined);
  });
  expect(queries.count).toBe(0);
  const targets = Object.entries(cache?.byTarget ?? {}).map(([name, { count }]) => [name, count]);
  const commands = Object.fromEntries(targets) as Record<string, number>;
  expect(Object.values(commands).reduce((sum, count) => sum + count, 0)).toBe(cache?.count ?? 0);
  return { errors: cache?.errors ?? 0, commands };
}

async function scanAll(): Promise<number> {
  let found = 0;
  for await (const keys of node.scanIterator({ MATCH: key('*'), COUNT: 10_000 })) found += keys.length;
  return found;
}

beforeAll(async () => {
  test = await startApp({ instrumentations });
  io = new Redis(url);
  node = createClient({ url });
  await node.connect();
});
afterAll(async () => {
  const keys = await io.keys(key('*'));
  if (keys.length > 0) await io.del(...keys);
  await io.quit();
  await node.close();
  await test.close();
});

describe('a command of ioredis', () => {
  it.each<[string, () => unknown, Record<string, number>, number?]>([
    ['GET', () => io.get(key('a')), { GET: 1 }],
    ['SET', () => io.set(key('a'), 'SECRET'), { SET: 1 }],
    ['buffers', () => io.getBuffer(key('a')), { GET: 1 }],
    ['a callback', () => new Promise(resolve => io.get(key('a'), resolve)), { GET: 1 }],
    ['call()', () => io.call('INCR', key('n')), { INCR: 1 }],
    ['many keys', () => io.mget(key('a'), key('b')), { MGET: 1 }],
    ['an error', () => io.incr(key('a')), { INCR: 1 }, 1],
    ['one that does not exist', () => io.call('NOPE'), { NOPE: 1 }, 1],
    [
      'a pipeline',
      () => io.pipeline().set(key('b'), 1).get(key('b')).incr(key('a')).exec(),
      { SET: 1, GET: 1, INCR: 1 },
      1,
    ],
    ['a transaction', () => io.multi().set(key('b'), 1).get(key('b')).exec(), { SET: 1, GET: 1 }],
    ['a script', () => io.eval('return 1', 0), { EVAL: 1 }],
    ['a scan', () => io.scanStream({ match: key('*'), count: 10_000 }).toArray(), { SCAN: 1 }],
    ['a blocking one that times out', () => io.duplicate().blpop(key('list'), 0.01), { BLPOP: 1 }],
  ])('is counted: %s', async (_what, work, commands, errors = 0) => {
    expect(await commandsOf(work)).toEqual({ errors, commands });
  });

  it('made before there is a connection is charged to who made it', async () => {
    const lazy = new Redis(url, { lazyConnect: true });
    const [first, second] = await Promise.all([
      commandsOf(() => lazy.get(key('a'))),
      commandsOf(() => Promise.all([lazy.get(key('a')), lazy.get(key('b'))])),
    ]);
    expect([first, second]).toEqual([
      { errors: 0, commands: { GET: 1 } },
      { errors: 0, commands: { GET: 2 } },
    ]);
    await lazy.quit();
  });

  it('that an automatic pipeline sends is charged to who made it', async () => {
    const automatic = new Redis(url, { enableAutoPipelining: true });
    await automatic.ping();
    const made = Array.from({ length: 20 }, (_, i) => i + 1);
    const records = await Promise.all(
      made.map(times =>
        recordOfUnit(test, () => Promise.all(Array.from({ length: times }, () => automatic.get(key('a'))))),
      ),
    );
    expect(records.map(({ cache }) => cache!.count)).toEqual(made);
    await automatic.quit();
  });

  it('whose connection is cut is an error of its own request', async () => {
    const victim = new Redis(url, { maxRetriesPerRequest: 0, retryStrategy: () => null });
    victim.on('error', () => undefined);
    await victim.ping();
    const id = await victim.client('ID');
    const cost = commandsOf(async () => {
      const pop = victim.blpop(key('never'), 5);
      setTimeout(() => void io.client('KILL', 'ID', id), 30);
      await pop;
    });
    expect(await cost).toEqual({ errors: 1, commands: { BLPOP: 1 } });
  });
});

describe('a command of redis', () => {
  it.each<[string, () => unknown, Record<string, number>, number?]>([
    ['GET', () => node.get(key('a')), { GET: 1 }],
    ['SET', () => node.set(key('a'), 'SECRET'), { SET: 1 }],
    ['many keys', () => node.mGet([key('a'), key('b')]), { MGET: 1 }],
    ['sendCommand()', () => node.sendCommand(['INCR', key('n')]), { INCR: 1 }],
    ['an error', () => node.incr(key('a')), { INCR: 1 }, 1],
    ['a transaction', () => node.multi().set(key('b'), '1').get(key('b')).exec(), { SET: 1, GET: 1 }],
    ['a pipeline', () => node.multi().set(key('b'), '1').get(key('b')).execAsPipeline(), { SET: 1, GET: 1 }],
    ['a scan', scanAll, { SCAN: 1 }],
    ['a script', () => node.eval('return 1'), { EVAL: 1 }],
    ['a hash', () => node.hSet(key('h'), { a: '1' }), { HSET: 1 }],
  ])('is counted: %s', async (_what, work, commands, errors = 0) => {
    expect(await commandsOf(work)).toEqual({ errors, commands });
  });

  it('of a pool is charged to who made it, and not to who gave the client back', async () => {
    const pool = createClientPool({ url }, { minimum: 1, maximum: 2 });
    await pool.connect();
    const made = Array.from({ length: 20 }, (_, i) => i + 1);
    const records = await Promise.all(
      made.map(times =>
        recordOfUnit(test, async () => {
          for (let i = 0; i < times; i++) await pool.get(key('a'));
        }),
      ),
    );
    expect(records.map(({ cache }) => cache!.count)).toEqual(made);
    await pool.close();
  });

  it('that a pool gave up on is an error of who made it', async () => {
    const pool = createClientPool({ url }, { minimum: 1, maximum: 1, acquireTimeout: 30 });
    await pool.connect();
    const [held, refused] = await Promise.all([
      commandsOf(() => pool.blPop(key('never'), 0.2)),
      commandsOf(() => pool.get(key('a'))),
    ]);
    expect(held).toEqual({ errors: 0, commands: { BLPOP: 1 } });
    expect(refused).toEqual({ errors: 1, commands: { '?': 1 } });
    await pool.close();
  });
});

describe('a cluster', () => {
  const port = 17_000 + (process.pid % 10_000);
  let server: ChildProcess;
  let folder: string;

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'redis-cluster-'));
    const options = [
      '--port',
      `${port}`,
      '--bind',
      '127.0.0.1',
      '--cluster-announce-ip',
      '127.0.0.1',
      '--cluster-enabled',
      'yes',
      '--save',
      '',
      '--dir',
      folder,
    ];
    server = spawn('redis-server', options, { stdio: 'ignore' });
    await once(server, 'spawn');
    const admin = new Redis(port, { maxRetriesPerRequest: 50 });
    admin.on('error', () => undefined);
    await admin.call('CLUSTER', 'ADDSLOTSRANGE', '0', '16383');
    while (!(await admin.cluster('INFO')).includes('cluster_state:ok'))
      await new Promise(resolve => setTimeout(resolve, 50));
    admin.disconnect();
  });
  afterAll(async () => {
    server.kill();
    await rm(folder, { recursive: true, force: true });
  });

  it('counts a command once, whichever node it goes to', async () => {
    const io = new Cluster([{ host: '127.0.0.1', port }]);
    await io.set('a', 1);
    const node = createCluster({ rootNodes: [{ url: `redis://127.0.0.1:${port}` }] });
    await node.connect();
    const made = [1, 2, 3, 4, 5];
    const records = await Promise.all(
      made.map(times =>
        recordOfUnit(test, async () => {
          for (let i = 0; i < times; i++) await io.get(`key-${i}`);
          await io.pipeline().get('a').get('a').exec();
          for (let i = 0; i < times; i++) await node.get(`key-${i}`);
        }),
      ),
    );
    expect(records.map(({ cache }) => cache!.byTarget['GET']!.count)).toEqual(
      made.map(times => 2 * times + 2),
    );
    expect(records.map(({ cache }) => cache!.count)).toEqual(made.map(times => 2 * times + 2));
    io.disconnect();
    node.destroy();
  });
});

describe('both', () => {
  it('leave no key and no value behind', async () => {
    const record = await recordOfUnit(test, async () => {
      await io.set(key('SECRET'), 'SECRET');
      await node.set(key('SECRET'), 'SECRET');
    });
    expect(record.cache!.count).toBe(2);
    expect(JSON.stringify(record)).not.toContain('SECRET');
  });

  it('give the results, errors and callbacks of the bare clients', async () => {
    const calls: (() => Promise<unknown>)[] = [
      () => io.set(key('s'), 'v'),
      () => io.get(key('s')),
      () => io.getBuffer(key('s')).then(String),
      () => io.incr(key('s')),
      () => io.pipeline().get(key('s')).incr(key('s')).exec().then(String),
      () => io.multi().get(key('s')).exec().then(String),
      () => new Promise(resolve => io.get(key('s'), (error, value) => resolve([error, value]))),
      () => node.get(key('s')),
      () => node.incr(key('s')),
      () => node.multi().get(key('s')).exec(),
    ];
    const seen = async (): Promise<unknown[]> =>
      (await Promise.allSettled(calls.map(call => call()))).map(result =>
        result.status === 'fulfilled' ? result.value : String(result.reason),
      );
    let counted: unknown[] = [];
    await recordOfUnit(test, async () => {
      counted = await seen();
    });
    await test.close();
    expect(counted).toEqual(await seen());
    test = await startApp({ instrumentations });
  });

  it('are as they were once the last application is closed', async () => {
    const send = Redis.prototype.sendCommand;
    const other = await startApp({ instrumentations });
    expect(Redis.prototype.sendCommand).toBe(send);
    await other.close();
    expect(await commandsOf(() => io.get(key('a')))).toEqual({ errors: 0, commands: { GET: 1 } });
    await test.close();
    expect(Redis.prototype.sendCommand).not.toBe(send);
    test = await startApp({ instrumentations });
  });

  it('are kept back by a budget that throws, as far as they are wrapped: ioredis', async () => {
    const app = await startApp({ instrumentations, onExceeded: 'throw', budget: { cache: 2 } });
    await app.app.get(ContextService).run({}, async () => {
      await io.get(key('a'));
      await io.get(key('a'));
      await expect(io.get(key('a'))).rejects.toBeInstanceOf(QueryBudgetExceededError);
    });
    await app.close();
  });
});

describe.each(platforms)('20 requests at once, on %s', platform => {
  @Controller()
  class CacheController {
    @Get()
    @QueryBudget({ cache: 15 })
    async work(@Query('times') times: string): Promise<void> {
      for (let i = 0; i < Number(times); i++) await (i % 2 === 0 ? io.get(key('a')) : node.get(key('a')));
    }
  }

  it('are charged to their own, and the sixteenth command is a breach', async () => {
    const app = await startApp({ platform, controllers: [CacheController], instrumentations });
    const made = Array.from({ length: 20 }, (_, i) => 1 + i);
    await Promise.all(made.map(times => fetch(`${app.url}/?times=${times}`)));
    const records = await app.records(20);
    expect(records.map(({ cache }) => cache!.count).sort((a, b) => a - b)).toEqual(made);
    expect(records.filter(({ breaches }) => breaches.length > 0)).toHaveLength(5);
    await until(() => app.logs.of('error', 'QueryBudget')[0]?.includes('cache') === true, 'a line');
    await app.close();
  });
});
