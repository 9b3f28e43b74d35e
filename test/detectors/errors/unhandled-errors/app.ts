// A program of its own: vitest listens to the errors of its processes, so these need others.
import 'reflect-metadata';
import {
  type INestApplication,
  type LoggerService,
  type MiddlewareConsumer,
  Module,
  type ModuleMetadata,
} from '@nestjs/common';
import { APP_FILTER, NestFactory } from '@nestjs/core';
import { ExpressAdapter } from '@nestjs/platform-express';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import type { AddressInfo } from 'node:net';
import {
  AsyncContextModule,
  type AsyncContextOptions,
  ContextService,
  MemorySink,
} from '../../../../lib/index';
import type { Servers } from './drivers';
import { PaymentError } from './faults';
import {
  AnswerController,
  GlobalFilter,
  held,
  lose,
  OrdersController,
  ProvidedFilter,
  ScopedController,
} from './orders';

type ProcessEvent = 'uncaughtException' | 'unhandledRejection';

/** What a test wants the program to be. */
export interface UnhandledErrorsApp {
  readonly platform: 'express' | 'fastify';
  /** Without them the application is a bare one. */
  readonly options?: AsyncContextOptions;
  /** Events of the process that the application listens to. */
  readonly listens?: readonly ProcessEvent[];
  /** Whether its listener to `unhandledRejection` throws what it is given. */
  readonly rethrows?: boolean;
  /** How many applications there are; the first one's address is told. */
  readonly applications?: number;
  /** With them `pg`, `ioredis` and `redis` are loaded. */
  readonly servers?: Servers;
}

/** What it prints, a line each. */
export type Said =
  | { readonly url: string }
  | {
      readonly level: string;
      readonly message: unknown;
      readonly text: string;
      readonly context: string;
      readonly requestId?: string;
    }
  | { readonly event: string; readonly error: string; readonly args: number }
  | { readonly listeners: Record<string, number> }
  | { readonly records: readonly { readonly route?: string; readonly unhandledErrors?: number }[] };

const settings = JSON.parse(process.argv[2] ?? '{}') as UnhandledErrorsApp;
const say = (said: Said): void => void process.stdout.write(`${JSON.stringify(said)}\n`);

const keep = Object.fromEntries(
  ['log', 'warn', 'error', 'debug', 'verbose', 'fatal'].map(level => [
    level,
    (message: unknown, ...rest: unknown[]) =>
      say({
        level,
        message: message instanceof Error ? { name: message.name } : message,
        text: String(message),
        context: String(rest.at(-1) ?? ''),
        ...(held.services[0]?.isActive && { requestId: held.services[0].requestId! }),
      }),
  ]),
) as unknown as LoggerService;
/** Of a report it keeps the text and the fields. */
const logger: LoggerService = {
  ...keep,
  [Symbol.for('nestjs-async-context.1.takes reports')](
    level: 'warn' | 'error',
    { headline, text, fields }: { headline: string; text: string; fields: object },
    context: string,
  ): void {
    keep[level]({ message: headline, ...fields, toString: () => text }, context);
  },
};

const listen =
  (event: ProcessEvent) =>
  (...args: unknown[]) =>
    say({ event, error: describe(args[0]), args: args.length });

const sink = new MemorySink();
const applications: INestApplication[] = [];

async function main(): Promise<void> {
  if (settings.servers !== undefined)
    held.drivers = new (await import('./drivers')).Drivers(settings.servers);
  for (const event of settings.listens ?? []) process.on(event, listen(event));
  if (settings.rethrows) {
    process.on('unhandledRejection', reason => {
      throw reason;
    });
  }
  for (let i = 0; i < (settings.applications ?? 1); i++) applications.push(await startOne());
  process.on('message', (command: string) => void commands[command]!());
  const { port } = applications[0]!.getHttpServer().address() as AddressInfo;
  say({ url: `http://127.0.0.1:${port}` });
}

async function startOne(): Promise<INestApplication> {
  const { options } = settings;
  const imports: ModuleMetadata['imports'] = [];
  if (options !== undefined) {
    imports.push(AsyncContextModule.forRoot({ ...options, sinks: [sink], sinkQueue: { intervalMs: 10 } }));
  }

  @Module({
    imports,
    controllers: [OrdersController, AnswerController, ScopedController],
    providers: [{ provide: APP_FILTER, useClass: ProvidedFilter }],
  })
  class AppModule {
    configure(consumer: MiddlewareConsumer): void {
      // Hangs, as a middleware whose callback fails does.
      consumer
        .apply((request: { originalUrl: string }) => lose(lastOf(request.originalUrl)))
        .forRoutes('middleware/*what');
    }
  }

  const adapter = settings.platform === 'express' ? new ExpressAdapter() : new FastifyAdapter();
  const app = await NestFactory.create(AppModule, adapter as never, { logger, forceCloseConnections: true });
  app.useGlobalFilters(new GlobalFilter());
  await app.listen(0, '127.0.0.1');
  if (options !== undefined) held.services.push(app.get(ContextService));
  return app;
}

const lastOf = (path: string): string => path.slice(path.lastIndexOf('/') + 1);

const onRejection = listen('unhandledRejection');
const commands: Record<string, () => unknown> = {
  listeners: () => sayListeners(),
  records: () => say({ records: sink.records }),
  add: () => void process.on('unhandledRejection', onRejection),
  once: () => void process.once('unhandledRejection', onRejection),
  remove: () => void process.off('unhandledRejection', onRejection),
  'remove all': () => void process.removeAllListeners('unhandledRejection'),
  close: async () => {
    await applications.pop()!.close();
    sayListeners();
  },
  exit: () => process.exit(),
};

function sayListeners(): void {
  const events = [
    'uncaughtExceptionMonitor',
    'uncaughtException',
    'unhandledRejection',
    'newListener',
    'removeListener',
  ];
  say({ listeners: Object.fromEntries(events.map(event => [event, process.listenerCount(event)])) });
}

function describe(error: unknown): string {
  if (error instanceof PaymentError) return 'PaymentError itself';
  return error instanceof Error ? `${error.name}: ${error.message}` : `${typeof error}`;
}

void main();
