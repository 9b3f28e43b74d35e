import {
  type ArgumentsHost,
  type CallHandler,
  type CanActivate,
  Catch,
  Controller,
  type ExceptionFilter,
  type ExecutionContext,
  Get,
  Injectable,
  type MiddlewareConsumer,
  Module,
  type NestInterceptor,
  type NestMiddleware,
  Param,
  type PipeTransform,
  Scope,
  UseFilters,
  UseGuards,
  UseInterceptors,
} from '@nestjs/common';
import { APP_GUARD, Reflector } from '@nestjs/core';
import { Cron, ScheduleModule, SchedulerRegistry } from '@nestjs/schedule';
import { map, type Observable } from 'rxjs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ContextService, type CostRecord, RunInContext, traceProviders } from 'nestjs-async-context';
import { platforms, startApp, type TestApp, until } from '../../support/platforms';

@Injectable()
class ShopService {
  async price(id: number): Promise<number> {
    await Promise.resolve();
    if (id === 0) throw new RangeError('no such thing');
    return id * 10;
  }
}

@Injectable()
class AppGuard implements CanActivate {
  constructor(private readonly reflector: Reflector) {}

  async canActivate(execution: ExecutionContext): Promise<boolean> {
    await Promise.resolve();
    return this.reflector.get('closed', execution.getHandler()) === undefined;
  }
}

@Injectable()
class RouteGuard implements CanActivate {
  canActivate(): boolean {
    return true;
  }
}

@Injectable()
class DoublePipe implements PipeTransform<string, number> {
  transform(value: string): number {
    return Number(value) * 2;
  }
}

@Injectable()
class WrapInterceptor implements NestInterceptor {
  intercept(_execution: ExecutionContext, next: CallHandler): Observable<unknown> {
    return next.handle().pipe(map(price => ({ price })));
  }
}

@Injectable()
class LogMiddleware implements NestMiddleware {
  use(_request: unknown, _response: unknown, next: () => void): void {
    next();
  }
}

@Catch(RangeError)
@Injectable()
class RangeFilter implements ExceptionFilter {
  catch(error: Error, host: ArgumentsHost): void {
    const response = host.switchToHttp().getResponse<{
      status(code: number): { send(body: unknown): void };
    }>();
    response.status(404).send({ error: error.message });
  }
}

@Injectable({ scope: Scope.REQUEST })
class BasketService {
  readonly items: number[] = [];

  constructor(private readonly shop: ShopService) {}

  async add(id: number): Promise<number> {
    this.items.push(id);
    return this.shop.price(id);
  }
}

@Controller('prices')
@UseGuards(RouteGuard)
@UseInterceptors(WrapInterceptor)
@UseFilters(RangeFilter)
class PricesController {
  constructor(private readonly basket: BasketService) {}

  @Get(':id')
  price(@Param('id', DoublePipe) id: number): Promise<number> {
    return this.basket.add(id);
  }
}

@Injectable()
class NightlyJobs {
  constructor(
    readonly shop: ShopService,
    readonly context: ContextService,
  ) {}

  @Cron('0 0 1 1 *', { name: 'nightly' })
  @RunInContext()
  async nightly(): Promise<void> {
    await this.shop.price(1);
    await this.shop.price(2);
  }
}

@Module({ providers: [ShopService], exports: [ShopService] })
class ShopModule {
  configure(consumer: MiddlewareConsumer): void {
    consumer.apply(LogMiddleware).forRoutes(PricesController);
  }
}

describe.each(platforms)('with Nest on %s', platform => {
  let test: TestApp;

  beforeAll(async () => {
    test = await startApp({
      platform,
      providerCalls: true,
      nest: { instrument: traceProviders() },
      imports: [ShopModule, ScheduleModule.forRoot()],
      controllers: [PricesController],
      providers: [NightlyJobs, BasketService, { provide: APP_GUARD, useClass: AppGuard }],
    });
  });
  afterAll(() => test.close());

  async function request(path: string): Promise<{ status: number; body: unknown; calls: unknown }> {
    const response = await fetch(test.url + path);
    const id = response.headers.get('x-request-id')!;
    const body: unknown = await response.json();
    const record = await until(() => test.sink.records.find(({ requestId }) => requestId === id), 'record');
    return { status: response.status, body, calls: calls(record) };
  }

  it('guards, pipes, interceptors, middleware and request-scoped providers do their work and are counted', async () => {
    expect(await request('/prices/4')).toEqual({
      status: 200,
      body: { price: 80 },
      calls: {
        'LogMiddleware.use': [1, 0],
        'AppGuard.canActivate': [1, 0],
        'RouteGuard.canActivate': [1, 0],
        'WrapInterceptor.intercept': [1, 0],
        'DoublePipe.transform': [1, 0],
        'BasketService.add': [1, 0],
        'ShopService.price': [1, 0],
      },
    });
  });

  it('an error goes through all of them to its filter', async () => {
    const { status, body, calls: counted } = await request('/prices/0');
    expect([status, body]).toEqual([404, { error: 'no such thing' }]);
    expect(counted).toMatchObject({
      'BasketService.add': [1, 1],
      'ShopService.price': [1, 1],
      'RangeFilter.catch': [1, 0],
    });
  });

  it('a scheduled job is found by its metadata, and what it calls is in its record', async () => {
    const job = test.app.get(SchedulerRegistry).getCronJob('nightly');
    await job.fireOnTick();
    const record = await until(() => test.sink.records.find(({ kind }) => kind === 'job'), 'record');
    expect(record.handler).toBe('NightlyJobs.nightly');
    expect(calls(record)).toEqual({ 'ShopService.price': [2, 0] });
  });
});

function calls({ providerCalls }: CostRecord): Record<string, [number, number]> {
  return Object.fromEntries((providerCalls ?? []).map(({ call, count, errors }) => [call, [count, errors]]));
}

describe('two applications in one process', () => {
  it('with the same classes keep apart, one traced and one not', async () => {
    const shared = { controllers: [PricesController], providers: [BasketService, ShopService] };
    const [on, off] = await Promise.all([
      startApp({ ...shared, providerCalls: true, nest: { instrument: traceProviders() } }),
      startApp({ ...shared, nest: { instrument: traceProviders() } }),
    ]);
    expect(await (await fetch(`${on.url}/prices/1`)).json()).toEqual({ price: 20 });
    expect(await (await fetch(`${off.url}/prices/1`)).json()).toEqual({ price: 20 });
    const [[traced], [bare]] = await Promise.all([on.records(1), off.records(1)]);
    expect(calls(traced!)).toMatchObject({ 'ShopService.price': [1, 0] });
    expect(bare).not.toHaveProperty('providerCalls');
    expect(Object.keys(Object.getOwnPropertyDescriptors(off.app.get(ShopService)))).toEqual([]);
    await on.close();
    await off.close();
  });
});
