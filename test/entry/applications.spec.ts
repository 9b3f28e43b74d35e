import {
  Controller,
  Get,
  type INestApplication,
  Inject,
  type MiddlewareConsumer,
  Module,
  type NestModule,
  type Type,
} from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { ExpressAdapter } from '@nestjs/platform-express';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import { Test } from '@nestjs/testing';
import { WsAdapter } from '@nestjs/platform-ws';
import { SubscribeMessage, WebSocketGateway } from '@nestjs/websockets';
import { once } from 'node:events';
import { type AddressInfo, connect } from 'node:net';
import { createServer, type RequestListener, type Server } from 'node:http';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { Pool } from 'pg';
import { WebSocket } from 'ws';
import { ApplicationRuntime } from '../../lib/module/application-runtime';
import type { AsyncContextRuntime } from '../../lib/module/runtime';
import * as ours from 'nestjs-async-context';
import type { ContextService, CostRecord, MemorySink } from 'nestjs-async-context';
import { databaseUrl, isEmbedded } from '../support/database';
import { type PackageCopy, PackageCopies } from '../support/package-copies';
import { LogLines, platforms, until } from '../support/platforms';

let copies: PackageCopies;
let second: PackageCopy;
let foreign: PackageCopy;
beforeAll(() => {
  copies = new PackageCopies();
  second = copies.load();
  foreign = copies.load(999);
}, 300_000);
afterAll(() => copies.remove());

const CONTEXT = Symbol('context');
const closing: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0).toReversed()) await close();
});

class IdGateway {
  constructor(@Inject(ours.ContextService) private readonly context: ContextService) {}

  @SubscribeMessage('id')
  id(): object {
    return { event: 'id', data: this.context.requestId };
  }
}

@WebSocketGateway({ path: '/one' })
class OneGateway extends IdGateway {}

@WebSocketGateway({ path: '/two' })
class TwoGateway extends IdGateway {}

@Controller('hello')
class HelloController {
  constructor(@Inject(CONTEXT) private readonly context: ContextService | undefined) {}

  @Get()
  async hello(): Promise<object> {
    await new Promise(resolve => setTimeout(resolve, 1));
    for (const _ of [1, 2, 3]) this.context?.record({ system: 'test', statement: 'SELECT 1', durationMs: 0 });
    return { id: this.context?.requestId, mark: this.context?.get('mark') };
  }
}

interface Made {
  readonly module: Type;
  readonly sink: MemorySink;
}

/** The root module of an application with a copy of the package, or with none. */
function made(copy: PackageCopy | undefined, options: ours.AsyncContextOptions = {}): Made {
  const sink = new (copy ?? ours).MemorySink({ capacity: 1_000 });

  @Module({
    imports:
      copy === undefined
        ? []
        : [copy.AsyncContextModule.forRoot({ ...options, sinks: [sink], sinkQueue: { intervalMs: 10 } })],
    controllers: [HelloController],
    providers: [
      copy === undefined
        ? { provide: CONTEXT, useValue: undefined }
        : { provide: CONTEXT, useExisting: copy.ContextService },
    ],
  })
  class ApplicationModule implements NestModule {
    constructor(@Inject(CONTEXT) private readonly context: ContextService | undefined) {}

    configure(consumer: MiddlewareConsumer): void {
      // It throws where the application does not see the context: that would be answered 500.
      const mark = (_request: unknown, _response: unknown, next: () => void): void => {
        this.context?.set('mark', 'middleware');
        next();
      };
      consumer.apply(mark).forRoutes('{*splat}');
    }
  }
  return { module: ApplicationModule, sink };
}

type Make = (module: Type, adapter: never, logs: LogLines) => Promise<INestApplication>;
const makers: Record<'factory' | 'testing', Make> = {
  factory: (module, adapter, logger) =>
    NestFactory.create(module, adapter, { logger, abortOnError: false, forceCloseConnections: true }),
  testing: async (module, adapter, logger) =>
    (await Test.createTestingModule({ imports: [module] }).compile()).createNestApplication(adapter, {
      logger,
      forceCloseConnections: true,
    }),
};

