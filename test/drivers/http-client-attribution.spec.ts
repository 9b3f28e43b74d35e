import { Controller, Get, Injectable, Param, Query } from '@nestjs/common';
import { type AxiosInstance, create } from 'axios';
import http from 'node:http';
import * as undici from 'undici';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ContextService } from 'nestjs-async-context';
import { httpInstrumentation } from '../../lib/drivers/http/http-client.driver';
import { startHttpServer, type TestServer } from '../support/http-server';
import { type Platform, platforms, startApp, type TestApp } from '../support/platforms';

const REQUESTS = 20;
/** Each request has its own number of calls, so that one that changes hands is seen. */
const callsOf = (n: number): number => (n * 7) % 13;

type Send = (path: string) => Promise<unknown>;

let server: TestServer;
let test: TestApp;
let cleanUp: (() => Promise<unknown> | void)[] = [];

/** A singleton, as `HttpService` of `@nestjs/axios` is. */
@Injectable()
class HttpLikeService {
  readonly axios: AxiosInstance = create({ httpAgent: agentOfTwo() });
}

function agentOfTwo(): http.Agent {
  const agent = new http.Agent({ keepAlive: true, maxSockets: 2 });
  cleanUp.push(() => agent.destroy());
  return agent;
}

/** What a test opened; it is closed after it. */
function opened<T extends { destroy(): Promise<void> }>(dispatcher: T): T {
  cleanUp.push(() => dispatcher.destroy());
  return dispatcher;
}

/** Two connections each. Made before the application starts, so before anything is instrumented. */
function makeClients(): Record<string, Send> {
  const { redirect, retry } = undici.interceptors;
  const pool = opened(new undici.Pool(server.url, { connections: 2 }));
  const agent = opened(new undici.Agent({ connections: 2 }));
  const one = opened(new undici.Client(server.url));
  const balanced = opened(new undici.BalancedPool([server.url], { connections: 2 }));
  const inTurn = opened(new undici.RoundRobinPool(server.url, { connections: 2 }));
  const retrying = new undici.RetryAgent(opened(new undici.Agent({ connections: 2 })), { minTimeout: 1 });
  const composed = pool.compose(redirect({ maxRedirections: 2 }), retry({ minTimeout: 1 }));
  const nodeAgent = agentOfTwo();
  const read = async (dispatcher: undici.Dispatcher, path: string) =>
    (await dispatcher.request({ origin: server.url, path, method: 'GET' })).body.text();
  const fetched = async (path: string, dispatcher: undici.Dispatcher) =>
    (await fetch(server.url + path, { dispatcher } as never)).text();
  return {
    'node-http': path =>
      new Promise((resolve, reject) =>
        http
          .get(server.url + path, { agent: nodeAgent }, response => response.resume().on('end', resolve))
          .on('error', reject),
      ),
    'global-fetch': async path => (await fetch(server.url + path)).text(),
    'fetch-over-agent': path => fetched(path, agent),
    'undici-fetch': async path => (await undici.fetch(server.url + path, { dispatcher: agent })).text(),
    pool: path => read(pool, path),
    'pool-callback': path =>
      new Promise((resolve, reject) =>
        pool.request({ path, method: 'GET' }, (error, answer) =>
          error ? reject(error) : resolve(answer.body.text()),
        ),
      ),
    'pool-stream': async path => {
      const { Writable } = await import('node:stream');
      await pool.stream(
        { path, method: 'GET' },
        () => new Writable({ write: (_chunk, _as, done) => done() }),
      );
    },
    agent: path => read(agent, path),
    client: path => read(one, path),
    balanced: path => read(balanced, path),
    'round-robin': path => read(inTurn, path),
    composed: path => read(composed, path),
    'retry-agent': path => read(retrying, path),
  };
}

let clients: Record<string, Send>;

@Controller()
class WorkController {
  constructor(
    private readonly context: ContextService,
    private readonly service: HttpLikeService,
  ) {}

