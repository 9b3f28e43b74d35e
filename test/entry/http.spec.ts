import {
  Body,
  type CallHandler,
  type CanActivate,
  Catch,
  type ArgumentsHost,
  Controller,
  type ExceptionFilter,
  type ExecutionContext,
  Get,
  HttpException,
  Injectable,
  type MiddlewareConsumer,
  Module,
  type NestInterceptor,
  type NestModule,
  Param,
  type PipeTransform,
  Post,
  Req,
  Scope,
  Sse,
  UseFilters,
  UseGuards,
  UseInterceptors,
  VersioningType,
  Version,
} from '@nestjs/common';
import { RouterModule } from '@nestjs/core';
import { interval, map, tap, take, type Observable } from 'rxjs';
import { afterEach, describe, expect, it } from 'vitest';
import { ContextService } from 'nestjs-async-context';
import { platforms, startApp, type TestApp } from '../support/platforms';

let test: TestApp;
afterEach(() => test?.close());

/** Where the request was, and the id that was seen there. */
const trail: [place: string, requestId: string | undefined][] = [];
let context: ContextService;
const pass = (place: string): void => void trail.push([place, context.requestId]);

@Injectable()
class TrailGuard implements CanActivate {
  canActivate(): boolean {
    pass('guard');
    return true;
  }
}

const handlersInGuards: (string | undefined)[] = [];

@Injectable()
class HandlerGuard implements CanActivate {
  constructor(private readonly service: ContextService) {}

  canActivate(): boolean {
    handlersInGuards.push(this.service.handler);
    return true;
  }
}

@Injectable()
class TrailInterceptor implements NestInterceptor {
  intercept(_execution: ExecutionContext, next: CallHandler): Observable<unknown> {
    pass('interceptor before');
    return next.handle().pipe(tap(() => pass('interceptor after')));
  }
}

@Injectable()
class TrailPipe implements PipeTransform {
  transform(value: unknown): unknown {
    pass('pipe');
    return value;
  }
}

@Catch()
class TrailFilter implements ExceptionFilter {
  catch(error: unknown, host: ArgumentsHost): void {
    pass('filter');
    const response = host
      .switchToHttp()
      .getResponse<{ status(code: number): { send(body: unknown): void } }>();
    response.status(error instanceof HttpException ? error.getStatus() : 500).send({ caught: true });
  }
}

@Controller('trail')
@UseFilters(TrailFilter)
class TrailController {
  @Get('get/:id')
  @UseGuards(TrailGuard)
  @UseInterceptors(TrailInterceptor)
  async get(@Param('id', TrailPipe) id: string): Promise<string> {
    pass('handler');
    await new Promise(resolve => setTimeout(resolve, 2));
    pass('handler after a pause');
    return id;
  }

  @Get('throws')
  throws(): never {
    pass('handler');
    throw new Error('no');
  }

  @Post('body')
  body(@Body() body: unknown): unknown {
    pass('handler');
    return body;
  }

  @Sse('events')
  events(): Observable<{ data: string }> {
    pass('handler');
    return interval(1).pipe(
      take(2),
      map(() => {
        pass('event');
        return { data: 'x' };
      }),
    );
  }
}

@Module({})
class TrailModule implements NestModule {
  configure(consumer: MiddlewareConsumer): void {
    consumer
      .apply((_request: unknown, _response: unknown, next: () => void) => {
        pass('middleware');
        next();
      })
      .forRoutes('{*splat}');
  }
}

