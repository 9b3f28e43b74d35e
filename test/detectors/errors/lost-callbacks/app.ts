// A program of its own: its errors are uncaught.
import 'reflect-metadata';
import {
  Controller,
  Get,
  Headers,
  HttpException,
  type LoggerService,
  Module,
  Param,
  Res,
} from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { ExpressAdapter } from '@nestjs/platform-express';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import type { ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { AsyncContextModule, MemorySink } from '../../../../lib/index';
import { calls, type Servers, type Use } from './calls';

/** What a test wants the program to be. */
export interface CallbacksApp {
  readonly platform: 'express' | 'fastify';
  readonly servers: Servers;
  /** Whether its requests share the connections that whoever comes first has opened. */
  readonly isMixed?: boolean;
}

/** What it prints, a line each. */
export type Said =
  | { readonly url: string; readonly calls: readonly string[] }
  | { readonly opened: string }
  | { readonly refused: string; readonly why: string }
  /** The requests that an error was charged to, of those that are over. */
  | { readonly charged: readonly string[] }
  /** An error of the process, and which requests were answered by then. */
  | { readonly error: string; readonly answered: readonly string[] };

const settings = JSON.parse(process.argv[2] ?? '{}') as CallbacksApp;
const say = (said: Said): void => void process.stdout.write(`${JSON.stringify(said)}\n`);
// `nats` prints there.
console.log = console.error;
const never = <T>(): Promise<T> => new Promise(() => undefined);

/** How a callback loses its error. */
const losses: Readonly<Record<string, (id: string) => unknown>> = {
  'in a timer': id => void setTimeout(() => fail(id), 1),
  'in setImmediate': id => void setImmediate(() => fail(id)),
  'in nextTick': id => process.nextTick(() => fail(id)),
  'as an async function': async id => fail(id),
  'as a string': id => {
    throw `error of ${id}`;
  },
  itself: id => fail(id),
  'as a constant': () => {
    throw CONSTANT;
  },
};

const CONSTANT = Object.freeze(new HttpException('a constant', 418));

function fail(id: string): never {
  throw new HttpException(`error of ${id}`, 418);
}

const waiting = new Map<string, ServerResponse>();
let use: Use | undefined;
const uses = new Map<string, Promise<Use>>();

type Reply = ServerResponse & { readonly raw?: ServerResponse };

@Controller()
class CallsController {
  @Get('open/:call')
  async open(
    @Param('call') call: string,
    @Headers('x-request-id') id: string,
    @Res({ passthrough: true }) reply: Reply,
  ): Promise<never> {
    waiting.clear();
    waiting.set(id, reply.raw ?? reply);
    try {
      use = await calls[call]!(settings.servers);
      say({ opened: call });
    } catch (error) {
      say({ refused: call, why: String(error) });
    }
    return never();
  }

  @Get('use/:loss')
  use(
    @Param('loss') loss: string,
    @Headers('x-request-id') id: string,
    @Res({ passthrough: true }) reply: Reply,
  ): Promise<never> {
    waiting.set(id, reply.raw ?? reply);
    let hasFailed = false;
    use!(() => {
      if (hasFailed) return undefined;
      hasFailed = true;
      return losses[loss]!(id);
    });
    return never();
  }

  /** Over a connection that the first one has opened. */
  @Get('mixed/:call/:loss')
  mixed(
    @Param('call') call: string,
    @Param('loss') loss: string,
    @Headers('x-request-id') id: string,
    @Res({ passthrough: true }) reply: Reply,
  ): Promise<string> {
    waiting.set(id, reply.raw ?? reply);
    let opened = uses.get(call);
    if (opened === undefined) uses.set(call, (opened = calls[call]!(settings.servers)));
    return new Promise(resolve => {
      let hasFailed = false;
      void opened.then(useIt => {
        useIt(() => {
          if (hasFailed) return undefined;
          hasFailed = true;
          return loss === 'none' ? resolve(id) : losses[loss]!(id);
        });
      });
    });
  }
}

/** What cannot be charged is answered here. */
function answerByHand(message: string): void {
  const [, id = ''] = /^error of (\S+)$/.exec(message) ?? [];
  const response = waiting.get(id);
  if (id.startsWith('mixed-') && response?.headersSent === false) response.writeHead(204).end();
  waiting.delete(id);
}

async function main(): Promise<void> {
  const sink = new MemorySink();
  const onError = (error: unknown): void => {
    const answered = [...waiting].filter(([, response]) => response.headersSent).map(([id]) => id);
    const message = error instanceof Error ? error.message : String(error);
    if (settings.isMixed) answerByHand(message);
    else say({ error: message, answered });
  };
  process.on('uncaughtException', onError);
  process.on('unhandledRejection', onError);

  @Module({
    imports: [
      AsyncContextModule.forRoot({
        answerUnhandledErrors: true,
        requestId: { trust: true },
        sinks: [sink],
        sinkQueue: { intervalMs: 10 },
      }),
    ],
    controllers: [CallsController],
  })
  class AppModule {}

  const quiet = (): void => undefined;
  const logger: LoggerService = { log: quiet, warn: quiet, error: quiet };
  const adapter = settings.platform === 'express' ? new ExpressAdapter() : new FastifyAdapter();
  const app = await NestFactory.create(AppModule, adapter as never, { logger, forceCloseConnections: true });
  await app.listen(0, '127.0.0.1');
  process.on('message', () => {
    const charged = sink.records.filter(record => 'unhandledErrors' in record);
    say({ charged: charged.map(({ requestId }) => requestId) });
  });
  const { port } = app.getHttpServer().address() as AddressInfo;
  say({ url: `http://127.0.0.1:${port}`, calls: Object.keys(calls) });
}

void main();
