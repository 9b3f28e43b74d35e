import {
  Controller,
  Get,
  Injectable,
  type INestApplication,
  type MiddlewareConsumer,
  Module,
  type NestMiddleware,
  type NestModule,
  RequestMethod,
} from '@nestjs/common';
import type { FastifyInstance } from 'fastify';
import { createRequire } from 'node:module';
import { afterEach, describe, expect, it } from 'vitest';
import { ContextService } from 'nestjs-async-context';
import { contextStorage } from '../../lib/context/context-storage';
import { type Platform, platforms, startApp, type TestApp } from '../support/platforms';

const REQUESTS = 60;

type Next = (error?: unknown) => void;
type Request = { readonly headers: Record<string, string | undefined> };
type Middleware = (request: Request, response: unknown, next: Next) => void;

let test: TestApp;
afterEach(() => test?.close());

/** A session store that reads the sessions of many requests at once, and goes on with all from where it has them. */
class BatchingStore {
  #waiting: (() => void)[] = [];

  load(next: () => void): void {
    this.#waiting.push(next);
    if (this.#waiting.length > 1) return;
    setTimeout(() => {
      const all = this.#waiting;
      this.#waiting = [];
      for (const each of all) each();
    }, 5);
  }
}

/** For each place, the requests that have run there in the context of another one. */
const foreign: Record<string, number> = {};
const seen: Record<string, number> = {};
let context: ContextService;

function pass(place: string, request: Request): void {
  const id = request.headers['x-request-id'];
  seen[place] = (seen[place] ?? 0) + 1;
  if (context.requestId !== id) foreign[place] = (foreign[place] ?? 0) + 1;
  if (context.isActive) context.set(place, id);
}

const passing =
  (place: string): Middleware =>
  (request, _response, next) => {
    pass(place, request);
    next();
  };

@Injectable()
class ClassMiddleware implements NestMiddleware {
  use(request: Request, _response: unknown, next: Next): void {
    pass('class', request);
    next();
  }
}

@Controller('tenants')
class TenantsController {
  constructor(private readonly service: ContextService) {}

  @Get()
  mine(): unknown {
    return Object.fromEntries(Object.keys(seen).map(place => [place, this.service.get(place)]));
  }