  @Get('work/:client')
  async work(
    @Param('client') client: string,
    @Query('calls') calls: string,
    @Query('path') path: string,
    @Query('parallel') parallel?: string,
  ) {
    const ask =
      client === 'axios' ? (to: string) => this.service.axios.get(server.url + to) : clients[client]!;
    const id = this.context.requestId;
    const send = (_: unknown, n: number) => ask(`${path}?id=${id}-${n}`);
    if (parallel === 'true') await Promise.all(Array.from({ length: Number(calls) }, send));
    else for (let n = 0; n < Number(calls); n++) await send(undefined, n);
    return id;
  }
}

async function start(platform: Platform = 'express'): Promise<void> {
  clients = makeClients();
  test = await startApp({
    platform,
    controllers: [WorkController],
    providers: [HttpLikeService],
    instrumentations: [httpInstrumentation()],
  });
}

/** Asks with another agent than the handlers, so that it takes none of their connections. */
const askApp = (path: string): Promise<string> =>
  new Promise((resolve, reject) =>
    http
      .get(`${test.url}/${path}`, { agent: false }, response => {
        let text = '';
        response.on('data', chunk => (text += chunk)).on('end', () => resolve(text));
      })
      .on('error', reject),
  );

/** Sends the requests at once and gives those whose calls are not as many as they made. */
async function misattributed(client: string, path: string, parallel: boolean, hops = 1): Promise<unknown[]> {
  const expected = new Map<string, number>();
  const first = test.sink.records.length;
  await Promise.all(
    Array.from({ length: REQUESTS }, async (_, n) => {
      const calls = callsOf(n);
      const id = await askApp(`work/${client}?calls=${calls}&path=${path}&parallel=${parallel}`);
      expected.set(id, calls * hops);
    }),
  );
  const records = (await test.records(first + REQUESTS)).slice(first);
  expect(expected.size).toBe(REQUESTS);
  return records
    .map(({ requestId, http: cost }) => [expected.get(requestId), cost?.count ?? 0])
    .filter(([should, is]) => should !== is);
}

beforeEach(async () => {
  server = await startHttpServer();
});
afterEach(async () => {
  await test.close();
  for (const close of cleanUp) await close();
  cleanUp = [];
  await server.close();
});

describe.each(platforms)('20 requests at once over 2 connections, on %s', platform => {
  it.each(['node-http', 'axios', 'pool', 'fetch-over-agent', 'global-fetch'])(
    'are each charged their own calls, by %s',
    async client => {
      await start(platform);
      for (const parallel of [false, true]) {
        expect(await misattributed(client, '/soon', parallel)).toEqual([]);
      }
    },
  );
});

describe('20 requests at once over 2 connections', () => {
  it.each([
    'undici-fetch',
    'pool-callback',
    'pool-stream',
    'agent',
    'client',
    'balanced',
    'round-robin',
    'composed',
    'retry-agent',
  ])('are each charged their own calls, by %s', async client => {
    await start();
    for (const parallel of [false, true]) {
      expect(await misattributed(client, '/soon', parallel)).toEqual([]);
    }
  });

  it.each([
    ['global-fetch', '/redirect'],
    ['fetch-over-agent', '/redirect'],
    ['undici-fetch', '/redirect'],
    ['axios', '/redirect'],
    ['composed', '/redirect'],
    ['composed', '/flaky'],
    ['retry-agent', '/flaky'],
  ])('are each charged both hops of their own calls, by %s to %s', async (client, path) => {
    await start();
    // The first round opens the connections; the second finds them open, by other requests.
    expect(await misattributed(client, path, true, 2)).toEqual([]);
    expect(await misattributed(client, path, false, 2)).toEqual([]);
  });

  it('are each charged their own calls where a global dispatcher of two connections is set', async () => {
    await start();
    const before = undici.getGlobalDispatcher();
    undici.setGlobalDispatcher(opened(new undici.Agent({ connections: 2 })));
    try {
      expect(await misattributed('global-fetch', '/soon', true)).toEqual([]);
      expect(await misattributed('global-fetch', '/redirect', true, 2)).toEqual([]);
    } finally {
      undici.setGlobalDispatcher(before);
    }
  });

  it('are each charged their failed calls: the server breaks every connection', async () => {
    await start();
    const context = test.app.get(ContextService);
    const failed: unknown[] = [];
    await Promise.all(
      Array.from({ length: REQUESTS }, (_, n) =>
        context.run({ requestId: `broken-${n}` }, () =>
          Promise.all(
            Array.from({ length: n }, (_none, i) =>
              (i % 2 === 0 ? clients['pool']! : clients['node-http']!)('/reset').catch(error =>
                failed.push(error),
              ),
            ),
          ),
        ),
      ),
    );
    expect(failed).toHaveLength(190);
    const records = await test.records(REQUESTS);
    for (const { requestId, http: cost } of records) {
      const calls = Number(requestId.slice('broken-'.length));
      expect([requestId, cost?.count ?? 0, cost?.errors ?? 0]).toEqual([requestId, calls, calls]);
    }
  });
});

