// A program of its own: a rejection that nobody handles ends it.
import 'reflect-metadata';
import { Controller, Get, type LoggerService, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { ExpressAdapter } from '@nestjs/platform-express';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import { of } from 'rxjs';
import type { AddressInfo } from 'node:net';
import {
  AsyncContextModule,
  type AsyncContextOptions,
  ContextService,
  type CostRecordSink,
  createContextKey,
  MemorySink,
  ProcessFigures,
  type SinkStats,
} from '../../../lib/index';
import { ClientProxySink } from '../../../lib/sinks/client-proxy/client-proxy.sink';
import { PostgresSink } from '../../../lib/postgres';
import { hookErrors } from './faults';

export interface HooksApp {
  readonly platform: 'express' | 'fastify';
  readonly hookErrors: readonly string[];
}

/** What came of one way to fail, for all functions at once. */
export interface HooksEnd {
  readonly hookError: string;
  readonly answers: readonly { readonly status: number; readonly body: string; readonly id: string | null }[];
  readonly records: number;
  readonly warnings: readonly string[];
  readonly stats: readonly SinkStats[];
}

const REQUESTS = 3;
const settings = JSON.parse(process.argv[2]!) as HooksApp;
let fail: () => never = () => undefined as never;
/** `set()` asks a schema as well, and throws: that is for the caller. */
let isArriving = false;

const TENANT = createContextKey<string>('tenant', {
  carry: true,
  schema: {
    '~standard': {
      version: 1,
      vendor: 'own',
      validate: value => (isArriving ? fail() : { value: String(value) }),
    },
  },
});
const VALUE = createContextKey<unknown>('value', { carry: true });

@Controller()
class HooksController {
  constructor(private readonly context: ContextService) {}

  @Get()
  get(): string {
    const { context } = this;
    context.onClose(() => fail());
    context.record({ system: 'test', durationMs: 1 });
    // The function `user` is asked.
    void context.user;
    context.setUser({ id: 1 } as never);
    context.set(TENANT, 'acme');
    context.set(VALUE, { toJSON: () => fail() });
    const carrier = context.carry();
    isArriving = true;
    context.resume(carrier, () => undefined);
    isArriving = false;
    return 'done';
  }
}

/** Every function that the application gives to the package. */
function hooks(memory: MemorySink): AsyncContextOptions {
  const client = {
    connect: async () => undefined,
    send: () => of(1),
    emit: () => of(1),
    close: () => undefined,
  };
  const proxy = (pattern: string, more: object): CostRecordSink =>
    new ClientProxySink({ client: client as never, pattern, timeoutMs: 50, ...more });
  const broken = { connect: () => fail(), send: () => fail(), emit: () => fail(), close: () => fail() };
  const sink = (name: string, more: object): CostRecordSink => ({ name, write: () => undefined, ...more });
  return {
    requestId: { trust: () => fail(), generate: () => fail() },
    user: () => fail(),
    onExceeded: () => fail(),
    serverTiming: () => fail(),
    canonicalLog: () => fail(),
    carrierUser: () => fail(),
    trustUnsignedCarriers: true,
    reportsPerMinute: 1_000_000,
    budget: 0,
    instrumentations: [
      { name: 'install', install: () => fail() },
      { name: 'undo', install: () => () => fail() },
    ],
    sinks: [
      memory,
      sink('write', { write: () => fail() }),
      sink('close', { close: () => fail() }),
      sink('every', { everyRecord: true, write: () => fail() }),
      sink('attach', { attach: () => fail() }),
      sink('observer', { begins: () => fail(), ends: () => fail() }),
      proxy('key', { key: () => fail() }),
      proxy('message', { message: () => fail() }),
      proxy('client', { client: () => fail() }),
      proxy('broken', { client: broken }),
      proxy('request', { client: broken, awaitReply: true }),
      new PostgresSink({ pool: { connect: () => fail(), idleCount: 0 }, connectTimeoutMs: 50 }),
    ],
    sinkQueue: { intervalMs: 5, retryDelayMs: 1, maxRetryDelayMs: 5 },
  };
}

async function endOf(hookError: string): Promise<HooksEnd> {
  const warnings: string[] = [];
  const note = (...words: unknown[]): void => {
    if (words.at(-1) === 'AsyncContext') warnings.push(String(words[0]));
  };
  const logger = { log: () => undefined, warn: note, error: note } as LoggerService;
  const memory = new MemorySink();
  fail = (hookErrors[hookError]?.fail ?? (() => undefined)) as () => never;

  @Module({ imports: [AsyncContextModule.forRoot(hooks(memory))], controllers: [HooksController] })
  class AppModule {}

  const adapter = settings.platform === 'express' ? new ExpressAdapter() : new FastifyAdapter();
  const app = await NestFactory.create(AppModule, adapter as never, { logger, forceCloseConnections: true });
  await app.listen(0, '127.0.0.1');
  const { port } = app.getHttpServer().address() as AddressInfo;
  const answers = [];
  for (let i = 0; i < REQUESTS; i++) {
    const response = await fetch(`http://127.0.0.1:${port}/`, { headers: { 'x-request-id': 'theirs' } });
    const { status, headers } = response;
    answers.push({ status, body: await response.text(), id: headers.get('x-request-id') });
  }
  const figures = app.get(ProcessFigures);
  // The sinks have been asked at least once.
  await until(() => memory.records.length >= REQUESTS * 2);
  await new Promise(resolve => setTimeout(resolve, 100));
  await app.close();
  return { hookError, answers, records: memory.records.length, warnings, stats: figures.sinkStats };
}

async function until(is: () => boolean): Promise<void> {
  while (!is()) await new Promise(resolve => setTimeout(resolve, 5));
}

async function main(): Promise<void> {
  for (const hookError of settings.hookErrors) console.log(JSON.stringify(await endOf(hookError)));
}

void main();
