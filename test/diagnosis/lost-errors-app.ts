// A program of its own: vitest listens to the errors of its processes, so these need others.
import 'reflect-metadata';
import {
  type ArgumentsHost,
  Catch,
  Controller,
  type DynamicModule,
  type ExceptionFilter,
  Get,
  type LoggerService,
  Module,
  Param,
  Res,
  UseFilters,
} from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { ExpressAdapter } from '@nestjs/platform-express';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import type { ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { EventEmitter } from 'node:events';
import { connect, createServer } from 'node:net';
import { AsyncContextModule, type AsyncContextOptions, ContextService, MemorySink } from '../../lib/index';

/** What a test wants the program to be. */
export interface LostErrorsApp {
  readonly platform: 'express' | 'fastify';
  /** Without it the application is a bare one. */
  readonly options?: AsyncContextOptions;
  /** Events of the process that the application listens to. */
  readonly listens?: readonly ('uncaughtException' | 'unhandledRejection')[];
}

/** What it prints, a line each. */
export type Said =
  | { readonly url: string }
  | { readonly level: string; readonly message: unknown; readonly text: string; readonly context: string }
  | { readonly event: string; readonly error: string; readonly args: number }
  | { readonly listeners: Record<string, number> }
  | { readonly records: unknown };

const settings = JSON.parse(process.argv[2] ?? '{}') as LostErrorsApp;
const say = (said: object): void => void process.stdout.write(`${JSON.stringify(said)}\n`);

const bus = new EventEmitter();
const tasks: (() => void)[] = [];
// Runs outside of any unit of work what one leaves here.
setInterval(() => tasks.shift()?.(), 1).unref();
const hello = createServer(socket => socket.end('hello'))
  .listen(0, '127.0.0.1')
  .unref();

class PaymentError extends Error {
  readonly code = 'E_PAYMENT';
}
const secret = 'secret-of-a-user';

/** Each loses an error in a way of its own, on a line of its own. */
const faults: Record<string, (context: ContextService | undefined) => void> = {
  setTimeout: () =>
    void setTimeout(() => {
      throw new PaymentError(secret); // setTimeout
    }, 1),
  setInterval: () => {
    const timer = setInterval(() => {
      clearInterval(timer);
      throw new PaymentError(secret); // setInterval
    }, 1);
  },
  setImmediate: () =>
    void setImmediate(() => {
      throw new PaymentError(secret); // setImmediate
    }),
  nextTick: () =>
    process.nextTick(() => {
      throw new PaymentError(secret); // nextTick
    }),
  queueMicrotask: () =>
    queueMicrotask(() => {
      throw new PaymentError(secret); // queueMicrotask
    }),
  'listener of an emitter': () => {
    const emitter = new EventEmitter().on('paid', () => {
      throw new PaymentError(secret); // listener of an emitter
    });
    setTimeout(() => emitter.emit('paid'), 1);
  },
  'bound listener of an emitter of others': context => {
    const listener = (): never => {
      throw new PaymentError(secret); // bound listener of an emitter of others
    };
    bus.once('paid', context?.bind(listener) ?? listener);
    tasks.push(() => void bus.emit('paid'));
  },
  'listener of a socket': () => {
    const socket = connect((hello.address() as AddressInfo).port, '127.0.0.1');
    socket.on('data', () => {
      throw new PaymentError(secret); // listener of a socket
    });
  },
  'error event of a socket': () => void connect(1, '127.0.0.1'),
  'floating async function': () => void audit(),
  'floating async function that fails at once': () => void auditAtOnce(),
  'promise rejected by others': () => {
    const error = new PaymentError(secret); // promise rejected by others
    void new Promise((_resolve, reject) => tasks.push(() => reject(error)));
  },
  'awaited promise rejected by others': () => void auditOthers(),
  'rejected with undefined': () => void Promise.reject(undefined),
  'rejected with a string': () => void Promise.reject(secret),
  'rejected with a DOMException': () => {
    void Promise.reject(new DOMException(secret, 'DataError')); // rejected with a DOMException
  },
  'rejected with a frozen error': () => {
    void Promise.reject(Object.freeze(new PaymentError(secret))); // rejected with a frozen error
  },
  'thrown undefined': () =>
    void setTimeout(() => {
      throw undefined;
    }, 1),
  'thrown object that cannot be looked at': () =>
    void setTimeout(() => {
      throw new Proxy({}, { get: () => failed() });
    }, 1),
  'a message like a stack': () => {
    const message = `${secret}\n    at ${secret} (${__filename}:1:1)`;
    void Promise.reject(new PaymentError(message)); // a message like a stack
  },
  'a rejection handled a tick later': () => {
    const late = Promise.reject(new PaymentError(secret)); // a rejection handled a tick later
    setTimeout(() => late.catch(() => undefined), 5);
  },
  'two promises of one error': () => {
    const one = Promise.reject(new PaymentError(secret)); // two promises of one error
    void one.then(() => undefined);
    void one.then(() => undefined);
  },
};

async function audit(): Promise<void> {
  await new Promise(resolve => setTimeout(resolve, 1));
  throw new PaymentError(secret); // floating async function
}
async function auditAtOnce(): Promise<void> {
  throw new PaymentError(secret); // floating async function that fails at once
}
async function auditOthers(): Promise<void> {
  await new Promise((_resolve, reject) => {
    const error = new PaymentError(secret); // awaited promise rejected by others
    tasks.push(() => reject(error));
  });
}
function failed(): never {
  throw new PaymentError(secret);
}

type Reply = ServerResponse & {
  status(code: number): { json?(body: object): void; send(body: object): void };
};

@Catch(PaymentError)
class MethodFilter implements ExceptionFilter {
  catch(_error: unknown, host: ArgumentsHost): void {
    host.switchToHttp().getResponse<Reply>().status(402).send({ by: 'method' });
  }
}
@Catch(RangeError)
class ControllerFilter implements ExceptionFilter {
  catch(_error: unknown, host: ArgumentsHost): void {
    host.switchToHttp().getResponse<Reply>().status(416).send({ by: 'controller' });
  }
}
@Catch(SyntaxError)
class GlobalFilter implements ExceptionFilter {
  async catch(_error: unknown, host: ArgumentsHost): Promise<void> {
    await new Promise(resolve => setTimeout(resolve, 5));
    host.switchToHttp().getResponse<Reply>().status(422).send({ by: 'global' });
  }
}

const thrown: Record<string, () => Error> = {
  PaymentError: () => new PaymentError(secret),
  RangeError: () => new RangeError(secret),
  SyntaxError: () => new SyntaxError(secret),
  TypeError: () => new TypeError(secret),
};

@Controller()
@UseFilters(ControllerFilter)
class OrdersController {
  @Get('lose/:how')
  lose(@Param('how') how: string): Promise<never> {
    faults[how]!(service);
    return new Promise(() => undefined);
  }

  @Get('filtered/:what')
  @UseFilters(MethodFilter)
  filtered(@Param('what') what: string): Promise<never> {
    setTimeout(() => {
      throw thrown[what]!();
    }, 1);
    return new Promise(() => undefined);
  }

  @Get('later/:what')
  @UseFilters(MethodFilter)
  async later(@Param('what') what: string): Promise<string> {
    setTimeout(() => {
      throw thrown[what]!();
    }, 1);
    await new Promise(resolve => setTimeout(resolve, 30));
    return 'the answer of the handler';
  }

  @Get('later-fails/:what')
  @UseFilters(MethodFilter)
  async laterFails(@Param('what') what: string): Promise<string> {
    await this.later(what);
    throw thrown[what]!();
  }

  @Get('by-hand/:what')
  byHand(@Param('what') what: string, @Res() response: Reply): void {
    setTimeout(() => {
      throw thrown[what]!();
    }, 1);
    setTimeout(() => response.status(200).send({ by: 'hand' }), 30);
  }

  @Get('clean')
  async clean(): Promise<string> {
    await new Promise(resolve => setImmediate(resolve));
    await auditAtOnce().catch(() => undefined);
    return 'clean';
  }
}

const asText = (message: unknown): string => String((message as object | undefined) ?? message);
const logger: LoggerService = Object.fromEntries(
  ['log', 'warn', 'error', 'debug', 'verbose', 'fatal'].map(level => [
    level,
    (message: unknown, ...rest: unknown[]) =>
      say({
        level,
        message: message instanceof Error ? { error: message.name } : message,
        text: asText(message),
        context: String(rest.at(-1) ?? ''),
        requestId: service?.requestId,
      }),
  ]),
) as unknown as LoggerService;

let service: ContextService | undefined;
const sink = new MemorySink();

async function main(): Promise<void> {
  for (const event of settings.listens ?? []) {
    process.on(event, (...args: unknown[]) => say({ event, error: describe(args[0]), args: args.length }));
  }
  const { options } = settings;
  const imports: DynamicModule[] =
    options === undefined
      ? []
      : [AsyncContextModule.forRoot({ ...options, sinks: [sink], sinkQueue: { intervalMs: 10 } })];

  @Module({ imports, controllers: [OrdersController] })
  class AppModule {}

  const adapter = settings.platform === 'express' ? new ExpressAdapter() : new FastifyAdapter();
  const app = await NestFactory.create(AppModule, adapter as never, { logger, forceCloseConnections: true });
  app.useGlobalFilters(new GlobalFilter());
  await app.listen(0, '127.0.0.1');
  if (options !== undefined) service = app.get(ContextService);
  process.on('message', (message: string) => void commands[message]!(app));
  say({ url: `http://127.0.0.1:${(app.getHttpServer().address() as AddressInfo).port}` });
}

const listeners = (): Record<string, number> =>
  Object.fromEntries(
    [
      'uncaughtExceptionMonitor',
      'uncaughtException',
      'unhandledRejection',
      'newListener',
      'removeListener',
    ].map(event => [event, process.listenerCount(event)]),
  );

const commands: Record<string, (app: { close(): Promise<void> }) => unknown> = {
  listeners: () => say({ listeners: listeners() }),
  records: () => say({ records: sink.records }),
  close: async app => {
    await app.close();
    say({ listeners: listeners() });
  },
  end: () => process.exit(0),
};

function describe(error: unknown): string {
  return error instanceof Error ? `${error.name}: ${error.message}` : String(typeof error);
}

void main();
