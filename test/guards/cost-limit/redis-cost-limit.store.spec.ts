import { Cluster, Redis } from 'ioredis';
import { RedisCostLimitStore } from 'nestjs-async-context';
import { createClient, createCluster } from 'redis';
import { describe, expect, it } from 'vitest';
import {
  hasRedis,
  hasRedisBinary,
  redisKey,
  redisUrl,
  startCluster,
  startRedis,
} from '../../support/redis-server';
import { expectNoOverspending } from './overspending';

describe.runIf(hasRedis)('RedisCostLimitStore', () => {
  it('never spends a point twice with clients of ioredis', async () => {
    const clients = [new Redis(redisUrl), new Redis(redisUrl)];
    const stores = clients.map(client => new RedisCostLimitStore({ client, prefix: redisKey('') }));
    await expectNoOverspending(stores, 'ioredis');
    await Promise.all(clients.map(client => client.quit()));
  });

  it('never spends a point twice with clients of redis', async () => {
    const clients = [createClient({ url: redisUrl }), createClient({ url: redisUrl })];
    await Promise.all(clients.map(client => client.connect()));
    const stores = clients.map(client => new RedisCostLimitStore({ client, prefix: redisKey('') }));
    await expectNoOverspending(stores, 'node-redis');
    await Promise.all(clients.map(client => client.close()));
  });

  it('restores by the clock of the server, and lets a bucket go when it is full', async () => {
    const client = new Redis(redisUrl);
    const store = new RedisCostLimitStore({ client, prefix: redisKey('') });
    const bucket = { key: 'clock', burst: 1_000, restorePerSecond: 100 };
    const name = redisKey('clock');
    await store.take({ ...bucket, need: 1_000, take: 1_000 });
    const ttl = await client.pttl(name);
    expect(ttl).toBeLessThanOrEqual(10_000);
    expect(ttl).toBeGreaterThan(5_000);
    // Two seconds earlier than it was.
    const at = Number(await client.hget(name, 't'));
    await client.hset(name, 't', at - 2_000);
    const { level } = await store.take({ ...bucket, need: 0, take: 0 });
    expect(level).toBeGreaterThanOrEqual(200);
    expect(level).toBeLessThan(1_000);
    await store.take({ ...bucket, need: -Infinity, take: -1_000 });
    expect(await client.exists(name)).toBe(0);
    expect(await store.take({ ...bucket, need: 1_001, take: 1_001 })).toEqual({
      admitted: false,
      level: 1_000,
    });
    expect(await client.exists(name)).toBe(0);
    await client.quit();
  });

  it('says at the start what it cannot take', () => {
    expect(() => new RedisCostLimitStore({ client: {} as never })).toThrow(
      'new RedisCostLimitStore({ client }) is an empty object. Use a client or a cluster of ioredis or redis.',
    );
    expect(() => new RedisCostLimitStore({ client: { evalsha() {} } as never, prefix: 5 as never })).toThrow(
      '({ prefix }) is 5. Use a string.',
    );
  });
});

describe.runIf(hasRedisBinary)('RedisCostLimitStore, on servers of its own', () => {
  it('sends its script again where the server does not know it', async () => {
    const server = await startRedis();
    const client = new Redis(server.url);
    const other = createClient({ url: server.url });
    await other.connect();
    const bucket = { key: 'a', burst: 100, restorePerSecond: 0.001, need: 1, take: 1 };
    for (const store of [new RedisCostLimitStore({ client }), new RedisCostLimitStore({ client: other })]) {
      await client.script('FLUSH');
      expect((await store.take(bucket)).admitted).toBe(true);
      expect((await store.take(bucket)).admitted).toBe(true);
    }
    const { level } = await new RedisCostLimitStore({ client }).take({ ...bucket, need: 0, take: 0 });
    expect(level).toBeGreaterThanOrEqual(96);
    expect(level).toBeLessThan(97);
    await Promise.all([client.quit(), other.close()]);
    await server.stop();
  });

  it('never spends a point twice in a cluster', async () => {
    const servers = await startCluster();
    const [first] = servers;
    const cluster = new Cluster([{ host: '127.0.0.1', port: first!.port }]);
    const other = createCluster({ rootNodes: [{ url: first!.url }] });
    await other.connect();
    for (const key of ['one', 'two', 'three', 'four']) {
      await expectNoOverspending(
        [new RedisCostLimitStore({ client: cluster }), new RedisCostLimitStore({ client: other })],
        key,
      );
    }
    await cluster.quit();
    await other.close();
    await Promise.all(servers.map(server => server.stop()));
  });
});
