import { Controller, Get } from '@nestjs/common';
import { create } from 'axios';
import http from 'node:http';
import * as undici from 'undici';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { ContextService } from 'nestjs-async-context';
import { type HeaderServer, startHeaderServer } from '../../support/header-server';
import { platforms, startApp, type TestApp, type TestAppOptions } from '../../support/platforms';

const TRACEPARENT = /^00-([0-9a-f]{32})-([0-9a-f]{16})-03$/;
const OURS = ['traceparent', 'tracestate', 'x-request-id', 'baggage'];

type Headers = Record<string, string>;
type Send = (url: string, headers?: Headers) => Promise<unknown>;

let server: HeaderServer;
const clean: (() => unknown)[] = [];

function nodeHttp(url: string, options: http.RequestOptions = {}): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const request = http.request(url, options, response => response.resume().on('end', resolve));
    request.on('continue', () => request.end()).on('error', reject);
    if (!('Expect' in (options.headers ?? {}))) request.end();
  });
}

const read = async (answer: Promise<undici.Dispatcher.ResponseData>) => (await answer).body.text();

/** How a request may be sent, with headers of the application's own in each form that the client takes. */
const CLIENTS: Record<string, Send> = {
  fetch: async (url, headers = {}) => (await fetch(url, { headers })).text(),
  'fetch with Headers': async (url, headers = {}) =>
    (await fetch(url, { headers: new Headers(headers) })).text(),
  'fetch of undici': async (url, headers = {}) => (await undici.fetch(url, { headers })).text(),
  'undici.request': (url, headers = {}) => read(undici.request(url, { headers })),
  'undici.request with a list': (url, headers = {}) =>
    read(undici.request(url, { headers: Object.entries(headers).flat() })),
  'undici.request with an iterable': (url, headers = {}) =>
    read(undici.request(url, { headers: new Map(Object.entries(headers)) as never })),
  'http.request': (url, headers = {}) => nodeHttp(url, { headers }),
  'http.request without an agent': (url, headers = {}) => nodeHttp(url, { headers, agent: false }),
  'http.request with a list': (url, headers = {}) =>
    nodeHttp(url, { headers: ['host', new URL(url).host, ...Object.entries(headers).flat()] as never }),
  axios: (url, headers = {}) => create().get(url, { headers }),
};

beforeAll(async () => {
  server = await startHeaderServer();
});
afterAll(() => server.close());
afterEach(async () => {
  for (const close of clean.splice(0).toReversed()) await close();
});

async function start(options: TestAppOptions = {}): Promise<TestApp & { context: ContextService }> {
  const test = await startApp({ propagate: { hosts: ['127.0.0.1'] }, ...options });
  clean.push(() => test.close());
  return Object.assign(test, { context: test.app.get(ContextService) });
}

let paths = 0;
const newPath = (): string => `/p${(paths += 1)}`;

describe.each(Object.keys(CLIENTS))('a request by %s', name => {
  const send = CLIENTS[name]!;
  let test: Awaited<ReturnType<typeof start>>;
  let path: string;
  // Without any counting: propagation stands on its own.
  beforeEach(async () => {
    test = await start({ instrumentations: [] });
    path = newPath();
  });

  it('goes on with the trace and the request id', async () => {
    const trace = await test.context.run({ requestId: 'r-1' }, async () => {
      await send(server.url + path);
      return { traceId: test.context.traceId, spanId: test.context.spanId };
    });
    const seen = server.at(path);
    const [, traceId, callId] = TRACEPARENT.exec(seen.headers['traceparent'] as string)!;
    expect(traceId).toBe(trace.traceId);
    expect(callId).not.toBe(trace.spanId);
    expect(seen.headers).toMatchObject({
      tracestate: `nac=${trace.spanId}.${callId}`,
      'x-request-id': 'r-1',
    });
    for (const header of OURS.slice(0, 3)) expect(seen.times(header)).toBe(1);
  });

  it('tells nothing to a host that is not listed, nor outside of any unit of work', async () => {
    await test.context.run({}, () => send(server.otherUrl + path));
    for (const header of OURS) expect(server.at(path).headers).not.toHaveProperty(header);
    const outside = newPath();
    await send(server.url + outside);
    for (const header of OURS) expect(server.at(outside).headers).not.toHaveProperty(header);
  });

  it('keeps what the application has set, in any case', async () => {
    const own = {
      TraceParent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00',
      'X-REQUEST-ID': 'own',
      Baggage: 'own=1',
    };
    await test.context.run({ requestId: 'r-1' }, () => send(server.url + path, own));
    const seen = server.at(path);
    expect(seen.headers).toMatchObject({
      traceparent: own.TraceParent,
      'x-request-id': 'own',
      baggage: 'own=1',
    });
    // That of another trace would be wrong beside it.
    expect(seen.headers).not.toHaveProperty('tracestate');
    for (const header of ['traceparent', 'x-request-id', 'baggage']) expect(seen.times(header)).toBe(1);
  });

  it('names the request that waited, when many share few connections', async () => {
    const agent = new http.Agent({ maxSockets: 2, keepAlive: true });
    const pool = new undici.Pool(server.url, { connections: 2 });
    clean.push(
      () => agent.destroy(),
      () => pool.destroy(),
    );
    const slow = async (at: string): Promise<unknown> => {
      if (name === 'fetch of undici')
        return (await undici.fetch(server.url + at, { dispatcher: pool })).text();
      if (name.startsWith('undici')) return read(pool.request({ path: at, method: 'GET' }));
      if (name.startsWith('http')) return nodeHttp(server.url + at, { agent });
      return send(server.url + at);
    };
    const ids = Array.from({ length: 12 }, (_, i) => `r-${i}`);
    await Promise.all(ids.map(id => test.context.run({ requestId: id }, () => slow(`/slow${path}-${id}`))));
    const told = ids.map(id => server.at(`/slow${path}-${id}`).headers['x-request-id']);
    expect(told).toEqual(ids);
  });
});

