import { Cluster } from 'ioredis';
import { createCluster } from 'redis';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ContextService, QueryBudgetExceededError } from 'nestjs-async-context';
import { ioredisInstrumentation } from '../../lib/drivers/ioredis/ioredis.driver';
import { redisInstrumentation } from '../../lib/drivers/redis/redis.driver';
import { startApp, type TestApp } from '../support/platforms';
import {
  commandsOf as commandsIn,
  type CommandCost,
  hasRedisBinary,
  type RedisServer,
  startCluster,
} from '../support/redis-server';
import { recordOfUnit } from '../support/units';

const instrumentations = [ioredisInstrumentation(), redisInstrumentation()];
const made = Array.from({ length: 20 }, (_, i) => i + 1);
// One for each of the three nodes.
const keys = ['a', 'b', 'c'];

let servers: readonly RedisServer[] = [];
let test: TestApp;
const opened: Cluster[] = [];

const commandsOf = (work: () => unknown): Promise<CommandCost> => commandsIn(test, work);

function open(options: object = {}): Cluster {
  const cluster = new Cluster([{ host: '127.0.0.1', port: servers[0]!.port }], options);
  cluster.on('error', () => undefined);
  opened.push(cluster);
  return cluster;
}

async function connect() {
  const cluster = createCluster({ rootNodes: [{ url: servers[0]!.url }] });
  cluster.on('error', () => undefined);
  await cluster.connect();
  return cluster;
}

/** Makes a client believe that another node has a slot, and says whether it has found out. */
async function misdirect(cluster: Cluster, key: string): Promise<() => boolean> {
  const slot = Number(await cluster.cluster('KEYSLOT', key));
  const { slots } = cluster as unknown as { slots: string[][] };
  const right = slots[slot]![0];
  slots[slot] = [slots.find(nodes => nodes[0] !== right)![0]!];
  return () => slots[slot]![0] === right;
}

beforeAll(async () => {
  if (!hasRedisBinary) return;
  servers = await startCluster();
  test = await startApp({ instrumentations });
});
afterAll(async () => {
  for (const cluster of opened) cluster.disconnect();
  await test?.close();
  await Promise.all(servers.map(server => server.stop()));
});

