// A program of its own: it is told to end.
import 'reflect-metadata';
import { Controller, Get, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { ClientProxyFactory, Transport } from '@nestjs/microservices';
import { ExpressAdapter } from '@nestjs/platform-express';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import { writeSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  AsyncContextModule,
  type AsyncContextOptions,
  ContextService,
  type CostRecordSink,
  NdjsonFileSink,
  ProcessFigures,
  type SinkStats,
} from '../../../lib/index';
import { ClientProxySink } from '../../../lib/sinks/client-proxy/client-proxy.sink';

/** What a test wants the program to be. */
export interface EndingApp {
  readonly platform: 'express' | 'fastify';
  /** How long its handlers go on after the signal, in milliseconds. */
  readonly handlerMs: number;
  /** `nest`: hooks that end the process; `nest-kill`: Nest's default; `own`: a handler that closes the application. */
  readonly end: 'nest' | 'nest-kill' | 'own';
  readonly sink: 'file' | 'redis' | 'hangs' | 'down';
  readonly path: string;
  readonly redisPort: number;
  readonly inFlight: number;
  readonly queued: number;
}

/** What it prints, a line each. */
export type Said = { readonly url: string } | { readonly ready: SinkStats } | { readonly atExit: SinkStats };

const settings = JSON.parse(process.argv[2] ?? '{}') as EndingApp;
// Not asynchronous: the last line is written when the process exits.
const say = (said: Said): void => void writeSync(1, `${JSON.stringify(said)}\n`);

let open = 0;
const goesOn = new Promise<void>(resolve => {
  process.once('SIGTERM', () => setTimeout(resolve, settings.handlerMs));
});

@Controller()
class Work {
  @Get()
  async work() {
    open += 1;
    await goesOn;
    return 'done';
  }
}

function sinkOf({ sink, path, redisPort }: EndingApp): CostRecordSink {
  const redis = (port: number) => () =>
    ClientProxyFactory.create({
      transport: Transport.REDIS,
      options: { host: '127.0.0.1', port, retryAttempts: 1_000_000, retryDelay: 100 },
    });
  switch (sink) {
    case 'file':
      return new NdjsonFileSink({ path });
    case 'redis':
      return new ClientProxySink({ client: redis(redisPort), pattern: path });
    case 'down':
      return new ClientProxySink({ client: redis(1), pattern: path });
    case 'hangs':
      return {
        name: 'hangs',
        write: () => new Promise(() => undefined),
        close: () => new Promise(() => undefined),
      };
  }
}

// All of it waits, but where the sink is to have it already.
const waits = ['file', 'redis'].includes(settings.sink);
const options: AsyncContextOptions = {
  sinks: [sinkOf(settings)],
  sinkQueue: waits ? { batchSize: 2_048, intervalMs: 60_000 } : {},
};

@Module({ imports: [AsyncContextModule.forRoot(options)], controllers: [Work] })
class AppModule {}

void (async () => {
  const adapter = settings.platform === 'express' ? new ExpressAdapter() : new FastifyAdapter();
  const app = await NestFactory.create(AppModule, adapter as never, { logger: false });
  if (settings.end === 'own') process.once('SIGTERM', () => void app.close());
  else app.enableShutdownHooks([], { useProcessExit: settings.end === 'nest' });
  await app.listen(0, '127.0.0.1');
  const context = app.get(ContextService);
  const figures = app.get(ProcessFigures);
  process.once('exit', () => say({ atExit: figures.sinkStats[0]! }));
  for (let i = 0; i < settings.queued; i++) context.run({ requestId: `queued-${i}` }, () => undefined);
  say({ url: `http://127.0.0.1:${(app.getHttpServer().address() as AddressInfo).port}` });
  while (open < settings.inFlight) await sleep(5);
  say({ ready: figures.sinkStats[0]! });
})();
