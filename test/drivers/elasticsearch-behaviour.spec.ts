import { Client as ModuleClient } from '@elastic/elasticsearch';
import { Controller, Get, Query } from '@nestjs/common';
import type { EventEmitter } from 'node:events';
import { createRequire } from 'node:module';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { ContextService } from 'nestjs-async-context';
import { elasticsearchInstrumentation } from '../../lib/drivers/elasticsearch/elasticsearch.driver';
import { httpInstrumentation } from '../../lib/drivers/http/http-client.driver';
import { type ElasticsearchServer, startElasticsearch } from '../support/elasticsearch-server';
import { platforms, startApp, type TestApp } from '../support/platforms';

const load = createRequire(import.meta.url);
const commonJs = load('@elastic/elasticsearch') as { Client: typeof ModuleClient };
const builds = { 'ES module': ModuleClient, CommonJS: commonJs.Client };
const orders = `orders-${process.pid}`;

/** Both builds of what is replaced. */
const prototypes = ['esm/sniffingTransport.js', 'lib/sniffingTransport.js']
  .map(file => load(`${process.cwd()}/node_modules/@elastic/elasticsearch/${file}`) as { default: object })
  .map(({ default: Sniffing }) => (Object.getPrototypeOf(Sniffing) as { prototype: object }).prototype)
  .concat(
    ['esm', 'lib'].map(
      build =>
        (
          load(
            `${process.cwd()}/node_modules/@elastic/transport/${build}/middleware/MiddlewareEngine.js`,
          ) as {
            MiddlewareEngine: { prototype: object };
          }
        ).MiddlewareEngine.prototype,
    ),
  );
const facts = () => prototypes.map(prototype => Object.getOwnPropertyDescriptors(prototype));
const bareFacts = facts();

let server: ElasticsearchServer;
let client: ModuleClient;
let opened: TestApp[] = [];

async function open(options: Parameters<typeof startApp>[0] = {}): Promise<TestApp> {
  const test = await startApp({
    instrumentations: [elasticsearchInstrumentation(), httpInstrumentation()],
    ...options,
  });
  opened.push(test);
  return test;
}

beforeAll(async () => {
  server = await startElasticsearch();
  client = new ModuleClient({ node: server.url });
  for (let n = 1; n <= 3; n++) await client.index({ index: orders, id: String(n), document: { n } });
});
afterAll(async () => {
  await client.close();
  await server.close();
});
afterEach(async () => {
  await Promise.all(opened.map(test => test.close()));
  opened = [];
});

@Controller()
class WorkController {
  static client: ModuleClient;
  constructor(private readonly context: ContextService) {}

  @Get('work')
  async work(@Query('calls') calls: string) {
    const send = () => WorkController.client.search({ index: orders });
    await Promise.all(Array.from({ length: Number(calls) }, send));
    for (let n = 0; n < Number(calls); n++) await send();
    return this.context.requestId;
  }
}

describe.each(platforms)('20 requests at once over 2 connections, on %s', platform => {
  it.each([
    ['ES module', ModuleClient],
    ['CommonJS', commonJs.Client],
  ] as const)('are each charged their own searches, by the %s build', async (_build, Client) => {
    WorkController.client = new Client({ node: server.url, agent: { connections: 2 } });
    const test = await open({ platform, controllers: [WorkController] });
    const expected = new Map<string, number>();
    await Promise.all(
      Array.from({ length: 20 }, async (_, n) => {
        const calls = (n * 7) % 13;
        expected.set(await (await fetch(`${test.url}/work?calls=${calls}`)).text(), 2 * calls);
      }),
    );
    for (const { requestId, queries, http } of await test.records(20)) {
      expect([queries.count, queries.rows, http]).toEqual([
        expected.get(requestId),
        3 * expected.get(requestId)!,
        undefined,
      ]);
    }
    await WorkController.client.close();
  });
});

/** A promise as what it settles with. */
const settled = (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    value => ['resolved', value],
    (error: Error & { meta?: { statusCode?: number; body?: unknown } }) => [
      'rejected',
      error.constructor.name,
      error.message,
      error.meta?.statusCode,
      error.meta?.body,
    ],
  );

const shapes: Record<string, (one: ModuleClient) => Promise<unknown>> = {
  'a promise': one => settled(one.search({ index: orders })),
  'its meta': async one => {
    const { body, statusCode, headers, meta } = await one.search({ index: orders }, { meta: true });
    return [body, statusCode, Object.keys(headers).toSorted(), meta.request.options, meta.attempts];
  },
  'a HEAD': async one => [
    await one.exists({ index: orders, id: '1' }),
    await one.exists({ index: orders, id: 'x' }),
  ],
  'an error': one => settled(one.get({ index: orders, id: 'none' })),
  'an error that is ignored': one => settled(one.get({ index: orders, id: 'none' }, { ignore: [404] })),
  'a stream': async one => {
    const stream = await one.search({ index: orders }, { asStream: true });
    let text = '';
    for await (const chunk of stream as unknown as AsyncIterable<Buffer>) text += String(chunk);
    return text;
  },
  'an abort': one =>
    settled(one.search({ index: 'slow-a' }, { signal: AbortSignal.timeout(20), maxRetries: 0 })),
  'a timeout': one => settled(one.search({ index: 'slow-a' }, { requestTimeout: 20, maxRetries: 0 })),
  'the transport, with parameters that are frozen': one =>
    settled(one.transport.request(Object.freeze({ method: 'GET', path: `/${orders}/_count` }))),
  'arguments that are wrong': async one => [
    await settled(one.transport.request(undefined as never)),
    await settled(one.transport.request({} as never, { maxRetries: 0 })),
    await settled(one.get(undefined as never)),
  ],
  'its diagnostic events': async one => {
    const events: unknown[] = [];
    const diagnostic = one.diagnostic as unknown as EventEmitter;
    for (const name of ['serialization', 'request', 'deserialization', 'response']) {
      diagnostic.on(
        name,
        (error: unknown, result?: { meta?: { request: { options: unknown; params: object } } }) =>
          events.push([
            name,
            error,
            result?.meta?.request.options,
            Object.keys(result?.meta?.request.params ?? {}),
          ]),
      );
    }
    await one.search({ index: orders });
    return events;
  },
  'a middleware and a serializer of its own': async one => {
    const seen: unknown[] = [];
    const { serializer } = one as unknown as { serializer: { deserialize(text: string): unknown } };
    const { deserialize } = serializer;
    serializer.deserialize = function (this: unknown, text) {
      seen.push(this === serializer, text.length);
      return deserialize.call(serializer, text);
    };
    return [await settled(one.search({ index: orders })), seen];
  },
};

