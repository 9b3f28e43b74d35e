import {
  Controller,
  Get,
  Inject,
  Injectable,
  type INestApplication,
  Module,
  type NestApplicationOptions,
  Post,
  Put,
  Scope,
  type Type,
  Version,
  VersioningType,
} from '@nestjs/common';
import { ContextIdFactory, REQUEST, RouterModule } from '@nestjs/core';
import { request as ask } from 'node:http';
import { afterEach, describe, expect, it } from 'vitest';
import { ContextService, type CostRecord, QueryBudget, RunInContext } from 'nestjs-async-context';
import { platforms, startApp, type TestApp, type TestAppOptions } from '../support/platforms';

let test: TestApp;
afterEach(() => test?.close());

const onNest11 = process.env['NEST'] === '11';

/** One function that several controllers have: which of them it is, only Nest knows. */
@Injectable()
class ListController {
  @Inject(ContextService) protected readonly context!: ContextService;

  @Get()
  list(): string | undefined {
    for (const _ of [1, 2, 3]) this.context.record({ system: 'test', statement: 'SELECT 1', durationMs: 0 });
    return this.context.handler;
  }
}

@Controller('user')
@QueryBudget(1)
class UserController extends ListController {}

@Controller('users')
@QueryBudget(2)
class UsersController extends ListController {}

@Controller('orders')
@QueryBudget(1)
class OrdersController extends ListController {}

@Controller('orders-archive')
@QueryBudget(2)
class ArchiveController extends ListController {}

const INHERITED = [UsersController, UserController, ArchiveController, OrdersController];

interface Sent {
  readonly method?: string;
  readonly headers?: Record<string, string>;
}

/** Not `fetch()`: that has a `Host` of its own. */
async function send(path: string, { method = 'GET', headers = {} }: Sent = {}): Promise<CostRecord> {
  const before = test.sink.records.length;
  await new Promise<void>((resolve, reject) => {
    const request = ask(`${test.url}/${path}`, { method, headers }, response => {
      response.resume().once('end', resolve);
    });
    request.once('error', reject).end();
  });
  return (await test.records(before + 1))[before]!;
}

const strategies: [string, NestApplicationOptions][] = [
  ['in their order', {}],
  ...(onNest11
    ? []
    : ([
        ['by specificity', { routeResolutionStrategy: 'specificity' }],
        ['after a look for conflicts', { routeConflictPolicy: { duplicate: 'warn', shadow: 'warn' } }],
      ] as unknown as [string, NestApplicationOptions][])),
];

