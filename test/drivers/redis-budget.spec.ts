import { Controller, Get, Injectable, Query } from '@nestjs/common';
import { Redis } from 'ioredis';
import { createClient } from 'redis';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ContextService, QueryBudget, QueryBudgetExceededError } from 'nestjs-async-context';
import { ioredisInstrumentation } from '../../lib/drivers/ioredis/ioredis.driver';
import { redisInstrumentation } from '../../lib/drivers/redis/redis.driver';
import { platforms, startApp, until } from '../support/platforms';
import { hasRedis, redisKey as key, redisUrl as url } from '../support/redis-server';

const instrumentations = [ioredisInstrumentation(), redisInstrumentation()];
const node = createClient({ url });
let io: Redis;

interface Store {
  get(key: string): Promise<string | null>;
  set(key: string, value: string): Promise<unknown>;
}

/** As `cache-manager` has it: a singleton, which knows no request. */
@Injectable()
class CacheService {
  store: Store = node;

  async wrap(name: string, make: () => string): Promise<string> {
    const known = await this.store.get(name);
    if (known !== null) return known;
    const value = make();
    await this.store.set(name, value);
    return value;
  }
}

@Controller()
class CachedController {
  constructor(
    private readonly cache: CacheService,
    private readonly context: ContextService,
  ) {}

  @Get('once')
  async once(@Query('name') name: string): Promise<{ value: string; cache: number | undefined }> {
    const value = await this.cache.wrap(key(name), () => `SECRET ${name}`);
    await this.cache.wrap(key(name), () => 'never');
    return { value, cache: this.context.cost?.cache };
  }

  @Get('many')
  @QueryBudget({ cache: 200 })
  async many(@Query('times') times: string): Promise<void> {
    for (let i = 0; i < Number(times); i++) await this.cache.store.get(key('SECRET'));
  }
}

beforeAll(async () => {
  if (!hasRedis) return;
  io = new Redis(url);
  await node.connect();
});
afterAll(async () => {
  if (!hasRedis) return;
  const keys = await io.keys(key('*'));
  if (keys.length > 0) await io.del(...keys);
  io.disconnect();
  node.destroy();
});

describe.skipIf(!hasRedis).each(platforms)('a cache that all requests share, on %s', platform => {
  it.each<[string, () => Store]>([
    ['ioredis', () => io],
    ['redis', () => node],
  ])('is charged to each of them by command: %s', async (name, store) => {
    const app = await startApp({
      platform,
      controllers: [CachedController],
      providers: [CacheService],
      instrumentations,
    });
    app.app.get(CacheService).store = store();
    const asked = `${name}-${platform}`;
    const ask = async (): Promise<unknown> => (await fetch(`${app.url}/once?name=${asked}`)).json();
    expect(await ask()).toEqual({ value: `SECRET ${asked}`, cache: 3 });
    expect(await ask()).toEqual({ value: `SECRET ${asked}`, cache: 2 });
    const [missed, hit] = await app.records(2);
    expect(missed!.cache).toMatchObject({
      count: 3,
      errors: 0,
      late: 0,
      maxConcurrent: 1,
      byTarget: { GET: { count: 2, errors: 0 }, SET: { count: 1, errors: 0 } },
    });
    expect(hit!.cache).toMatchObject({ count: 2, byTarget: { GET: { count: 2 } } });
    expect(missed!.cache!.durationMs).toBeGreaterThan(0);
    expect(missed!.queries.count).toBe(0);
    expect(JSON.stringify([missed, hit])).not.toMatch(new RegExp(`SECRET|${key(asked)}`));
    await app.close();
  });

  it.each<[string, () => Store]>([
    ['ioredis', () => io],
    ['redis', () => node],
  ])('breaches its budget with the first command that is too much: %s', async (_name, store) => {
    const app = await startApp({
      platform,
      controllers: [CachedController],
      providers: [CacheService],
      instrumentations,
    });
    app.app.get(CacheService).store = store();
    await fetch(`${app.url}/many?times=200`);
    await fetch(`${app.url}/many?times=201`);
    const [within, broken] = await app.records(2);
    expect(within!.breaches).toEqual([]);
    expect(broken!.breaches).toEqual([
      { dimension: 'cache', used: 201, limit: 200, from: '@QueryBudget on CachedController.many' },
    ]);
    const lines = await until(() => {
      const found = app.logs.of('error', 'QueryBudget');
      return found.length > 0 && found;
    }, 'line');
    expect(lines).toHaveLength(1);
    expect(lines[0]).toContain('CachedController.many: 201 cache commands (budget 200)');
    expect(lines[0]).not.toContain('SECRET');
    await app.close();
  });

  it.each<[string, () => Store]>([
    ['ioredis', () => io],
    ['redis', () => node],
  ])("keeps the first command that is too much back, with onExceeded: 'throw': %s", async (_name, store) => {
    const app = await startApp({
      platform,
      controllers: [CachedController],
      providers: [CacheService],
      instrumentations,
      onExceeded: 'throw',
    });
    app.app.get(CacheService).store = store();
    expect((await fetch(`${app.url}/many?times=200`)).status).toBe(200);
    expect((await fetch(`${app.url}/many?times=201`)).status).toBe(500);
    const [within, broken] = await app.records(2);
    expect(within!.cache!.count).toBe(200);
    expect(broken!.error).toContain(QueryBudgetExceededError.name);
    await app.close();
  });
});