  @Get('fails')
  fails(): never {
    throw new Error('for the filter');
  }
}

const store = new BatchingStore();

@Module({})
class MiddlewareModule implements NestModule {
  configure(consumer: MiddlewareConsumer): void {
    consumer
      .apply(((_request, _response, next) => store.load(next)) as Middleware)
      .forRoutes('{*splat}')
      .apply(passing('functional'), ClassMiddleware)
      .forRoutes('{*splat}')
      .apply(passing('by method'))
      .forRoutes({ path: 'tenants', method: RequestMethod.GET });
  }
}

function onExpress(app: INestApplication): void {
  const express = createRequire(createRequire(import.meta.url).resolve('@nestjs/platform-express'))(
    'express',
  ) as { Router(): { use(...args: unknown[]): void } };
  app.use(((_request, _response, next) => store.load(next)) as Middleware);
  app.use(passing('app.use'));
  const router = express.Router();
  router.use(passing('router'));
  app.use(router);
  app.use(((_request, _response, next) => store.load(() => next(new Error('on')))) as Middleware);
  app.use((_error: unknown, request: Request, _response: unknown, next: Next) => {
    pass('for errors', request);
    next();
  });
}

async function onFastify(app: INestApplication): Promise<void> {
  app.use(((_request, _response, next) => store.load(next)) as Middleware);
  app.use(passing('app.use'));
  const fastify = app.getHttpAdapter().getInstance() as unknown as FastifyInstance;
  fastify.addHook('onRequest', (_request, _reply, done) => store.load(done));
  fastify.addHook('onRequest', (request, _reply, done) => {
    pass('onRequest', request as Request);
    done();
  });
  fastify.addHook('preParsing', (_request, _reply, _payload, done) => store.load(done));
  fastify.addHook('preValidation', async request => pass('preValidation', request as Request));
  fastify.addHook('preHandler', (_request, _reply, done) => store.load(done));
  await fastify.register(async scope => {
    scope.addHook('preHandler', (request, _reply, done) => {
      pass('scoped', request as Request);
      done();
    });
    scope.get('/scoped', async () => 'scoped');
  });
  fastify.addHook('preSerialization', (_request, _reply, payload, done) =>
    store.load(() => done(null, payload)),
  );
  fastify.addHook('onSend', (request, _reply, payload, done) => {
    pass('onSend', request as Request);
    done(null, payload);
  });
}

const places: Record<Platform, string[]> = {
  express: ['app.use', 'router', 'for errors', 'functional', 'class', 'by method'],
  fastify: ['app.use', 'onRequest', 'preValidation', 'functional', 'class', 'by method'],
};

describe.each(platforms)('on %s', platform => {
  it('each middleware and hook runs in the context of its request after one that answers elsewhere', async () => {
    for (const all of [foreign, seen]) for (const place of Object.keys(all)) delete all[place];
    test = await startApp({
      platform,
      controllers: [TenantsController],
      imports: [MiddlewareModule],
      requestId: { trust: true },
      configure: async app => {
        context = app.get(ContextService);
        await (platform === 'express' ? onExpress(app) : onFastify(app));
      },
    });
    const answers = await Promise.all(
      Array.from({ length: REQUESTS }, async (_, n) => {
        const headers = { 'x-request-id': `request-${n}` };
        if (platform === 'fastify') await (await fetch(`${test.url}/scoped`, { headers })).text();
        const response = await fetch(`${test.url}/tenants`, { headers });
        return (await response.json()) as Record<string, string>;
      }),
    );

    expect(foreign).toEqual({});
    for (const place of [...places[platform], ...(platform === 'fastify' ? ['scoped', 'onSend'] : [])]) {
      expect(seen[place], place).toBeGreaterThanOrEqual(REQUESTS);
    }
    answers.forEach((answer, n) => {
      for (const place of places[platform]) expect(answer[place], place).toBe(`request-${n}`);
    });
    expect(await test.records(REQUESTS)).toBeDefined();
  });
});

it.each(platforms)(
  'what comes by way of a connection is certain again from the next step on: %s',
  async platform => {
    const seen: [step: string, isActive: boolean, isCertain: boolean][] = [];
    let context: ContextService;
    const note = (step: string): void => {
      const { isActive } = context;
      seen.push([step, isActive, contextStorage.certain(contextStorage.capture()) !== undefined]);
    };
    // As in an event of a connection that the request has opened itself: its context, which is not certain there.
    const byConnection = (step: string, next: () => void): void =>
      contextStorage.run(contextStorage.captureAsOpener() as never, () => {
        note(step);
        next();
      });

    @Controller()
    class StepsController {
      @Get('steps')
      steps(): string {
        note('handler');
        return 'done';
      }
    }

    test = await startApp({
      platform,
      controllers: [StepsController],
      configure: app => {
        context = app.get(ContextService);
        app.use((_request: unknown, _response: unknown, next: () => void) => byConnection('first', next));
        app.use((_request: unknown, _response: unknown, next: () => void) => {
          note('second');
          byConnection('third', next);
        });
      },
    });
    expect(await (await fetch(`${test.url}/steps`)).text()).toBe('done');
    expect(seen).toEqual([
      ['first', true, false],
      ['second', true, true],
      ['third', true, false],
      ['handler', true, true],
    ]);
  },
);

it('leaves what the application has given as Express and Fastify read it', async () => {
  const mine = passing('mine');
  test = await startApp({ controllers: [TenantsController], configure: app => void app.use(mine) });
  const { router } = test.app.getHttpAdapter().getInstance() as unknown as {
    router: { stack: { handle: Function }[] };
  };
  expect(router.stack.map(({ handle }) => handle)).toContain(mine);
  await test.close();

  test = await startApp({
    platform: 'fastify',
    configure: app => {
      const instance = app.getHttpAdapter().getInstance() as unknown as FastifyInstance;
      const wrong = (async (_request: unknown, _reply: unknown, _done: unknown) => undefined) as never;
      expect(() => instance.addHook('onRequest', wrong)).toThrow('Async function has too many arguments');
      expect(() => instance.addHook('onRequest', undefined as never)).toThrow('should be a function');
    },
  });
});

@Controller()
class KeepsBodyController {
  constructor(private readonly service: ContextService) {}

  @Get('kept')
  kept(): string | undefined {
    return this.service.handler;
  }
}

describe('a middleware on Express that keeps something of its own in `raw` of the request', () => {
  it.each([
    ['undefined', undefined],
    ['null', null],
    ['bytes', Buffer.from('{}')],
  ])('changes nothing of it: %s', async (_name, raw) => {
    test = await startApp({
      platform: 'express',
      controllers: [KeepsBodyController],
      configure: app => {
        app.use((request: { raw?: unknown }, _response: unknown, next: Next) => {
          request.raw = raw;
          next();
        });
      },
    });
    const answer = await fetch(`${test.url}/kept`);
    expect(await answer.text()).toBe('KeepsBodyController.kept');
    const [record] = await test.records(1);
    expect(record).toMatchObject({ route: 'GET /kept', handler: 'KeepsBodyController.kept', status: 200 });
  });
});