describe.each(platforms)('a route on %s', platform => {
  const start = async (controllers: Type[], options: TestAppOptions = {}): Promise<void> => {
    test = await startApp({ platform, controllers, ...options });
  };

  describe.each(strategies)('registered %s', (_name, nest) => {
    it.each(['', 'user', 'orders-archive/users'])(
      'has the name and the budget of its own controller, below the prefix "%s"',
      async prefix => {
        await start(INHERITED, { nest, configure: app => void app.setGlobalPrefix(prefix) });
        for (const [path, name, limit] of [
          ['user', 'UserController', 1],
          ['users', 'UsersController', 2],
          ['orders', 'OrdersController', 1],
          ['orders-archive', 'ArchiveController', 2],
        ] as const) {
          const route = ['', prefix, path].filter((part, i) => i === 0 || part !== '').join('/');
          expect(await send(route.slice(1))).toMatchObject({
            handler: `${name}.list`,
            route: `GET ${route}`,
            breaches: [{ dimension: 'queries', used: 3, limit, from: `@QueryBudget on ${name}` }],
          });
        }
      },
    );

    it('has that of its own class, where two modules have one of the same name', async () => {
      const classes = [1, 2].map(number => {
        @Controller(`same${number}`)
        @QueryBudget(number)
        class SameController extends ListController {}
        @Module({ controllers: [SameController] })
        class SameModule {}
        return SameModule;
      });
      await start([], { nest, imports: classes });
      for (const limit of [2, 1]) {
        expect(await send(`same${limit}`)).toMatchObject({
          handler: 'SameController.list',
          breaches: [{ limit }],
        });
      }
    });

    it('has the budget of its own module, where two have the controller', async () => {
      @Controller(['first', 'second'])
      class SharedController extends ListController {}
      @Module({ controllers: [SharedController] })
      @QueryBudget(1)
      class OneModule {}
      @Module({ controllers: [SharedController] })
      @QueryBudget(2)
      class TwoModule {}
      await start([], {
        nest,
        imports: [
          OneModule,
          TwoModule,
          RouterModule.register([
            { path: 'one', module: OneModule, children: [{ path: 'two', module: TwoModule }] },
          ]),
        ],
      });
      for (const [path, limit] of [
        ['one/first', 1],
        ['one/two/first', 2],
        ['one/two/second', 2],
        ['one/second', 1],
      ] as const) {
        expect(await send(path)).toMatchObject({
          handler: 'SharedController.list',
          route: `GET /${path}`,
          breaches: [{ limit }],
        });
      }
    });
  });

  it('has the name that its class gives it, where a decorator has put another function there', async () => {
    @Controller()
    class WrappedController extends ListController {
      @Wrapped()
      @Get('first')
      first(): unknown {
        return this.list();
      }

      @Wrapped()
      @Get('second')
      second(): unknown {
        return this.list();
      }

      @Wrapped()
      @RunInContext()
      job(): unknown {
        return this.list();
      }
    }
    await start([WrappedController]);
    expect(await send('first')).toMatchObject({ handler: 'WrappedController.first' });
    expect(await send('second')).toMatchObject({ handler: 'WrappedController.second' });
    test.app.get(WrappedController).job();
    expect((await test.records(3))[2]).toMatchObject({ handler: 'WrappedController.job' });
  });

  it.each([
    ['for each request', { scope: Scope.REQUEST }],
    ['for each tenant', { scope: Scope.REQUEST, durable: true }],
  ])('has them where its controller is made %s', async (_name, scope) => {
    @Injectable(scope)
    class Tenant {
      @Inject(REQUEST) readonly request: unknown;
    }
    class TenantController extends ListController {
      @Inject(Tenant) readonly tenant: unknown;
    }
    @Controller({ path: 'cat', ...scope })
    @QueryBudget(1)
    class CatController extends TenantController {}
    @Controller({ path: 'cats', ...scope })
    @QueryBudget(2)
    class CatsController extends TenantController {}
    ContextIdFactory.apply({
      attach: contextId => ({ resolve: info => (info.isTreeDurable ? TENANT : contextId), payload: {} }),
    });
    await start([CatsController, CatController], { providers: [Tenant] });
    for (const [path, handler, limit] of [
      ['cat', 'CatController.list', 1],
      ['cats', 'CatsController.list', 2],
      ['cats', 'CatsController.list', 2],
    ] as const) {
      expect(await send(path)).toMatchObject({ handler, status: 200, breaches: [{ limit }] });
    }
    ContextIdFactory.apply({ attach: contextId => () => contextId });
  });

  const versionings: [string, (app: INestApplication) => void, (version: string) => Sent, string][] = [
    ['in the URI', app => app.enableVersioning({ type: VersioningType.URI }), () => ({}), 'v'],
    [
      'in a header',
      app => app.enableVersioning({ type: VersioningType.HEADER, header: 'x-version' }),
      version => ({ headers: { 'x-version': version } }),
      '',
    ],
    [
      'in the media type',
      app => app.enableVersioning({ type: VersioningType.MEDIA_TYPE, key: 'v=' }),
      version => ({ headers: { accept: `application/json;v=${version}` } }),
      '',
    ],
    [
      'where the application finds it',
      app =>
        app.enableVersioning({
          type: VersioningType.CUSTOM,
          extractor: request => (request as { headers: Record<string, string> }).headers['x-custom'] ?? '',
        }),
      version => ({ headers: { 'x-custom': version } }),
      '',
    ],
  ];

  it.each(versionings)(
    'has those of the version that was asked for %s',
    async (_name, enable, sent, inPath) => {
      await start([SecondController, FirstController], { configure: app => void enable(app) });
      const pathOf = (version: string): string => (inPath === '' ? 'things' : `${inPath}${version}/things`);
      for (const [version, handler, limit] of [
        ['1', 'FirstController.list', 1],
        ['2', 'SecondController.list', 2],
        ['3', 'SecondController.third', 2],
      ] as const) {
        expect(await send(pathOf(version), sent(version))).toMatchObject({
          handler,
          route: `GET /${pathOf(version)}`,
          breaches: [{ limit }],
        });
      }
      const missing = await send(pathOf('9'), sent('9'));
      expect(missing).toMatchObject({ status: 404, error: 'NotFoundException', breaches: [] });
      expect([missing.handler, missing.route]).toEqual([undefined, undefined]);
    },
  );

  // Fastify's adapter cannot ask another route: the first one answers for all hosts.
  it('has those of the host that was asked for', async () => {
    await start(platform === 'express' ? [AdminController, ShopController] : [ShopController]);
    const shop = await send('hosts/7', { headers: { host: 'shop.example.com' } });
    expect(shop).toMatchObject({
      handler: 'ShopController.list',
      route: 'GET /hosts/:id',
      breaches: [{ limit: 2 }],
    });
    if (platform === 'express') {
      expect(await send('hosts/7', { headers: { host: 'admin.example.com' } })).toMatchObject({
        handler: 'AdminController.list',
        breaches: [{ limit: 1 }],
      });
    }
    const missing = await send('hosts/7', { headers: { host: 'other.example.com' } });
    expect(missing).toMatchObject({ status: 404, error: 'NotFoundException', breaches: [] });
    expect([missing.handler, missing.route]).toEqual([undefined, undefined]);
  });
});

