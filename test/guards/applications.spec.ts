import { Controller, Get, type INestApplication, Module, type Type } from '@nestjs/common';
import { APP_GUARD, NestFactory } from '@nestjs/core';
import { ExpressAdapter } from '@nestjs/platform-express';
import {
  type AsyncContextOptions,
  AsyncContextModule,
  Concurrency,
  ConcurrencyGuard,
  ProcessFigures,
  CostLimit,
  CostLimitGuard,
  MemorySink,
  Public,
  RequireUser,
  UserGuard,
} from 'nestjs-async-context';
import { createServer, type RequestListener, type Server } from 'node:http';
import { createRequire } from 'node:module';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { LogLines, until } from '../support/platforms';
import { NotingStore } from './cost-limit/noting-store';

const { spin } = createRequire(__filename)('../support/blocking-work.cjs') as { spin(ms: number): number };

const limit = { burst: 10, restorePerSecond: 1e-9, estimate: 10, cost: { query: 1 } } as const;

const waiting: (() => void)[] = [];
const goOn = (): void => waiting.splice(0).forEach(resolve => resolve());

/** The same class in both. */
@Controller()
class SharedController {
  @Get('plain')
  plain() {
    return 'ok';
  }

  @Get('busy')
  @Public()
  busy() {
    spin(60);
    return 'ok';
  }

  @Get('user')
  @RequireUser()
  user() {
    return 'ok';
  }

  @Get('cost')
  @Public()
  @CostLimit({ ...limit, by: 'ip', name: 'cost' })
  cost() {
    return work();
  }

  @Get('slots')
  @Public()
  @Concurrency({ limit: 1 })
  slots() {
    return work();
  }

  @Get('flaky')
  @Public()
  flaky() {
    throw new Error('of the application');
  }
}

async function work(): Promise<string> {
  await new Promise<void>(resolve => waiting.push(resolve));
  return 'ok';
}

interface Part {
  readonly app: INestApplication;
  readonly figures: ProcessFigures;
  readonly store: NotingStore;
  readonly sink: MemorySink;
  readonly logs: LogLines;
}

interface Answer {
  readonly status: number;
  readonly reason: string | undefined;
}

const closing: (() => unknown)[] = [];
afterEach(async () => {
  goOn();
  for (const close of closing.splice(0).toReversed()) await close();
});

const guards = (...classes: Type[]) => classes.map(useClass => ({ provide: APP_GUARD, useClass }));

async function start(options: readonly AsyncContextOptions[], first: Type[] = []) {
  const adapter = new ExpressAdapter();
  const parts: Part[] = [];
  for (const [i, given] of options.entries()) {
    const store = new NotingStore();
    const sink = new MemorySink();
    const logs = new LogLines();

    @Module({
      imports: [
        AsyncContextModule.forRoot({
          ...given,
          guards: { ...given.guards, costLimit: { store } },
          sinks: [sink],
          sinkQueue: { intervalMs: 10 },
        }),
      ],
      controllers: [SharedController],
      providers: i === 0 ? guards(...first) : [],
    })
    class AppModule {}

    const app = await NestFactory.create(AppModule, adapter, { logger: logs, abortOnError: false });
    app.setGlobalPrefix(`app${i + 1}`);
    parts.push({ app, figures: app.get(ProcessFigures), store, sink, logs });
  }
  await Promise.all(parts.map(({ app }) => app.init()));
  const server = adapter.getHttpServer() as Server;
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
  closing.push(
    () => Promise.all(parts.map(({ app }) => app.close())),
    () => server.closeAllConnections(),
  );
  const { port } = server.address() as AddressInfo;
  const ask = async (path: string): Promise<Answer> => {
    const response = await fetch(`http://127.0.0.1:${port}/${path}`);
    const body = await response.text();
    const { reason } = body.startsWith('{') ? (JSON.parse(body) as { reason?: string }) : {};
    return { status: response.status, reason };
  };
  const [one, two] = parts as [Part, Part];
  return { one, two, ask };
}

const ok: Answer = { status: 200, reason: undefined };

