import { type CanActivate, Controller, Get, Injectable, Module, UseGuards } from '@nestjs/common';
import { type INestApplication } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  connect,
  type IncomingHttpHeaders,
} from 'node:http2';
import type { AddressInfo } from 'node:net';
import { createRequire } from 'node:module';
import {
  type AsyncContextOptions,
  AsyncContextModule,
  Concurrency,
  ProcessFigures,
  CostLimit,
  MemorySink,
  RequireUser,
} from 'nestjs-async-context';
import { afterEach, describe, expect, it } from 'vitest';
import { until } from '../support/platforms';
import { NotingStore } from './cost-limit/noting-store';

const { spin } = createRequire(__filename)('../support/blocking-work.cjs') as { spin(ms: number): number };

const limit = { burst: 10, restorePerSecond: 1e-9, estimate: 10, cost: { query: 1 } } as const;

/** Guards and handlers that wait to be let go. */
const waiting: (() => void)[] = [];
const pause = (): Promise<void> => new Promise(resolve => waiting.push(resolve));
const goOn = (): void => waiting.splice(0).forEach(resolve => resolve());
let running = 0;

@Injectable()
class SlowGuard implements CanActivate {
  async canActivate(): Promise<boolean> {
    await pause();
    return true;
  }
}

async function work(): Promise<string> {
  running += 1;
  await pause();
  running -= 1;
  return 'ok';
}

@Controller()
class Http2Controller {
  @Get('light')
  light() {
    return 'ok';
  }

  @Get('user')
  @RequireUser()
  user() {
    return 'ok';
  }

  @Get('cost')
  @CostLimit({ ...limit, by: 'ip', name: 'cost' })
  cost(): Promise<string> {
    return work();
  }

  @Get('late')
  @UseGuards(SlowGuard)
  @CostLimit({ ...limit, by: 'ip', name: 'late' })
  late() {
    return 'ok';
  }

  @Get('slots')
  @Concurrency({ limit: 1 })
  slots(): Promise<string> {
    return work();
  }

  @Get('queue')
  @Concurrency({ limit: 1, waitMs: 60_000 })
  queue(): Promise<string> {
    return work();
  }

  @Get('flaky')
  flaky() {
    throw new Error('of the application');
  }

  @Get('busy')
  busy() {
    spin(60);
    return 'ok';
  }
}

interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

interface Http2App {
  readonly app: INestApplication;
  readonly figures: ProcessFigures;
  readonly sink: MemorySink;
  readonly session: ClientHttp2Session;
  get(path: string): Promise<Answer>;
  open(path: string): ClientHttp2Stream;
}

const closing: (() => unknown)[] = [];
afterEach(async () => {
  goOn();
  for (const close of closing.splice(0).toReversed()) await close();
});

async function start(options: AsyncContextOptions = {}): Promise<Http2App> {
  const sink = new MemorySink();

  @Module({
    imports: [AsyncContextModule.forRoot({ ...options, sinks: [sink], sinkQueue: { intervalMs: 10 } })],
    controllers: [Http2Controller],
  })
  class AppModule {}

  running = 0;
  const app = await NestFactory.create(AppModule, new FastifyAdapter({ http2: true } as object), {
    logger: false,
  });
  await app.listen(0, '127.0.0.1');
  const { port } = app.getHttpServer().address() as AddressInfo;
  const session = connect(`http://127.0.0.1:${port}`);
  closing.push(
    () => app.close(),
    () => session.destroy(),
  );
  const open = (path: string): ClientHttp2Stream =>
    session.request({ ':path': `/${path}` }).on('error', () => undefined);
  return {
    app,
    figures: app.get(ProcessFigures),
    sink,
    session,
    open,
    get: path =>
      new Promise((resolve, reject) => {
        const stream = session.request({ ':path': `/${path}` });
        let body = '';
        let headers: IncomingHttpHeaders & { ':status'?: number } = {};
        stream.setEncoding('utf8');
        stream.on('response', given => (headers = given));
        stream.on('data', (chunk: string) => (body += chunk));
        stream.on('end', () => resolve({ status: headers[':status'] ?? 0, headers, body }));
        stream.on('error', reject);
      }),
  };
}