describe('what waits for a connection', () => {
  it('stays apart where it was put apart, and goes on uncounted where it was', async () => {
    await start();
    const context = test.app.get(ContextService);
    const ask = (n: number) => clients['pool']!(`/soon?id=${n}`);
    await context.run({ requestId: 'both' }, () =>
      Promise.all([
        ...Array.from({ length: 10 }, (_, n) => ask(n)),
        context.uncounted('a probe', () => Promise.all(Array.from({ length: 6 }, (_, n) => ask(n)))),
        ...Array.from({ length: 4 }, (_, n) => ask(n)),
      ]),
    );
    const [record] = await test.records(1);
    expect(record!.http!.count).toBe(14);
    expect(record!.uncounted).toMatchObject([{ reason: 'a probe', http: 6 }]);
  });

  it('is charged to nobody when it was sent outside of any unit of work', async () => {
    await start();
    const context = test.app.get(ContextService);
    const background: Promise<unknown>[] = [];
    for (let n = 0; n < 6; n++) background.push(clients['composed']!(`/flaky?id=background-${n}`));
    const inside = context.run({ requestId: 'inside' }, () =>
      Promise.all(Array.from({ length: 3 }, (_, n) => clients['composed']!(`/flaky?id=inside-${n}`))),
    );
    await Promise.all([...background, inside]);
    const [record] = await test.records(1);
    expect(record!.http!.count).toBe(6);
  });

  it('calls the handler of a raw dispatch in the context of who asked', async () => {
    await start();
    const context = test.app.get(ContextService);
    const pool = opened(new undici.Pool(server.url, { connections: 1 }));
    const seen: (string | undefined)[][] = [];
    const dispatch = (requestId: string) =>
      context.run(
        { requestId },
        () =>
          new Promise<void>((resolve, reject) => {
            const ids: (string | undefined)[] = [];
            const see = (): void => void ids.push(context.requestId);
            seen.push(ids);
            pool.dispatch(
              { path: '/ok', method: 'GET' },
              {
                onRequestStart: see,
                onResponseStart: see,
                onResponseData: see,
                onResponseEnd: () => {
                  see();
                  resolve();
                },
                onResponseError: (_controller, error) => reject(error),
              },
            );
          }),
      );
    await Promise.all(['a', 'b', 'c'].map(dispatch));
    expect(seen).toEqual(['a', 'b', 'c'].map(id => [id, id, id, id]));
  });

  it('calls what listens to a body in the context of who asked', async () => {
    await start();
    const context = test.app.get(ContextService);
    const pool = opened(new undici.Pool(server.url, { connections: 1 }));
    const ask = (requestId: string) =>
      context.run({ requestId }, async () => {
        const { body } = await pool.request({ path: '/slow-body', method: 'GET' });
        const ids: (string | undefined)[] = [];
        const see = (): void => void ids.push(context.requestId);
        await new Promise<void>(resolve => {
          body.on('data', see).on('end', () => {
            see();
            resolve();
          });
        });
        return new Set(ids);
      });
    expect(await Promise.all(['a', 'b', 'c'].map(ask))).toEqual(['a', 'b', 'c'].map(id => new Set([id])));
  });
});