describe.each(Object.entries(builds))('a request of the %s build that is counted', (_build, Client) => {
  it.each(Object.keys(shapes))('behaves as one that is not: %s', async name => {
    const run = async (): Promise<unknown> => {
      const one = new Client({ node: server.url });
      try {
        return await shapes[name]!(one);
      } finally {
        await one.close();
      }
    };
    const bare = await run();
    const context = (await open()).app.get(ContextService);
    const [result, counted] = await context.run({}, async () => [await run(), context.cost!.queries]);
    expect(result).toEqual(bare);
    if (name !== 'arguments that are wrong') expect(counted).toBeGreaterThan(0);
  });
});

describe('the instrumentation of Elasticsearch', () => {
  const countOf = (test: TestApp): Promise<number | undefined> => {
    const context = test.app.get(ContextService);
    return context.run({}, async () => {
      await client.search({ index: orders });
      return context.cost?.queries;
    });
  };

  it('is there while an application runs, and gone after the last of two', async () => {
    const [one, two] = [await open(), await open()];
    expect(facts()).not.toEqual(bareFacts);
    expect([await countOf(one), await countOf(two)]).toEqual([1, 1]);
    await one.close();
    expect(await countOf(two)).toBe(1);
    await two.close();
    opened = [];
    expect(facts()).toEqual(bareFacts);
    expect((await client.search({ index: orders })).hits.hits).toHaveLength(3);
  });

  it('counts once where somebody else has wrapped it, before it and after it', async () => {
    const transport = prototypes[0] as { request: (...args: unknown[]) => unknown };
    const { request: bare } = transport;
    let theirs = 0;
    const wrap = (inner: typeof bare): typeof bare =>
      function (this: unknown, ...args) {
        theirs += 1;
        return inner.apply(this, args);
      };
    transport.request = wrap(bare);
    const test = await open();
    expect(await countOf(test)).toBe(1);
    const { request: ours } = transport;
    transport.request = wrap(ours);
    expect(await countOf(test)).toBe(1);
    expect(theirs).toBe(3);
    transport.request = ours;
    await test.close();
    opened = [];
    Object.defineProperty(transport, 'request', bareFacts[0]!['request']!);
    expect(facts()).toEqual(bareFacts);
  });

  it('rejects with the error of a budget that is exceeded, and sends nothing', async () => {
    const test = await open({ budget: 1, onExceeded: 'throw' });
    const before = server.asked();
    const context = test.app.get(ContextService);
    await context.run({ handler: 'Probe.run' }, async () => {
      await client.search({ index: orders });
      const second = client.search({ index: orders });
      await expect(second).rejects.toMatchObject({ name: 'QueryBudgetExceededError' });
    });
    expect(server.asked() - before).toBe(1);
  });

  it('leaves an error that nobody handles unhandled', async () => {
    const test = await open();
    const unhandled = new Promise(resolve => {
      const others = process.listeners('unhandledRejection');
      process.removeAllListeners('unhandledRejection');
      process.once('unhandledRejection', reason => {
        for (const other of others) process.on('unhandledRejection', other);
        resolve(reason);
      });
    });
    test.app.get(ContextService).run({}, () => void client.get({ index: orders, id: 'none' }));
    expect(await unhandled).toMatchObject({ name: 'ResponseError', statusCode: 404 });
  });

  it('charges the queries in flight to their own requests when the server goes away', async () => {
    const test = await open();
    const context = test.app.get(ContextService);
    const other = await startElasticsearch();
    const lost = new ModuleClient({ node: other.url, maxRetries: 0, agent: { connections: 2 } });
    const work = Array.from({ length: 10 }, (_, n) =>
      context.run({ requestId: `lost-${n}` }, () =>
        Promise.allSettled(Array.from({ length: n }, () => lost.search({ index: 'slow-a' }))),
      ),
    );
    setTimeout(() => void other.close(), 30);
    await Promise.all(work);
    for (const { requestId, queries } of await test.records(10)) {
      const calls = Number(requestId.slice('lost-'.length));
      expect([requestId, queries.count, queries.errors]).toEqual([requestId, calls, calls]);
    }
    await lost.close();
  });

  it('does not count what the client asks for itself', async () => {
    const sniffing = new ModuleClient({ node: server.url, sniffInterval: 1 });
    sniffing.diagnostic.on('sniff', () => undefined);
    await new Promise(resolve => setTimeout(resolve, 5));
    const context = (await open()).app.get(ContextService);
    const before = server.asked();
    const counted = await context.run({}, async () => {
      await sniffing.search({ index: orders });
      await new Promise(resolve => setTimeout(resolve, 50));
      return [context.cost?.queries, context.cost?.http];
    });
    expect(server.asked() - before).toBeGreaterThan(1);
    expect(counted).toEqual([1, 0]);
    await sniffing.close();
  });
});
