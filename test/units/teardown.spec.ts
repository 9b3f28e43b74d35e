import { Controller, Get, type MessageEvent, Post, Req, Res, Sse } from '@nestjs/common';
import { WsAdapter } from '@nestjs/platform-ws';
import { SubscribeMessage, WebSocketGateway } from '@nestjs/websockets';
import type { FastifyInstance } from 'fastify';
import { once } from 'node:events';
import { connect } from 'node:net';
import { pinoHttp } from 'pino-http';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { pipeline, Readable, Writable } from 'node:stream';
import { finalize, interval, map, type Observable } from 'rxjs';
import { afterEach, describe, expect, it } from 'vitest';
import { WebSocket } from 'ws';
import { ContextService } from 'nestjs-async-context';
import { type Platform, platforms, startApp, type TestApp, until } from '../support/platforms';

type AnyRequest = IncomingMessage & { readonly raw?: IncomingMessage };
type AnyResponse = ServerResponse & { readonly raw?: ServerResponse; hijack?(): void };

let test: TestApp;
afterEach(() => test?.close());

/** Where something ran, and the id that was seen there. */
let trail: [place: string, requestId: string | undefined][] = [];
let context: ContextService;
const pass = (place: string): void => void trail.push([place, context.requestId]);
/** What was removed again must not be heard of. */
const removed = (): void => pass('removed');

function slowly(): Readable {
  return new Readable({
    read() {
      setTimeout(() => this.push(Buffer.alloc(1_024)), 2);
    },
  });
}

@Controller()
class TeardownController {
  @Sse('events')
  events(): Observable<MessageEvent> {
    return interval(2).pipe(
      map(n => ({ data: { n } })),
      finalize(() => pass('finalize')),
    );
  }

  @Get('piped')
  piped(@Req() request: AnyRequest, @Res() response: AnyResponse): void {
    response.hijack?.();
    const [req, res] = [request.raw ?? request, response.raw ?? response];
    res.on('close', () => pass('close of the response'));
    res.once('close', () => pass('once'));
    req.on('close', () => pass('close of the request'));
    req.on('aborted', () => pass('aborted'));
    res.on('close', removed).off('close', removed);
    req.once('close', removed).removeListener('close', removed);
    expect(res.listeners('close')).not.toContain(removed);
    pipeline(slowly(), res, () => pass('pipeline'));
  }

  @Post('body')
  body(@Req() request: AnyRequest, @Res() response: AnyResponse): void {
    response.hijack?.();
    const [req, res] = [request.raw ?? request, response.raw ?? response];
    req.on('data', () => pass('data'));
    req.on('end', () => {
      pass('end');
      res.end('read');
    });
  }

  @Post('streamed')
  streamed(@Req() request: AnyRequest, @Res() response: AnyResponse): void {
    response.hijack?.();
    const [req, res] = [request.raw ?? request, response.raw ?? response];
    const sink = new Writable({
      write(_chunk, _encoding, done) {
        pass('write');
        setImmediate(done);
      },
    });
    pipeline(req, sink, () => {
      pass('pipeline');
      res.end('read');
    });
  }
}

@WebSocketGateway()
class StreamGateway {
  @SubscribeMessage('watch')
  watch(): Observable<unknown> {
    return interval(2).pipe(
      map(n => ({ event: context.requestId!, data: n })),
      finalize(() => pass('finalize')),
    );
  }
}

async function start(platform: Platform): Promise<void> {
  trail = [];
  test = await startApp({
    platform,
    controllers: [TeardownController],
    requestId: { trust: true },
    configure: app => {
      context = app.get(ContextService);
      if (platform === 'express') return;
      const fastify = app.getHttpAdapter().getInstance() as unknown as FastifyInstance;
      fastify.addHook('onRequestAbort', async _request => pass('onRequestAbort'));
      fastify.addContentTypeParser('text/stream', (_request, _payload, done) => done(null));
    },
  });
}

/** Leaves after the first bytes of the answer. */
function leave(path: string, id: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const { hostname, port } = new URL(test.url);
    const socket = connect(Number(port), hostname, () =>
      socket.write(`GET /${path} HTTP/1.1\r\nhost: test\r\nx-request-id: ${id}\r\n\r\n`),
    );
    socket.once('data', () => socket.destroy());
    socket.on('close', () => resolve()).on('error', reject);
  });
}