describe.each(platforms)('on %s', platform => {
  describe.each(['factory', 'testing'] as const)('made by %s', made => {
    it.each<[string, string, RequestInit, string[]]>([
      [
        'GET',
        'trail/get/7',
        {},
        [
          'middleware',
          'guard',
          'interceptor before',
          'pipe',
          'handler',
          'handler after a pause',
          'interceptor after',
        ],
      ],
      ['an error', 'trail/throws', {}, ['middleware', 'handler', 'filter']],
      [
        'a body',
        'trail/body',
        {
          method: 'POST',
          body: JSON.stringify({ a: 'x'.repeat(50_000) }),
          headers: { 'content-type': 'application/json' },
        },
        ['middleware', 'handler'],
      ],
      ['SSE', 'trail/events', {}, ['middleware', 'handler', 'event', 'event']],
      ['404', 'trail/nowhere', {}, ['middleware', 'global filter']],
      [
        'a body that cannot be parsed',
        'trail/body',
        { method: 'POST', body: '{', headers: { 'content-type': 'application/json' } },
        ['global filter'],
      ],
    ])('%s has one context from its first to its last step', async (_name, path, init, places) => {
      test = await startApp({
        platform,
        made,
        imports: [TrailModule],
        controllers: [TrailController],
        configure: app => {
          context = app.get(ContextService);
          app.useGlobalFilters(new GlobalFilter());
        },
      });
      trail.length = 0;
      const response = await fetch(`${test.url}/${path}`, init);
      await response.text();
      const id = response.headers.get('x-request-id');
      expect(id).toEqual(expect.any(String));
      const seen = trail.map(([place]) => place);
      // Fastify parses the body after the middleware, Express before it.
      expect(seen.filter(place => place !== 'middleware')).toEqual(
        places.filter(place => place !== 'middleware'),
      );
      expect(new Set(trail.map(([, requestId]) => requestId))).toEqual(new Set([id]));
    });
  });

  it.each([
    ['a global prefix', 'shop/v1/trail/get/7', 'GET /shop/v1/trail/get/:id'],
    ['outside of the prefix', 'elsewhere', undefined],
  ])('covers %s', async (_name, path, route) => {
    test = await startApp({
      platform,
      controllers: [VersionedController],
      configure: app => {
        context = app.get(ContextService);
        app.setGlobalPrefix('shop');
        app.enableVersioning({ type: VersioningType.URI });
      },
    });
    const response = await fetch(`${test.url}/${path}`);
    const [record] = await test.records(1);
    expect(record!.requestId).toBe(response.headers.get('x-request-id'));
    expect(record!.route).toBe(route);
  });

  it('covers the routes of RouterModule', async () => {
    @Module({ controllers: [TrailController] })
    class ShopModule {}
    test = await startApp({
      platform,
      imports: [ShopModule, RouterModule.register([{ path: 'tenant', module: ShopModule }])],
      configure: app => void (context = app.get(ContextService)),
    });
    await fetch(`${test.url}/tenant/trail/get/7`);
    const [record] = await test.records(1);
    expect(record).toMatchObject({ route: 'GET /tenant/trail/get/:id', handler: 'TrailController.get' });
  });

  it('finds the context again when a middleware has lost it', async () => {
    test = await startApp({
      platform,
      controllers: [TrailController],
      configure: app => {
        context = app.get(ContextService);
        // The callback of another request's context, or of none, goes on with this one.
        app.use((_request: unknown, _response: unknown, next: () => void) => waiting.push(next));
      },
    });
    const waiting: (() => void)[] = [];
    const timer = setInterval(() => waiting.splice(0).forEach(next => next()), 1);
    trail.length = 0;
    const response = await fetch(`${test.url}/trail/get/7`);
    clearInterval(timer);
    expect(trail.find(([place]) => place === 'handler')?.[1]).toBe(response.headers.get('x-request-id'));
    expect(trail.find(([place]) => place === 'handler after a pause')?.[1]).toBe(
      response.headers.get('x-request-id'),
    );
  });

  it('names the handler before its guards run, also one that two controllers inherit', async () => {
    test = await startApp({ platform, controllers: [CatsController, DogsController] });
    handlersInGuards.length = 0;
    const bodies = await Promise.all(
      ['cats', 'dogs'].map(async path => (await fetch(`${test.url}/${path}/inherited`)).text()),
    );
    expect(bodies).toEqual(['CatsController.inherited', 'DogsController.inherited']);
    expect(handlersInGuards.toSorted()).toEqual(bodies);
  });

  it('names the handler of the version that was asked for', async () => {
    test = await startApp({
      platform,
      controllers: [FirstController, SecondController],
      configure: app => void app.enableVersioning({ type: VersioningType.HEADER, header: 'x-version' }),
    });
    for (const [version, text] of [
      ['1', 'first'],
      ['2', 'second'],
    ] as const) {
      const response = await fetch(`${test.url}/versions`, { headers: { 'x-version': version } });
      expect(await response.text()).toBe(text);
    }
    const records = await test.records(2);
    expect(records.map(({ handler }) => handler)).toEqual(['FirstController.get', 'SecondController.get']);
  });

  it('covers a request-scoped controller', async () => {
    test = await startApp({ platform, controllers: [ScopedController] });
    const response = await fetch(`${test.url}/scoped`);
    expect(await response.json()).toEqual(['ScopedController.get', response.headers.get('x-request-id')]);
    expect(await test.records(1)).toHaveLength(1);
  });

  it('takes the user from setUser(), else from the request, else from the option', async () => {
    @Controller('user')
    class UserController {
      constructor(private readonly service: ContextService) {}

      @Get()
      get(@Req() request: { user?: unknown }): unknown {
        const byOption = this.service.user;
        request.user = { id: 'request' };
        const byRequest = this.service.user;
        this.service.setUser({ id: 'set' });
        return [byOption, byRequest, this.service.requireUser()];
      }
    }
    test = await startApp({
      platform,
      controllers: [UserController],
      user: request => ({ id: (request as { headers: Record<string, string> }).headers['x-user']! }),
    });
    const response = await fetch(`${test.url}/user`, { headers: { 'x-user': 'option' } });
    expect(await response.json()).toEqual([{ id: 'option' }, { id: 'request' }, { id: 'set' }]);
    const [record] = await test.records(1);
    expect(record!.userId).toBe('set');
  });
});

/** Its handler is inherited: one function, two controllers. */
@Injectable()
class BaseController {
  constructor(private readonly service: ContextService) {}

  @Get('inherited')
  @UseGuards(HandlerGuard)
  inherited(): string | undefined {
    return this.service.handler;
  }
}

@Controller('cats')
class CatsController extends BaseController {}

@Controller('dogs')
class DogsController extends BaseController {}

@Controller({ path: 'versions', version: '1' })
class FirstController {
  @Get()
  get(): string {
    return 'first';
  }
}

@Controller({ path: 'versions', version: '2' })
class SecondController {
  @Get()
  get(): string {
    return 'second';
  }
}

@Controller({ path: 'scoped', scope: Scope.REQUEST })
class ScopedController {
  constructor(private readonly service: ContextService) {}

  @Get()
  get(): unknown {
    return [this.service.handler, this.service.requestId];
  }
}

@Controller({ path: 'trail', version: '1' })
class VersionedController {
  @Get('get/:id')
  @Version('1')
  get(): string {
    return 'v1';
  }
}

@Catch()
class GlobalFilter extends TrailFilter {
  override catch(error: unknown, host: ArgumentsHost): void {
    pass('global filter');
    const response = host
      .switchToHttp()
      .getResponse<{ status(code: number): { send(body: unknown): void } }>();
    response.status(error instanceof HttpException ? error.getStatus() : 500).send({ caught: true });
  }
}