async function listen(server: Server): Promise<string> {
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
  closing.push(
    () => new Promise(resolve => server.close(resolve)),
    () => server.closeAllConnections(),
  );
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

interface Answer {
  readonly status: number;
  readonly header: string | null;
  readonly body: { readonly id?: string; readonly mark?: string };
}

async function ask(url: string): Promise<Answer> {
  const response = await fetch(url);
  return {
    status: response.status,
    header: response.headers.get('x-request-id'),
    body: (await response.json()) as Answer['body'],
  };
}

/** Those of some sinks, once there are as many and no more come. */
async function recordsOf(sinks: readonly MemorySink[], count: number): Promise<CostRecord[]> {
  const all = (): CostRecord[] => sinks.flatMap(({ records }) => [...records]);
  await until(() => all().length >= count, `${count} records`);
  await new Promise(resolve => setTimeout(resolve, 30));
  return all();
}

const pairs: [name: string, () => (PackageCopy | undefined)[]][] = [
  ['both with the package', () => [ours, ours]],
  ['the first with it', () => [ours, undefined]],
  ['the second with it', () => [undefined, ours]],
  ['each with a copy of its own', () => [ours, second]],
  ['each with a copy of its own, the other way round', () => [second, ours]],
  ['each with a copy of another protocol', () => [foreign, ours]],
];

describe('two applications on one adapter of Express', () => {
  // Of Nest's own tests, `express-multiple`: one adapter, and two with the same server below.
  describe.each(['one adapter', 'one server'] as const)('(%s)', shared => {
    describe.each(['factory', 'testing'] as const)('made by %s', maker => {
      it.each(pairs)('answer with one context and one record: %s', async (name, copiesOf) => {
        const adapter = new ExpressAdapter();
        const server = adapter.getInstance() as RequestListener;
        const parts = copiesOf().map(copy => made(copy));
        const logs = new LogLines();
        const apps: INestApplication[] = [];
        for (const [i, { module }] of parts.entries()) {
          const own = shared === 'one adapter' || i === 0 ? adapter : new ExpressAdapter(server);
          const app = await makers[maker](module, own as never, logs);
          app.setGlobalPrefix(`app${i + 1}`);
          apps.push(app);
        }
        // At once, as Nest's test does: with Nest 11 the first would answer 404 for the second otherwise.
        await Promise.all(apps.map(app => app.init()));
        closing.push(() => Promise.all(apps.map(app => app.close())));
        const url = await listen(createServer(server));
        const withPackage = copiesOf().map(copy => copy !== undefined);
        for (const [i, path] of ['app1/hello', 'app2/hello'].entries()) {
          const { status, header, body } = await ask(`${url}/${path}`);
          expect(status).toBe(200);
          expect(header).toEqual(expect.any(String));
          if (withPackage[i] === false) continue;
          // Two protocols know nothing of each other: the last one's header is answered.
          if (!name.includes('protocol')) expect(body.id).toBe(header);
          expect(body).toEqual({ id: expect.any(String), mark: 'middleware' });
        }
        expect((await ask(`${url}/app2/nowhere`)).status).toBe(404);

        const sinks = parts.map(({ sink }) => sink);
        if (name.includes('protocol')) {
          await Promise.all(sinks.map(sink => recordsOf([sink], 3)));
          for (const [i, { records }] of sinks.entries()) {
            expect(records.map(({ handler }) => handler)).toEqual(
              [0, 1].map(at => (at === i ? 'HelloController.hello' : undefined)).concat(undefined),
            );
          }
          return;
        }
        const records = await recordsOf(sinks, 3);
        expect(new Set(records.map(({ requestId }) => requestId)).size).toBe(3);
        expect(records).toHaveLength(3);
        // Each has what its own route took.
        for (const [i, route] of ['GET /app1/hello', 'GET /app2/hello'].entries()) {
          if (withPackage[i] === false) continue;
          expect(sinks[i]!.records.filter(record => record.handler !== undefined)).toEqual([
            expect.objectContaining({ route, handler: 'HelloController.hello', status: 200 }),
          ]);
        }
      });
    });
  });

  it.each([0, 1])('go on when number %i is closed before the other', async first => {
    const adapter = new ExpressAdapter();
    const server = adapter.getInstance() as RequestListener;
    const parts = [made(ours), made(ours)];
    const apps = await Promise.all(
      parts.map(({ module }) => makers.factory(module, adapter as never, new LogLines())),
    );
    apps[1]!.setGlobalPrefix('app2');
    await Promise.all(apps.map(app => app.init()));
    const url = await listen(createServer(server));
    await ask(`${url}/hello`);
    await ask(`${url}/app2/hello`);
    await recordsOf(
      parts.map(({ sink }) => sink),
      2,
    );
    await apps[first]!.close();
    const last = 1 - first;
    const { body, header, status } = await ask(`${url}/${['hello', 'app2/hello'][last]}`);
    expect([status, body]).toEqual([200, { id: header, mark: 'middleware' }]);
    await until(() => parts[last]!.sink.records.length === 2, 'record');
    expect(parts[last]!.sink.records[1]).toMatchObject({ requestId: header, status: 200 });
    expect(parts[first]!.sink.records).toHaveLength(1);
    await apps[last]!.close();
    expect((await ask(`${url}/nowhere`)).status).toBe(404);
  });

  it('keep their options: budget, user and name are those of the application whose route it is', async () => {
    const adapter = new ExpressAdapter();
    const server = adapter.getInstance() as RequestListener;
    const parts = [1, 2].map(number =>
      made(ours, { budget: { queries: number }, user: () => ({ id: `of-${number}` }) }),
    );
    const apps: INestApplication[] = [];
    for (const { module } of parts) apps.push(await makers.factory(module, adapter as never, new LogLines()));
    apps[1]!.setGlobalPrefix('app2');
    await Promise.all(apps.map(app => app.init()));
    closing.push(() => Promise.all(apps.map(app => app.close())));
    const url = await listen(createServer(server));
    for (const path of ['hello', 'app2/hello']) await ask(`${url}/${path}`);
    await recordsOf(
      parts.map(({ sink }) => sink),
      2,
    );
    for (const [i, { sink }] of parts.entries()) {
      expect(sink.records).toHaveLength(1);
      expect(sink.records[0]).toMatchObject({
        userId: `of-${i + 1}`,
        breaches: [{ dimension: 'queries', used: 3, limit: i + 1 }],
      });
    }
  });
});

describe.each(platforms)('two copies of the package in one application on %s', platform => {
  it.each([
    ['the same', () => [ours, second]],
    ['the same, the other first', () => [second, ours]],
  ] as const)('are one: one context, one record, never a 500 (%s)', async (_name, copiesOf) => {
    const { url, sinks, contexts, logs } = await startWith(platform, copiesOf());
    const { status, header, body } = await ask(url);
    expect([status, body]).toEqual([200, { ids: [header, header], marks: ['mark', 'mark'] }]);
    expect((await ask(`${url}/nowhere`)).status).toBe(404);
    expect(await recordsOf(sinks, 2)).toMatchObject([
      { handler: 'BothController.get', status: 200 },
      { status: 404 },
    ]);
    // Options of the second are not in force, and it says so.
    expect(sinks[1]!.records).toEqual([]);
    expect(logs.of('warn', 'AsyncContext')).toEqual([expect.stringContaining('imported twice')]);
    expect(contexts.every(context => !context.isActive)).toBe(true);
  });

  it('work side by side where their protocols differ, and say so once', async () => {
    const { url, sinks, logs } = await startWith(platform, [
      copies.load(1_000 + platforms.indexOf(platform)),
      ours,
    ]);
    const { status, body } = await ask(url);
    expect([status, body]).toEqual([
      200,
      { ids: [expect.any(String), expect.any(String)], marks: [null, 'mark'] },
    ]);
    await Promise.all(sinks.map(sink => recordsOf([sink], 1)));
    for (const sink of sinks) {
      expect(sink.records).toMatchObject([{ handler: 'BothController.get', status: 200 }]);
    }
    expect(logs.of('warn', 'AsyncContext')).toEqual([expect.stringContaining('two incompatible versions')]);
  });

  it('go on where a copy from before there were protocols takes the hook as it did', async () => {
    const adapter = platform === 'express' ? new ExpressAdapter() : new FastifyAdapter();
    const { module, sink } = made(ours);
    takeHookAsBefore(adapter as never);
    const app = await makers.factory(module, adapter as never, new LogLines());
    takeHookAsBefore(adapter as never);
    closing.push(() => app.close());
    await app.listen(0, '127.0.0.1');
    const url = `http://127.0.0.1:${(app.getHttpServer().address() as AddressInfo).port}`;
    expect(await ask(`${url}/hello`)).toMatchObject({ status: 200, body: { mark: 'middleware' } });
    expect(await recordsOf([sink], 1)).toHaveLength(1);
  });
});

describe.each(platforms)('hooks of others on the adapter of %s', platform => {
  it('run inside the context, as they do without the package: set before, or in its place after', async () => {
    const adapter = platform === 'express' ? new ExpressAdapter() : new FastifyAdapter();
    const { module, sink } = made(ours);
    const seen: [string, string | undefined][] = [];
    let context: ContextService | undefined;
    const note =
      (name: string): Hook =>
      (_request, _response, done) => {
        seen.push([name, context?.requestId]);
        // As `@nestjs/observe` does: it goes on later, and gives back a promise.
        return new Promise<void>(resolve => setTimeout(resolve, 1)).finally(done);
      };
    const slot = adapter as unknown as { setOnRequestHook(hook: Hook): void };
    slot.setOnRequestHook(note('before'));
    const app = await makers.factory(module, adapter as never, new LogLines());
    closing.push(() => app.close());
    context = app.get(ours.ContextService);
    await app.listen(0, '127.0.0.1');
    const url = `http://127.0.0.1:${(app.getHttpServer().address() as AddressInfo).port}/hello`;
    const first = await ask(url);
    slot.setOnRequestHook(note('after'));
    const last = await ask(url);
    expect(seen).toEqual([
      ['before', first.header],
      ['after', last.header],
    ]);
    expect([first.body.mark, last.body.mark]).toEqual(['middleware', 'middleware']);
    expect(await recordsOf([sink], 2)).toHaveLength(2);
  });
});

describe('drivers under two copies of the package', () => {
  const pool = new Pool({ connectionString: databaseUrl(), max: isEmbedded ? 1 : 3 });
  afterAll(() => pool.end());

  it.each([
    ['of one protocol', () => second, [1, 2, 3, 4]],
    // Two layers would count twice: they belong to the one that was loaded first.
    ['of two', () => foreign, [0, 0, 0, 0]],
  ] as const)('count each query once at most (%s)', async (_name, copyOf, seconds) => {
    const apps = [];
    for (const copy of [ours, copyOf()]) {
      const { module, sink } = made(copy);
      const app = await NestFactory.createApplicationContext(module, { logger: false });
      closing.push(() => app.close());
      apps.push({ sink, context: app.get<ContextService>(copy.ContextService) });
    }
    await Promise.all(
      apps.flatMap(({ context }) =>
        [1, 2, 3, 4].map(queries =>
          context.run({ requestId: `runs-${queries}` }, () =>
            Promise.all(Array.from({ length: queries }, () => pool.query('SELECT 1'))),
          ),
        ),
      ),
    );
    for (const [i, { sink }] of apps.entries()) {
      const records = await recordsOf([sink], 4);
      const counts = records
        .toSorted((a, b) => a.requestId.localeCompare(b.requestId))
        .map(({ queries }) => queries.count);
      expect(counts).toEqual(i === 0 ? [1, 2, 3, 4] : seconds);
    }
  });

  it('keep back what a budget of either application forbids', async () => {
    for (const copy of [ours, second]) {
      const { module } = made(copy, { budget: { queries: 2 }, onExceeded: 'throw' });
      const app = await NestFactory.createApplicationContext(module, { logger: false });
      closing.push(() => app.close());
      const context = app.get<ContextService>(copy.ContextService);
      const three = context.run({}, async () => {
        for (const _ of [1, 2, 3]) await pool.query('SELECT 1');
      });
      await expect(three).rejects.toBeInstanceOf(copy.QueryBudgetExceededError);
    }
  });
});

describe('two applications on one adapter of WebSockets', () => {
  it.each([0, 1])('have their own messages, also when number %i is closed before', async closed => {
    const logs = new LogLines();
    const parts = [];
    let adapter: WsAdapter | undefined;
    for (const [Gateway, path] of [
      [OneGateway, '/one'],
      [TwoGateway, '/two'],
    ] as const) {
      const sink = new ours.MemorySink();
      @Module({
        imports: [ours.AsyncContextModule.forRoot({ sinks: [sink], sinkQueue: { intervalMs: 10 } })],
        providers: [Gateway],
      })
      class GatewayModule {}
      const app = await makers.factory(GatewayModule, new ExpressAdapter() as never, logs);
      app.useWebSocketAdapter((adapter ??= new WsAdapter(app)));
      closing.push(() => app.close());
      parts.push({ app, sink, path });
    }
    for (const { app } of parts) await app.init();
    const server = parts[0]!.app.getHttpServer() as Server;
    await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as AddressInfo;
    const say = async (path: string): Promise<unknown> => {
      const socket = new WebSocket(`ws://127.0.0.1:${port}${path}`);
      await once(socket, 'open');
      socket.send(JSON.stringify({ event: 'id', data: {} }));
      const [message] = (await once(socket, 'message')) as [Buffer];
      socket.terminate();
      return (JSON.parse(message.toString()) as { data: unknown }).data;
    };
    const messagesOf = (sink: MemorySink) => sink.records.filter(({ kind }) => kind === 'websocket');
    for (const { path, sink } of parts) {
      const id = await say(path);
      await until(() => messagesOf(sink).length === 1, 'record');
      expect(messagesOf(sink)).toMatchObject([{ requestId: id, route: 'id' }]);
    }
    expect(parts.map(({ sink }) => messagesOf(sink).map(({ handler }) => handler))).toEqual([
      ['OneGateway.id'],
      ['TwoGateway.id'],
    ]);
    // Its server is that of the first, so only what the adapter does is closed here.
    const { app, sink } = parts[1 - closed]!;
    await parts[closed]!.app.get<AsyncContextRuntime>(ApplicationRuntime).onApplicationShutdown();
    const id = await say(parts[1 - closed]!.path);
    await until(() => messagesOf(sink).length === 2, 'record');
    expect(messagesOf(sink)[1]).toMatchObject({ requestId: id });
    expect(app).toBeDefined();
  });
});

describe('two applications on one adapter whose server is asked for another protocol', () => {
  it.each([0, 1])('have one context for it, also when number %i is closed', async closed => {
    const adapter = new ExpressAdapter();
    const parts: { app: INestApplication; sink: MemorySink }[] = [];
    for (let i = 0; i < 2; i++) {
      const sink = new ours.MemorySink();
      @Module({
        imports: [ours.AsyncContextModule.forRoot({ sinks: [sink], sinkQueue: { intervalMs: 10 } })],
      })
      class PartModule {}
      const app = await makers.factory(PartModule, adapter as never, new LogLines());
      parts.push({ app, sink });
    }
    for (const { app } of parts) await app.init();
    const server = adapter.getHttpServer() as Server;
    await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
    closing.push(async () => void server.close());
    const { port } = server.address() as AddressInfo;
    const seen: boolean[][] = [];
    server.on('upgrade', (_request, socket) => {
      seen.push(parts.map(({ app }) => app.get(ours.ContextService).isActive));
      socket.end('HTTP/1.1 101 Switching Protocols\r\nupgrade: own\r\nconnection: upgrade\r\n\r\n');
    });
    const upgrade = async (): Promise<void> => {
      const socket = connect(port, '127.0.0.1').resume();
      socket.write('GET / HTTP/1.1\r\nhost: test\r\nupgrade: own\r\nconnection: upgrade\r\n\r\n');
      await once(socket, 'close');
    };
    await upgrade();
    await recordsOf([parts[0]!.sink], 1);
    await parts[closed]!.app.get<AsyncContextRuntime>(ApplicationRuntime).onApplicationShutdown();
    await upgrade();
    const open = parts[1 - closed]!.sink;
    await until(() => open.records.length === (closed === 0 ? 1 : 2), 'record of the one that is open');
    expect(seen).toEqual([
      [true, true],
      [true, true],
    ]);
    expect(parts.flatMap(({ sink }) => sink.records)).toHaveLength(2);
  });
});

type Hook = (request: object, response: object, done: () => void) => unknown;

/** Calls what it has found in the slot, and keeps what is put there later. */
function takeHookAsBefore(adapter: { onRequestHook?: Hook; setOnRequestHook(hook: Hook): void }): void {
  let theirs = adapter.onRequestHook;
  adapter.setOnRequestHook((request, response, done) =>
    theirs === undefined ? done() : theirs.call(adapter, request, response, done),
  );
  adapter.setOnRequestHook = hook => {
    theirs = hook;
  };
}

async function startWith(platform: 'express' | 'fastify', pair: readonly PackageCopy[]) {
  const sinks = pair.map(({ MemorySink }) => new MemorySink());
  const logs = new LogLines();

  @Controller()
  class BothController {
    constructor(
      @Inject(pair[0]!.ContextService) private readonly one: ContextService,
      @Inject(pair[1]!.ContextService) private readonly two: ContextService,
    ) {}

    @Get()
    get(): object {
      this.two.set('mark', 'mark');
      const both = [this.one, this.two];
      return { ids: both.map(({ requestId }) => requestId), marks: both.map(each => each.get('mark')) };
    }
  }

  @Module({
    imports: pair.map(({ AsyncContextModule }, i) =>
      AsyncContextModule.forRoot({ sinks: [sinks[i]!], sinkQueue: { intervalMs: 10 } }),
    ),
    controllers: [BothController],
  })
  class AppModule {}

  const adapter = platform === 'express' ? new ExpressAdapter() : new FastifyAdapter();
  const app = await makers.factory(AppModule, adapter as never, logs);
  closing.push(() => app.close());
  await app.listen(0, '127.0.0.1');
  const url = `http://127.0.0.1:${(app.getHttpServer().address() as AddressInfo).port}`;
  const contexts = pair.map(copy => app.get<ContextService>(copy.ContextService));
  return { url, sinks, contexts, logs };
}
