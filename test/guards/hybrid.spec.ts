import { Controller, Get, Module } from '@nestjs/common';
import { APP_GUARD, NestFactory } from '@nestjs/core';
import {
  ClientProxyFactory,
  type ClientProxy,
  MessagePattern,
  type MicroserviceOptions,
  Transport,
} from '@nestjs/microservices';
import {
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
import type { AddressInfo } from 'node:net';
import { lastValueFrom } from 'rxjs';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { LogLines, until } from '../support/platforms';
import { freePort } from '../support/servers';
import { NotingStore } from './cost-limit/noting-store';

const limit = { burst: 10, restorePerSecond: 1e-9, estimate: 10, cost: { query: 1 } } as const;

const waiting: (() => void)[] = [];
const goOn = (): void => waiting.splice(0).forEach(resolve => resolve());
async function work(): Promise<string> {
  await new Promise<void>(resolve => waiting.push(resolve));
  return 'ok';
}

/** Each of them over HTTP and as a message. */
@Controller()
class BothController {
  @Get('user')
  @MessagePattern('user')
  @RequireUser()
  user() {
    return 'ok';
  }

  @Get('cost')
  @MessagePattern('cost')
  @Public()
  @CostLimit({ ...limit, by: 'ip', name: 'cost' })
  cost() {
    return work();
  }

  @Get('slots')
  @MessagePattern('slots')
  @Public()
  @Concurrency({ limit: 1 })
  slots() {
    return work();
  }

  /** Nothing but what the application has for all. */
  @Get('plain')
  @MessagePattern('plain')
  plain() {
    return 'ok';
  }
}

interface Answer {
  readonly status: number;
  readonly reason: string | undefined;
}

describe.each([true, false])('guards of a hybrid application, inheritAppConfig: %s', inheritAppConfig => {
  let store: NotingStore;
  let sink: MemorySink;
  let logs: LogLines;
  let figures: ProcessFigures;
  let client: ClientProxy;
  let overHttp: (path: string) => Promise<Answer>;
  const closing: (() => unknown)[] = [];

  beforeEach(async () => {
    store = new NotingStore();
    sink = new MemorySink();
    logs = new LogLines();

    @Module({
      imports: [
        AsyncContextModule.forRoot({
          guards: { costLimit: { store } },
          sinks: [sink],
          sinkQueue: { intervalMs: 10 },
        }),
      ],
      controllers: [BothController],
      providers: [UserGuard, CostLimitGuard, ConcurrencyGuard].map(useClass => ({
        provide: APP_GUARD,
        useClass,
      })),
    })
    class AppModule {}

    const app = await NestFactory.create(AppModule, { logger: logs });
    const tcp = {
      transport: Transport.TCP,
      options: { host: '127.0.0.1', port: await freePort() },
    } as const;
    app.connectMicroservice<MicroserviceOptions>(tcp, { inheritAppConfig });
    await app.startAllMicroservices();
    await app.listen(0, '127.0.0.1');
    const { port } = app.getHttpServer().address() as AddressInfo;
    overHttp = async path => {
      const response = await fetch(`http://127.0.0.1:${port}/${path}`);
      const body = await response.text();
      const { reason } = body.startsWith('{') ? (JSON.parse(body) as { reason?: string }) : {};
      return { status: response.status, reason };
    };
    figures = app.get(ProcessFigures);
    client = ClientProxyFactory.create(tcp);
    closing.push(
      () => app.close(),
      () => client.close(),
    );
  });
  afterEach(async () => {
    goOn();
    for (const close of closing.splice(0).toReversed()) await close();
  });

  const asMessage = (pattern: string): Promise<Answer> =>
    lastValueFrom(client.send<string>(pattern, {})).then(
      () => ({ status: 200, reason: undefined }),
      (error: { statusCode?: number; reason?: string }) => ({
        status: error.statusCode ?? 500,
        reason: error.reason,
      }),
    );
  const ok: Answer = { status: 200, reason: undefined };

  it('refuse who is nobody, over HTTP and over TCP', async () => {
    expect(await overHttp('user')).toEqual({ status: 401, reason: 'no-user' });
    expect(await asMessage('user')).toEqual({ status: 401, reason: 'no-user' });
    expect(await overHttp('plain')).toEqual({ status: 401, reason: 'no-user' });
    // Nest gives the guards of the application to a microservice only where that inherits them.
    expect(await asMessage('plain')).toEqual(inheritAppConfig ? { status: 401, reason: 'no-user' } : ok);
  });

  it('have one bucket and one policy for both', async () => {
    const first = overHttp('cost');
    await until(() => waiting.length === 1, 'handler');
    expect(await asMessage('cost')).toEqual({ status: 429, reason: 'spent' });
    goOn();
    expect(await first).toEqual(ok);
    await until(() => store.sum('cost') === 0, 'settlement');
    const message = asMessage('cost');
    await until(() => waiting.length === 1, 'handler');
    expect(await overHttp('cost')).toEqual({ status: 429, reason: 'spent' });
    goOn();
    expect(await message).toEqual(ok);
    await until(() => store.sum('cost') === 0, 'settlement');
    // Asked once for each, however many guards there are.
    expect(new Set(store.takes.map(({ key }) => key))).toEqual(new Set(['cost|ip:127.0.0.1']));
    expect(store.takes.filter(({ need }) => need === 10)).toHaveLength(4);
  });

  it('have one slot for both', async () => {
    const message = asMessage('slots');
    await until(() => waiting.length === 1, 'handler');
    expect(await overHttp('slots')).toEqual({ status: 503, reason: 'busy' });
    expect(await asMessage('slots')).toEqual({ status: 503, reason: 'busy' });
    goOn();
    expect(await message).toEqual(ok);
    const request = overHttp('slots');
    await until(() => waiting.length === 1, 'handler');
    expect(await asMessage('slots')).toEqual({ status: 503, reason: 'busy' });
    goOn();
    expect(await request).toEqual(ok);
  });

  it('are in records and counts, and find a context for each', async () => {
    await overHttp('user');
    await asMessage('user');
    const records = await until(() => sink.records.length === 2 && sink.records, 'records');
    for (const record of records) {
      expect(record).toMatchObject({
        handler: 'BothController.user',
        refused: { by: 'user', reason: 'no-user' },
      });
    }
    expect(figures.refusals).toEqual([
      { by: 'user', reason: 'no-user', handler: 'BothController.user', dryRun: false, count: 2 },
    ]);
    expect(logs.of('warn', 'AsyncContext')).toEqual([]);
  });
});