describe('guards over HTTP/2', () => {
  it('refuse who is nobody', async () => {
    const { get, sink } = await start();
    const { status, body } = await get('user');
    expect([status, JSON.parse(body)]).toMatchObject([401, { reason: 'no-user' }]);
    const [record] = await until(() => sink.records.length > 0 && sink.records, 'record');
    expect(record).toMatchObject({ refused: { by: 'user', reason: 'no-user' }, status: 401 });
  });

  it('refuse what costs too much, also on another stream of the connection', async () => {
    const store = new NotingStore();
    const { get } = await start({ guards: { costLimit: { store } } });
    const first = get('cost');
    await until(() => running === 1, 'handler');
    const second = await get('cost');
    expect([second.status, JSON.parse(second.body)]).toMatchObject([429, { reason: 'spent' }]);
    expect(Number(second.headers['retry-after'])).toBeGreaterThan(0);
    expect(second.headers['ratelimit']).toMatch(/^"cost";r=0/);
    goOn();
    const { status, headers } = await first;
    expect([status, headers['ratelimit-policy']]).toEqual([200, expect.stringContaining('"cost";q=10')]);
    expect(store.takes[0]?.key).toBe('cost|ip:127.0.0.1');
    // It has made no query, and gets all back.
    await until(() => store.sum('cost') === 0, 'settlement');
  });

  it('settle what a stream that is cancelled has cost', async () => {
    const store = new NotingStore();
    const { open, sink } = await start({ guards: { costLimit: { store } } });
    const stream = open('cost');
    await until(() => running === 1, 'handler');
    stream.close(8);
    await until(() => sink.records.length === 1, 'close');
    expect(store.sum('cost')).toBe(10);
    goOn();
    await until(() => store.sum('cost') === 0, 'settlement');
  });

  it.each(['a stream', 'a connection'])('limit %s that has left by its own address', async what => {
    const store = new NotingStore();
    const { open, session, sink } = await start({ guards: { costLimit: { store } } });
    const stream = open('late');
    await until(() => waiting.length === 1, 'guard');
    if (what === 'a stream') stream.close(8);
    else session.destroy();
    await until(() => sink.records.length === 1, 'close');
    goOn();
    await until(() => store.takes.length > 0, 'guard');
    expect(store.takes[0]?.key).toBe('late|ip:127.0.0.1');
  });

  it('hold a slot until the handler of a cancelled stream has ended', async () => {
    const { get, open, sink } = await start();
    const stream = open('slots');
    await until(() => running === 1, 'handler');
    stream.close(8);
    await until(() => sink.records.length === 1, 'close');
    const { status, body } = await get('slots');
    expect([status, JSON.parse(body)]).toMatchObject([503, { reason: 'busy' }]);
    goOn();
    await until(() => running === 0, 'end');
    const next = get('slots');
    await until(() => running === 1, 'handler');
    goOn();
    expect((await next).status).toBe(200);
  });

  it('let a stream that is cancelled give up its place', async () => {
    const { get, open, figures, sink } = await start();
    const first = get('queue');
    await until(() => running === 1, 'handler');
    const stream = open('queue');
    await get('light');
    const last = get('queue');
    stream.close(8);
    await until(() => figures.refusals.some(({ reason }) => reason === 'left'), 'the one that left');
    goOn();
    expect((await first).status).toBe(200);
    await until(() => running === 1, 'the last');
    goOn();
    expect((await last).status).toBe(200);
    await until(() => sink.records.length === 4, 'records');
  });

  it('close a route that fails', async () => {
    const { get } = await start({ guards: { breaker: { dryRun: false, minRequests: 3, openMs: 60_000 } } });
    for (let i = 0; i < 3; i += 1) expect((await get('flaky')).status).toBe(500);
    const { status, headers, body } = await get('flaky');
    expect([status, JSON.parse(body)]).toMatchObject([503, { reason: 'failures' }]);
    expect(Number(headers['retry-after'])).toBeGreaterThan(0);
    expect((await get('light')).status).toBe(200);
  });

  it('shed in front of the framework', async () => {
    const { get, figures, sink } = await start({
      overload: { targetDelayMs: 10, priority: ({ url }) => (url === '/busy' ? 'critical' : 'sheddable') },
    });
    const load = { goesOn: true };
    const busy = (async () => {
      while (load.goesOn) await Promise.all([get('busy'), get('busy'), get('busy')]);
    })();
    let shed: Answer | undefined;
    while (shed === undefined) {
      const answer = await get('light');
      if (answer.status === 503) shed = answer;
    }
    load.goesOn = false;
    await busy;
    expect(Number(shed.headers['retry-after'])).toBeGreaterThan(0);
    expect(shed.body).toBe('');
    expect(figures.refusals).toMatchObject([{ by: 'overload', handler: 'none' }]);
    expect(sink.records.every(({ status }) => status === 200)).toBe(true);
  });
});