describe('a request by http.request that expects to continue', () => {
  it('is sent as it is: its head is with the socket already', async () => {
    const test = await start();
    const path = newPath();
    await test.context.run({}, () =>
      nodeHttp(server.url + path, { method: 'POST', headers: { Expect: '100-continue' } }),
    );
    expect(server.at(path).headers).not.toHaveProperty('traceparent');
  });
});

describe('a host that only looks like a listed one', () => {
  it.each(['127.0.0.1#.localhost', '127.0.0.1/.localhost', 'x@127.0.0.1', '127.0.0.1?.localhost'])(
    'is not told: %s',
    async host => {
      const test = await start();
      const path = newPath();
      // As a DNS server might answer it.
      const lookup = (_: string, options: { all?: boolean }, done: (...args: unknown[]) => void): void =>
        options.all === true ? done(null, [{ address: '127.0.0.1', family: 4 }]) : done(null, '127.0.0.1', 4);
      await test.context.run({}, () =>
        nodeHttp(server.url, { hostname: host, port: server.port, path, lookup: lookup as never }),
      );
      expect(server.at(path).headers).not.toHaveProperty('traceparent');
    },
  );

  it('is one on its port alone, where the application says another one in its Host header', async () => {
    const test = await start({ propagate: { hosts: ['127.0.0.1:8080'] } });
    const path = newPath();
    const headers = { host: 'other:8080' };
    await test.context.run({}, () => nodeHttp(server.url + path, { headers }));
    expect(server.at(path).headers).not.toHaveProperty('traceparent');
  });
});

describe('each hop of a redirect', () => {
  const { redirect, retry } = undici.interceptors;
  const HOPS: Record<string, Send> = {
    fetch: CLIENTS['fetch']!,
    'fetch of undici': CLIENTS['fetch of undici']!,
    axios: CLIENTS['axios']!,
    'the redirect interceptor of undici': async url => {
      const agent = new undici.Agent().compose(redirect({ maxRedirections: 2 }), retry());
      clean.push(() => agent.destroy());
      return read(undici.request(url, { dispatcher: agent }));
    },
    'the RetryAgent of undici': async url => {
      const agent = new undici.RetryAgent(new undici.Agent().compose(redirect({ maxRedirections: 2 })));
      clean.push(() => agent.destroy());
      return read(undici.request(url, { dispatcher: agent }));
    },
  };

  it.each(Object.keys(HOPS))('is judged by its own host: %s', async name => {
    const test = await start({ instrumentations: [] });
    const back = newPath();
    // Listed, then not listed, then listed.
    const last = `${server.otherUrl}/to?${server.url}${back}`;
    await test.context.run({ requestId: 'r-1' }, () => HOPS[name]!(`${server.url}/to?${last}`));
    const [first, second] = [server.at(`/to?${last}`), server.at(`/to?${server.url}${back}`)];
    expect(first.headers).toMatchObject({ 'x-request-id': 'r-1' });
    for (const header of OURS) expect(second.headers).not.toHaveProperty(header);
    const third = server.at(back);
    expect(third.headers).toMatchObject({ 'x-request-id': 'r-1' });
    expect(third.headers['traceparent']).toMatch(TRACEPARENT);
    // A request of its own, so a span of its own.
    expect(third.headers['traceparent']).not.toBe(first.headers['traceparent']);
  });
});

describe('a proxy', () => {
  it('is told nothing when it opens a tunnel, and the host behind it is told', async () => {
    const test = await start();
    const proxy = new undici.ProxyAgent({ uri: server.otherUrl, proxyTunnel: true });
    clean.push(() => proxy.destroy());
    const path = newPath();
    await test.context.run({ requestId: 'r-1' }, () =>
      read(undici.request(server.url + path, { dispatcher: proxy })),
    );
    expect(server.at(path).headers).toMatchObject({ 'x-request-id': 'r-1' });
  });

  const ASKS: Record<string, (proxy: string, address: string) => Promise<unknown>> = {
    'http.request': (proxy, address) =>
      nodeHttp(`${proxy}/`, { path: address, headers: { host: new URL(address).host } }),
    undici: (proxy, address) => {
      const dispatcher = new undici.ProxyAgent({ uri: proxy, proxyTunnel: false });
      clean.push(() => dispatcher.destroy());
      return read(undici.request(address, { dispatcher }));
    },
  };

  it.each(Object.keys(ASKS))(
    'that is asked with the whole address must be listed, and the host behind it, too: %s',
    async name => {
      const told = async (hosts: string[]): Promise<boolean> => {
        const test = await start({ propagate: { hosts } });
        const address = `http://api.internal${newPath()}`;
        await test.context.run({}, () => ASKS[name]!(server.url, address));
        return 'traceparent' in server.at(address).headers;
      };
      expect(await told(['127.0.0.1'])).toBe(false);
      expect(await told(['api.internal'])).toBe(false);
      expect(await told(['127.0.0.1', 'api.internal'])).toBe(true);
    },
  );
});

