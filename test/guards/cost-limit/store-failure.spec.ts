import { Controller, Get } from '@nestjs/common';
import { Redis } from 'ioredis';
import { stat } from 'node:fs/promises';
import { createServer, type Server } from 'node:net';
import {
  ContextService,
  CostLimit,
  type CostLimitDefaults,
  type CostLimitLevel,
  type CostLimitStore,
  type CostLimitTake,
  MemoryCostLimitStore,
  RedisCostLimitStore,
  ProcessFigures,
} from 'nestjs-async-context';
import { PostgresCostLimitStore } from 'nestjs-async-context/postgres';
import { Pool } from 'pg';
import { createClient } from 'redis';
import { afterEach, describe, expect, it } from 'vitest';
import { canStart, OwnServer, SERVERS } from '../../support/own-server';
import { startApp, type TestApp, until } from '../../support/platforms';
import { hasRedis, redisKey, redisUrl } from '../../support/redis-server';
import { freePort } from '../../support/servers';

@Controller()
class SpendingController {
  constructor(private readonly context: ContextService) {}

  @Get()
  @CostLimit({
    burst: 30,
    restorePerSecond: 0.001,
    by: 'ip',
    cost: { query: 1, row: 0, databaseMs: 0, blockedMs: 0 },
    estimate: 10,
  })
  get() {
    for (let i = 0; i < 10; i++)
      this.context.record({ system: 'postgresql', statement: 'SELECT 1', durationMs: 1 });
    return 'ok';
  }
}

const running: TestApp[] = [];
const cleanUp: (() => unknown)[] = [];
afterEach(async () => {
  await Promise.all(running.splice(0).map(test => test.close()));
  for (const undo of cleanUp.splice(0).toReversed()) await undo();
});

async function start(costLimit: CostLimitDefaults, problemJson = false) {
  const test = await startApp({ controllers: [SpendingController], guards: { costLimit, problemJson } });
  running.push(test);
  return {
    test,
    async statuses(count: number): Promise<number[]> {
      const all: number[] = [];
      for (let i = 0; i < count; i++) {
        const response = await fetch(test.url);
        await response.text();
        all.push(response.status);
      }
      return all;
    },
    said: () => test.logs.of('warn', 'AsyncContext').filter(line => line.includes('the @CostLimit() store')),
  };
}