describe.skipIf(!hasRedisBinary)('a cluster of three, with ioredis', () => {
  it.each<[string, object]>([
    ['connected at once', {}],
    ['connected lazily', { lazyConnect: true }],
    ['with automatic pipelines', { enableAutoPipelining: true }],
    ['with automatic pipelines, connected lazily', { enableAutoPipelining: true, lazyConnect: true }],
  ])('charges each of 20 requests at once: %s', async (_what, options) => {
    const cluster = open(options);
    const context = test.app.get(ContextService);
    let misplaced = 0;
    const records = await Promise.all(
      made.map(times =>
        recordOfUnit(test, async () => {
          const { requestId } = context;
          const check = (): void => void (misplaced += context.requestId === requestId ? 0 : 1);
          const all = keys.flatMap(key => Array.from({ length: times }, () => cluster.get(key).then(check)));
          await Promise.all(all);
          await new Promise<void>(resolve => cluster.get('a', () => resolve(check())));
          const pipeline = cluster.pipeline();
          for (let i = 0; i < times; i++) pipeline.get('{a}', check);
          await new Promise<void>(resolve => pipeline.exec(() => resolve(check())));
          await cluster.multi().get('{a}').exec().then(check);
        }),
      ),
    );
    expect(records.map(({ cache }) => cache!.count)).toEqual(made.map(times => 4 * times + 2));
    expect(records.map(({ cache }) => Object.keys(cache!.byTarget))).toEqual(made.map(() => ['GET']));
    expect(records.map(({ cache }) => cache!.errors)).toEqual(made.map(() => 0));
    expect(misplaced).toBe(0);
  });

  it.each<[string, (cluster: Cluster) => unknown]>([
    ['a pipeline that is executed first', cluster => cluster.pipeline().get('a').get('a').exec()],
    ['a callback', cluster => new Promise(resolve => cluster.pipeline().get('a').get('a').exec(resolve))],
    ['commands', cluster => Promise.all([cluster.get('a'), cluster.get('a')])],
  ])('counts what is made before it knows its nodes: %s', async (_what, work) => {
    expect(await commandsOf(() => work(open({ lazyConnect: true })))).toEqual({
      errors: 0,
      commands: { GET: 2 },
    });
  });

  it.each<[string, (cluster: Cluster) => unknown, Record<string, number>]>([
    ['a command', cluster => cluster.get('moved'), { GET: 1 }],
    ['a pipeline', cluster => cluster.pipeline().get('moved').get('moved').exec(), { GET: 2 }],
    ['a transaction', cluster => cluster.multi().set('moved', 1).get('moved').exec(), { SET: 1, GET: 1 }],
  ])('counts once what is redirected, and not as an error: %s', async (_what, work, commands) => {
    const cluster = open();
    await cluster.set('moved', 'x');
    const isRedirected = await misdirect(cluster, 'moved');
    let result: unknown;
    const cost = await commandsOf(async () => void (result = await work(cluster)));
    expect(cost).toEqual({ errors: 0, commands });
    expect(isRedirected()).toBe(true);
    expect(JSON.stringify(result)).not.toContain('MOVED');
  });

  it('counts a pipeline over several nodes as errors', async () => {
    const cluster = open();
    await cluster.get('a');
    const cost = await commandsOf(() => cluster.pipeline().get('a').get('b').exec());
    expect(cost).toEqual({ errors: 2, commands: { GET: 2 } });
  });

  it.each<[string, object]>([
    ['commands', {}],
    ['automatic pipelines', { enableAutoPipelining: true }],
  ])("keeps back what is too much, with onExceeded: 'throw': %s", async (_what, options) => {
    const app = await startApp({ instrumentations, onExceeded: 'throw', budget: { cache: 2 } });
    const cluster = open(options);
    await cluster.get('a');
    await app.app.get(ContextService).run({}, async () => {
      await Promise.all([cluster.get('a'), cluster.get('b')]);
      for (const call of [
        () => cluster.incr('kept'),
        () => cluster.pipeline().incr('kept').exec(),
        () => cluster.multi().incr('kept').exec(),
      ]) {
        await expect(call()).rejects.toBeInstanceOf(QueryBudgetExceededError);
      }
    });
    expect(await cluster.get('kept')).toBeNull();
    await app.close();
  });
});

describe.skipIf(!hasRedisBinary)('a cluster of three, with redis', () => {
  it('charges each of 20 requests at once', async () => {
    // Nodes are connected as they are needed: what that takes is charged to nobody.
    const cluster = await connect();
    const context = test.app.get(ContextService);
    let misplaced = 0;
    const records = await Promise.all(
      made.map(times =>
        recordOfUnit(test, async () => {
          const { requestId } = context;
          const check = (): void => void (misplaced += context.requestId === requestId ? 0 : 1);
          const all = keys.flatMap(key => Array.from({ length: times }, () => cluster.get(key).then(check)));
          await Promise.all(all);
          const multi = cluster.multi();
          for (let i = 0; i < times; i++) multi.get('a');
          await multi.exec().then(check);
          await cluster.multi().get('a').execAsPipeline().then(check);
        }),
      ),
    );
    expect(records.map(({ cache }) => cache!.count)).toEqual(made.map(times => 4 * times + 1));
    expect(records.map(({ cache }) => Object.keys(cache!.byTarget))).toEqual(made.map(() => ['GET']));
    expect(misplaced).toBe(0);
    cluster.destroy();
  });

  it('counts what is sent to several nodes as often as it is sent', async () => {
    const cluster = await connect();
    expect(await commandsOf(() => cluster.dbSize())).toEqual({ errors: 0, commands: { DBSIZE: 3 } });
    cluster.destroy();
  });

  it("keeps back what is too much, with onExceeded: 'throw'", async () => {
    const app = await startApp({ instrumentations, onExceeded: 'throw', budget: { cache: 1 } });
    const cluster = await connect();
    await app.app.get(ContextService).run({}, async () => {
      await cluster.get('a');
      await expect(cluster.incr('kept')).rejects.toBeInstanceOf(QueryBudgetExceededError);
      await expect(cluster.multi().incr('kept').exec()).rejects.toBeInstanceOf(QueryBudgetExceededError);
    });
    expect(await cluster.get('kept')).toBeNull();
    cluster.destroy();
    await app.close();
  });
});