describe.each(platforms)('on %s', platform => {
  it('what ends with a client that leaves runs in the context of its request', async () => {
    await start(platform);
    await leave('events', 'sse-1');
    await until(() => trail.some(([place]) => place === 'finalize'), 'finalize()');
    await leave('piped', 'piped-1');
    const wanted = ['close of the response', 'once', 'close of the request', 'aborted', 'pipeline'];
    await until(() => wanted.every(place => trail.some(([name]) => name === place)), 'all listeners');

    for (const [place, id] of trail.filter(([name]) => name !== 'onRequestAbort')) {
      expect(id, place).toBe(place === 'finalize' ? 'sse-1' : 'piped-1');
    }
    expect(trail.map(([place]) => place)).not.toContain('removed');
    if (platform === 'fastify') {
      const aborts = await until(() => {
        const seen = trail.filter(([place]) => place === 'onRequestAbort');
        return seen.length === 2 && seen;
      }, 'onRequestAbort');
      expect(aborts.map(([, id]) => id)).toEqual(['sse-1', 'piped-1']);
    }
  });

  it.each(['body', 'streamed'])(
    'chunks of a body are read in the context of their request: %s',
    async path => {
      await start(platform);
      const ask = async (n: number): Promise<void> => {
        const chunks = async function* () {
          for (let at = 0; at < 20; at += 1) {
            yield Buffer.alloc(50_000, String(n));
            await new Promise(resolve => setTimeout(resolve, 1));
          }
        };
        await (
          await fetch(`${test.url}/${path}`, {
            method: 'POST',
            headers: { 'x-request-id': `body-${n}`, 'content-type': 'text/stream' },
            body: Readable.toWeb(Readable.from(chunks())) as ReadableStream,
            duplex: 'half',
          } as RequestInit)
        ).text();
      };
      await Promise.all(Array.from({ length: 5 }, (_, n) => ask(n)));

      const read = trail.filter(([place]) => place === (path === 'body' ? 'data' : 'write'));
      expect(read.length).toBeGreaterThan(50);
      expect(trail.filter(([, id]) => id === undefined)).toEqual([]);
      for (let n = 0; n < 5; n += 1)
        expect(trail.filter(([, id]) => id === `body-${n}`).length).toBeGreaterThan(10);
    },
  );
});

it('what a message of a WebSocket has begun ends in its context when the client leaves', async () => {
  trail = [];
  test = await startApp({
    providers: [StreamGateway],
    configure: app => {
      context = app.get(ContextService);
      app.useWebSocketAdapter(new WsAdapter(app));
    },
  });
  const client = new WebSocket(test.url.replace('http', 'ws'));
  await once(client, 'open');
  client.send(JSON.stringify({ event: 'watch' }));
  const [message] = (await once(client, 'message')) as [Buffer];
  client.terminate();
  const [ended] = await until(() => trail.length > 0 && trail, 'finalize()');
  expect(ended).toEqual(['finalize', (JSON.parse(message.toString()) as { event: string }).event]);
});

it('the line of a logger about a request that was left has its id', async () => {
  trail = [];
  test = await startApp({
    controllers: [TeardownController],
    requestId: { trust: true },
    configure: app => {
      context = app.get(ContextService);
      const logger = pinoHttp({
        level: 'info',
        stream: new Writable({
          write(_line, _encoding, done) {
            pass('line');
            done();
          },
        }),
      } as never);
      app.use(logger);
    },
  });
  await leave('events', 'logged-1');
  await until(() => trail.some(([place]) => place === 'line'), 'a line');
  expect(trail.filter(([place]) => place === 'line')).toEqual([['line', 'logged-1']]);
});

it('a teardown that throws ends its unit of work, and throws what it threw', async () => {
  test = await startApp({});
  const broken = new Error('of the application');
  const stream = test.app.get(ContextService).run({ handler: 'Feed.watch' }, () =>
    interval(1).pipe(
      finalize(() => {
        throw broken;
      }),
    ),
  );
  const subscription = stream.subscribe();
  expect(() => subscription.unsubscribe()).toThrow(expect.objectContaining({ errors: [broken] }));
  expect((await test.records(1))[0]).toMatchObject({ handler: 'Feed.watch' });
});