describe.each(platforms)('a handler on %s that asks another service', platform => {
  @Controller()
  class Orders {
    constructor(private readonly context: ContextService) {}

    @Get('orders')
    async orders() {
      await fetch(`${server.url}${path}`);
      return { id: this.context.requestId, traceId: this.context.traceId };
    }
  }
  let path: string;

  it('passes on the trace that came in, and its request id in the configured header', async () => {
    path = newPath();
    const test = await start({
      requestId: { header: 'X-Correlation-Id', trust: true },
      platform,
      controllers: [Orders],
    });
    const response = await fetch(`${test.url}/orders`, {
      headers: {
        'x-correlation-id': 'from-the-edge',
        traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00',
      },
    });
    expect(await response.json()).toMatchObject({ id: 'from-the-edge' });
    const { headers } = server.at(path);
    expect(headers['x-correlation-id']).toBe('from-the-edge');
    expect(headers).not.toHaveProperty('x-request-id');
    // Its flags as well: the caller has said that it does not sample.
    expect(headers['traceparent']).toMatch(/^00-0af7651916cd43dd8448eb211c80319c-[0-9a-f]{16}-00$/);
  });
});

describe('applications of one process', () => {
  it('have hosts of their own, and what is installed goes with the last', async () => {
    const one = await start({ instrumentations: [], propagate: { hosts: ['127.0.0.1'] } });
    const two = await start({ instrumentations: [], propagate: { hosts: ['localhost'] } });
    const none = await start({ propagate: {} });
    const told = async (context: ContextService): Promise<boolean[]> => {
      const [at, other] = [newPath(), newPath()];
      await context.run({}, async () => {
        await fetch(server.url + at);
        await nodeHttp(server.otherUrl + other);
      });
      return [at, other].map(path => 'traceparent' in server.at(path).headers);
    };
    expect(await told(one.context)).toEqual([true, false]);
    expect(await told(two.context)).toEqual([false, true]);
    expect(await told(none.context)).toEqual([false, false]);
    await one.close();
    expect(await told(one.context)).toEqual([false, false]);
    expect(await told(two.context)).toEqual([false, true]);
    await two.close();
    expect(await told(two.context)).toEqual([false, false]);
  });

  it('leaves node:http and undici as they were', async () => {
    const { createRequire } = await import('node:module');
    const load = createRequire(import.meta.url);
    const targets = [
      http.Agent.prototype,
      (load('undici/lib/core/request.js') as { prototype: object }).prototype,
      (load('undici/lib/dispatcher/dispatcher-base.js') as { prototype: object }).prototype,
    ];
    const { channel } = await import('node:diagnostics_channel');
    const facts = (): unknown => [
      targets.map(target => Object.getOwnPropertyDescriptors(target)),
      ['undici:request:create', 'http.client.request.created'].map(name => channel(name).hasSubscribers),
    ];
    const bare = facts();
    // Whoever installs first, and whoever leaves first.
    for (const order of [
      [0, 1],
      [1, 0],
    ] as const) {
      const counting = await startApp({});
      const propagating = await startApp({ instrumentations: [], propagate: { hosts: ['127.0.0.1'] } });
      expect(facts()).not.toEqual(bare);
      const both = [counting, propagating];
      for (const i of order) {
        await both[i]!.close();
        if (i === order[0] && i === 0) {
          const path = newPath();
          const { context } = Object.assign(propagating, { context: propagating.app.get(ContextService) });
          await context.run({}, () => nodeHttp(server.url + path));
          expect(server.at(path).headers).toHaveProperty('traceparent');
        }
      }
      expect(facts()).toEqual(bare);
    }
  });
});

describe('a trace that begins here', () => {
  const flagsOf = async (sampled: number | undefined): Promise<Set<string>> => {
    const test = await start({
      propagate: { hosts: ['127.0.0.1'], ...(sampled !== undefined && { sampled }) },
    });
    const seen = new Set<string>();
    for (let i = 0; i < 40; i += 1) {
      const path = newPath();
      await test.context.run({}, () => nodeHttp(server.url + path));
      seen.add(String(server.at(path).headers['traceparent']).slice(-2));
    }
    return seen;
  };

  it('is flagged as sampled, or a share of them is', async () => {
    expect(await flagsOf(undefined)).toEqual(new Set(['03']));
    expect(await flagsOf(0)).toEqual(new Set(['02']));
    expect(await flagsOf(0.5)).toEqual(new Set(['02', '03']));
  });
});