describe('a route behind a method override', () => {
  it('is recorded by the method that was handled, with its budget', async () => {
    test = await startApp({
      controllers: [OverriddenController],
      budget: { byMethod: { POST: { queries: 1 }, PUT: { queries: 2 } } },
      configure: app => {
        app.use(
          (request: { method: string; headers: Record<string, string> }, _: unknown, next: () => void) => {
            request.method = request.headers['x-http-method-override'] ?? request.method;
            next();
          },
        );
      },
    });
    const headers = { 'x-http-method-override': 'PUT' };
    expect(await send('things', { method: 'POST', headers })).toMatchObject({
      handler: 'OverriddenController.replace',
      method: 'PUT',
      route: 'PUT /things',
      breaches: [{ limit: 2 }],
    });
    expect(await send('things', { method: 'POST' })).toMatchObject({
      handler: 'OverriddenController.add',
      method: 'POST',
      route: 'POST /things',
      breaches: [{ limit: 1 }],
    });
  });
});

/** As decorators of caches, locks and retries do: a function without a name in the place of the method. */
function Wrapped(): MethodDecorator {
  return (_target, _key, descriptor: PropertyDescriptor) => {
    const method = descriptor.value as (...args: unknown[]) => unknown;
    const wrap = (): typeof method =>
      function (this: unknown, ...args) {
        return method.apply(this, args);
      };
    descriptor.value = wrap();
    for (const key of Reflect.getMetadataKeys(method) as unknown[])
      Reflect.defineMetadata(key, Reflect.getMetadata(key, method), descriptor.value as object);
  };
}

const TENANT = ContextIdFactory.create();

@Controller({ path: 'things', version: '1' })
@QueryBudget(1)
class FirstController extends ListController {}

@Controller({ path: 'things', version: '2' })
@QueryBudget(2)
class SecondController extends ListController {
  @Version('3')
  @Get()
  third(): unknown {
    return this.list();
  }
}

@Controller({ path: 'hosts/:id', host: 'admin.example.com' })
@QueryBudget(1)
class AdminController extends ListController {}

@Controller({ path: 'hosts/:id', host: ['shop.example.com', ':tenant.shop.example.com'] })
@QueryBudget(2)
class ShopController extends ListController {}

@Controller('things')
class OverriddenController extends ListController {
  @Put()
  replace(): unknown {
    return this.list();
  }

  @Post()
  add(): unknown {
    return this.list();
  }
}