/** Listens, and never says a word. */
async function silentServer(): Promise<number> {
  const sockets = new Set<{ destroy(): void }>();
  const server: Server = createServer(socket => {
    sockets.add(socket);
    socket.on('error', () => undefined);
  });
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
  cleanUp.push(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return (server.address() as { port: number }).port;
}

const stores: readonly [string, () => Promise<CostLimitStore>][] = [
  [
    'Redis that is not there (ioredis)',
    async () => {
      const client = new Redis({ port: await freePort(), host: '127.0.0.1' });
      client.on('error', () => undefined);
      cleanUp.push(() => client.disconnect());
      return new RedisCostLimitStore({ client });
    },
  ],
  [
    'Redis that is not there (redis)',
    async () => {
      const client = createClient({ url: `redis://127.0.0.1:${await freePort()}` });
      client.on('error', () => undefined);
      client.connect().catch(() => undefined);
      cleanUp.push(() => client.destroy());
      return new RedisCostLimitStore({ client });
    },
  ],
  [
    'Redis that never answers',
    async () => {
      const client = new Redis({ port: await silentServer(), host: '127.0.0.1' });
      client.on('error', () => undefined);
      cleanUp.push(() => client.disconnect());
      return new RedisCostLimitStore({ client });
    },
  ],
  [
    'PostgreSQL that is not there',
    async () => {
      const pool = new Pool({
        connectionString: `postgres://postgres@127.0.0.1:${await freePort()}/postgres`,
      });
      cleanUp.push(() => pool.end());
      return new PostgresCostLimitStore({ pool });
    },
  ],
  [
    'a store that throws',
    () =>
      Promise.resolve({
        take: () => {
          throw new Error('a secret');
        },
      }),
  ],
  ['a store that answers nonsense', () => Promise.resolve({ take: () => ({ admitted: 'yes' }) as never })],
];

describe.each(stores)('with %s', (_name, newStore) => {
  it('limits with the buckets of the process', async () => {
    const { test, statuses, said } = await start({ store: await newStore() });
    expect(await statuses(5)).toEqual([200, 200, 200, 429, 429]);
    expect(said()).toHaveLength(1);
    expect(said()[0]).not.toContain('a secret');
    const counted = test.app.get(ProcessFigures).refusals.find(({ reason }) => reason === 'store-down');
    expect(counted).toEqual({
      by: 'cost-limit',
      reason: 'store-down',
      handler: 'none',
      dryRun: true,
      count: 5,
    });
  });

  it('lets everybody in where that is wanted', async () => {
    const { statuses } = await start({ store: await newStore(), onStoreFailure: 'admit' });
    expect(await statuses(5)).toEqual([200, 200, 200, 200, 200]);
  });

  it('lets nobody in where that is wanted', async () => {
    const { test, statuses } = await start({ store: await newStore(), onStoreFailure: 'refuse' }, true);
    expect(await statuses(2)).toEqual([503, 503]);
    const response = await fetch(test.url);
    expect(response.headers.get('retry-after')).toBe('1');
    expect(await response.json()).toMatchObject({
      type: 'https://iana.org/assignments/http-problem-types#temporary-reduced-capacity',
    });
    expect(test.app.get(ProcessFigures).refusals).toEqual([
      { by: 'cost-limit', reason: 'store-down', handler: 'SpendingController.get', dryRun: false, count: 3 },
    ]);
  });
});

function block(ms: number): void {
  const endMs = performance.now() + ms;
  while (performance.now() < endMs);
}

/** Fails, or takes its time, when it is told to. */
class FaultyStore extends MemoryCostLimitStore {
  takes: CostLimitTake[] = [];
  fails = false;
  delay: Promise<void> | undefined;

  override take(take: CostLimitTake): CostLimitLevel {
    this.takes.push(take);
    if (this.fails) throw new Error('down');
    const { delay } = this;
    const answer = super.take(take);
    return delay === undefined ? answer : (delay.then(() => answer) as never);
  }

  get level(): number {
    return super.take({ ...bucket, need: 0, take: 0 }).level;
  }
}

const bucket = { key: 'SpendingController.get|ip:127.0.0.1', burst: 30, restorePerSecond: 1e-9 };

describe('a store of @CostLimit() that fails', () => {
  it('is left alone for a second, and then is asked by one', async () => {
    const store = new FaultyStore({ now: () => 0 });
    store.fails = true;
    const { statuses, test } = await start({ store, onStoreFailure: 'admit', timeoutMs: 60_000 });
    const startMs = performance.now();
    await statuses(5);
    expect(store.takes.length).toBeLessThanOrEqual(1 + (performance.now() - startMs) / 1_000);
    await new Promise(resolve => setTimeout(resolve, 1_050));
    let answer: (() => void) | undefined;
    store.fails = false;
    store.delay = new Promise(resolve => (answer = resolve));
    const before = store.takes.length;
    let answered = 0;
    const many = Array.from({ length: 5 }, async () => {
      const { status } = await fetch(test.url);
      answered += 1;
      return status;
    });
    await until(() => answered === 4, 'answers without it');
    expect(store.takes).toHaveLength(before + 1);
    answer?.();
    store.delay = undefined;
    expect(await Promise.all(many)).toEqual([200, 200, 200, 200, 200]);
    await statuses(1);
    expect(store.takes.length).toBeGreaterThan(before + 1);
  });

  it('is given back what it has taken too late', async () => {
    const store = new FaultyStore({ now: () => 0 });
    let answer: (() => void) | undefined;
    store.delay = new Promise(resolve => (answer = resolve));
    const { statuses } = await start({ store, timeoutMs: 20 });
    expect(await statuses(1)).toEqual([200]);
    expect(store.level).toBe(20);
    store.delay = undefined;
    answer?.();
    await new Promise(resolve => setTimeout(resolve, 1_050));
    // What it is owed comes with the next request.
    expect(await statuses(1)).toEqual([200]);
    await until(() => store.level === 20, 'level of one request');
  });

  it('is not late where the event loop was blocked, and the answer was there', async () => {
    const store: CostLimitStore = {
      // An answer from outside, as that of a socket; what blocks the loop runs before it can be read.
      async take({ burst }) {
        const answer = stat(import.meta.dirname);
        queueMicrotask(() => block(150));
        await answer;
        return { admitted: true, level: burst };
      },
    };
    const { statuses, said } = await start({ store, onStoreFailure: 'refuse', timeoutMs: 50 });
    expect(await statuses(2)).toEqual([200, 200]);
    expect(said()).toEqual([]);
  });

  it('is paid later what was to be settled while it was away', async () => {
    const store = new FaultyStore({ now: () => 0 });
    const { statuses, test } = await start({ store, onStoreFailure: 'admit' });
    expect(await statuses(1)).toEqual([200]);
    await test.records(1);
    expect(store.level).toBe(20);
    store.fails = true;
    await statuses(2);
    store.fails = false;
    await new Promise(resolve => setTimeout(resolve, 1_050));
    expect(await statuses(1)).toEqual([200]);
    await test.records(4);
    await until(() => store.level === 10, 'level of the two that it was there for');
  });
});

describe.runIf(hasRedis)('two applications that share one Redis', () => {
  it('spend from one bucket, and charge their commands to nobody', async () => {
    const client = new Redis(redisUrl);
    cleanUp.push(() => client.quit());
    const prefix = redisKey('shared:');
    const apps = await Promise.all(
      [1, 2].map(() => start({ store: new RedisCostLimitStore({ client, prefix }), timeoutMs: 5_000 })),
    );
    const answers = await Promise.all(
      Array.from({ length: 20 }, (_, i) => fetch(apps[i % 2]!.test.url).then(response => response.status)),
    );
    expect(answers.filter(status => status === 200)).toHaveLength(3);
    expect(answers.filter(status => status === 429)).toHaveLength(17);
    for (const { test } of apps) {
      for (const record of await test.records(10)) expect(record.cache).toBeUndefined();
    }
  });
});

describe.runIf(canStart(SERVERS.redis))('a Redis that is killed and comes back', () => {
  it('is missed by nobody', async () => {
    const server = await OwnServer.start(SERVERS.redis);
    cleanUp.push(() => server.remove());
    const client = new Redis({ port: server.port, host: '127.0.0.1', retryStrategy: () => 50 });
    client.on('error', () => undefined);
    cleanUp.push(() => client.disconnect());
    const { statuses, said } = await start({ store: new RedisCostLimitStore({ client }) });
    expect(await statuses(4)).toEqual([200, 200, 200, 429]);
    await server.stop('SIGKILL');
    // The buckets of the process are full.
    expect(await statuses(4)).toEqual([200, 200, 200, 429]);
    await server.start();
    await until(() => client.status === 'ready', 'connection');
    await new Promise(resolve => setTimeout(resolve, 1_050));
    // Those of the server are so again, as it has kept nothing.
    expect(await statuses(4)).toEqual([200, 200, 200, 429]);
    expect(said()).toHaveLength(1);
  });
});