describe('guards of two applications on one adapter', () => {
  it('are asked for the routes of their own', async () => {
    const { one, two, ask } = await start([{}, {}], [UserGuard, CostLimitGuard, ConcurrencyGuard]);
    expect(await ask('app1/plain')).toEqual({ status: 401, reason: 'no-user' });
    expect(await ask('app2/plain')).toEqual(ok);
    expect(await ask('app2/user')).toEqual({ status: 401, reason: 'no-user' });
    for (const [part, handler] of [
      [one, 'SharedController.plain'],
      [two, 'SharedController.user'],
    ] as const) {
      expect(part.figures.refusals).toMatchObject([{ by: 'user', handler, count: 1 }]);
      await until(() => part.sink.records.some(({ refused }) => refused?.by === 'user'), 'record');
    }
  });

  it('take and give back in the store of the application whose route it is', async () => {
    const { one, two, ask } = await start([{}, {}], [CostLimitGuard]);
    const first = ask('app1/cost');
    await until(() => waiting.length === 1, 'handler');
    expect(await ask('app1/cost')).toEqual({ status: 429, reason: 'spent' });
    const second = ask('app2/cost');
    await until(() => waiting.length === 2, 'handler of the other');
    expect(await ask('app2/cost')).toEqual({ status: 429, reason: 'spent' });
    expect([one.store.sum('cost'), two.store.sum('cost')]).toEqual([10, 10]);
    goOn();
    expect([await first, await second]).toEqual([ok, ok]);
    await until(() => one.store.sum('cost') + two.store.sum('cost') === 0, 'settlement');
    for (const { store, logs } of [one, two]) {
      expect(store.takes[0]?.key).toBe('cost|ip:127.0.0.1');
      expect(logs.of('warn', 'AsyncContext')).toEqual([]);
    }
  });

  it('have slots of their own, and give them back', async () => {
    const { ask } = await start([{}, {}], [ConcurrencyGuard]);
    for (let i = 0; i < 2; i += 1) {
      const held = [ask('app1/slots'), ask('app2/slots')];
      await until(() => waiting.length === 2, 'both handlers');
      for (const path of ['app1/slots', 'app2/slots'])
        expect(await ask(path)).toEqual({ status: 503, reason: 'busy' });
      goOn();
      expect(await Promise.all(held)).toEqual([ok, ok]);
    }
  });

  it('close the route of the one that fails, by its own options', async () => {
    const breaker = { dryRun: false, minRequests: 3, openMs: 60_000 };
    const { one, ask } = await start([{ guards: { breaker } }, { guards: { breaker: false } }]);
    for (let i = 0; i < 3; i += 1) {
      expect((await ask('app1/flaky')).status).toBe(500);
      expect((await ask('app2/flaky')).status).toBe(500);
    }
    await until(() => one.sink.records.filter(({ status }) => status === 500).length >= 3, 'records');
    expect(await ask('app1/flaky')).toEqual({ status: 503, reason: 'failures' });
    expect((await ask('app2/flaky')).status).toBe(500);
  });

  it.each([
    ['first', 0],
    ['second', 1],
  ])('shed for the one that asks for it, be it the %s', async (_name, at) => {
    const overload = {
      targetDelayMs: 10,
      priority: ({ url }: { url?: string | undefined }) =>
        url?.endsWith('/busy') === true ? ('critical' as const) : ('sheddable' as const),
    };
    const { one, two, ask } = await start([0, 1].map(i => (i === at ? { overload } : {})));
    const load = { goesOn: true };
    const busy = (async () => {
      while (load.goesOn) await Promise.all([1, 2, 3].map(() => ask('app1/busy')));
    })();
    while ((await ask('app2/plain')).status !== 503);
    load.goesOn = false;
    await busy;
    expect([one, two][at]!.figures.refusals).toMatchObject([{ by: 'overload', handler: 'none' }]);
    expect([one, two][1 - at]!.figures.refusals).toEqual([]);
  });

  it('go on when the other is closed', async () => {
    const { one, two } = await start([{}, {}], [UserGuard]);
    // The server of the adapter goes with it.
    await one.app.close();
    const server = createServer(two.app.getHttpAdapter().getInstance() as RequestListener);
    await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
    closing.push(() => server.close());
    const { port } = server.address() as AddressInfo;
    expect((await fetch(`http://127.0.0.1:${port}/app2/user`)).status).toBe(401);
    expect(two.figures.refusals).toMatchObject([{ by: 'user', count: 1 }]);
  });
});
