import { Controller, type DynamicModule, Get, Injectable, Module } from '@nestjs/common';
import { CommandHandler, CqrsModule, type ICommandHandler } from '@nestjs/cqrs';
import { NestFactory } from '@nestjs/core';
import { ExpressAdapter } from '@nestjs/platform-express';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import { Cron, ScheduleModule } from '@nestjs/schedule';
import { afterEach, describe, expect, it } from 'vitest';
import {
  AsyncContextModule,
  type AsyncContextOptions,
  ContextService,
  QueryBudget,
  RunInContext,
} from 'nestjs-async-context';
import { nearestName } from '../../lib/kernel/nearest-name';
import { LogLines, platforms, startApp, type TestApp } from '../support/platforms';

let test: TestApp | undefined;
afterEach(async () => {
  await test?.close();
  test = undefined;
});

/** Puts a function in the place of a method, as tracing and retrying decorators do, and copies no metadata. */
function Traced(): MethodDecorator {
  return (_target, _name, descriptor: PropertyDescriptor) => {
    const method = descriptor.value as (this: unknown, ...args: unknown[]) => unknown;
    descriptor.value = function (this: unknown, ...args: unknown[]) {
      return method.apply(this, args);
    };
  };
}

const warnings = (): string[] => test!.logs.of('warn', 'AsyncContext');

/** Starts an application that imports `root`, and gives what that fails with. */
async function failureOf(root: unknown, platform: string): Promise<string> {
  @Module({ imports: [root as never] })
  class AppModule {}
  const adapter = platform === 'express' ? new ExpressAdapter() : new FastifyAdapter();
  return NestFactory.create(AppModule, adapter as never, {
    logger: new LogLines(),
    abortOnError: false,
  }).then(
    app => app.close().then(() => 'none'),
    (error: unknown) => String(error),
  );
}

describe.each(platforms)('what does nothing is said, on %s', platform => {
  it('of a module that is imported without forRoot()', async () => {
    expect(await failureOf(AsyncContextModule, platform)).toContain(
      'AsyncContextModule is imported without options, so it does nothing. Write AsyncContextModule.forRoot() in imports.',
    );
  });

  it('of a budget on a service, on its method, and on a helper of a controller', async () => {
    @Injectable()
    @QueryBudget(5)
    class PricesService {}

    @Injectable()
    class StockService {
      @QueryBudget(5)
      load(): void {}
    }

    @Controller()
    class OrdersController {
      @QueryBudget({ queries: 3 })
      helper(): void {}

      @Get('orders')
      @QueryBudget(3)
      list(): void {}
    }
    test = await startApp({
      platform,
      controllers: [OrdersController],
      providers: [PricesService, StockService],
    });
    const said = warnings().filter(line => line.includes('has no effect'));
    expect(said).toEqual([
      expect.stringContaining(
        '@QueryBudget on OrdersController.helper has no effect: the method is not a handler.',
      ),
      expect.stringContaining(
        '@QueryBudget on PricesService has no effect: the class handles no requests, messages or jobs.',
      ),
      expect.stringContaining(
        '@QueryBudget on StockService.load has no effect: the method is not a handler.',
      ),
    ]);
  });

  it('of no budget that is in force', async () => {
    class Pay {}

    @CommandHandler(Pay)
    @QueryBudget(5)
    class PayHandler implements ICommandHandler<Pay> {
      @QueryBudget(3)
      async execute(): Promise<void> {}
    }

    @Injectable()
    @QueryBudget(9)
    class NightlyService {
      @Cron('0 3 * * *')
      @QueryBudget(100)
      report(): void {}
    }

    @Injectable()
    class ImportService {
      @QueryBudget(100)
      @RunInContext()
      below(): void {}

      @RunInContext()
      @QueryBudget(100)
      above(): void {}

      @QueryBudget(100)
      @Traced()
      @RunInContext()
      wrapped(): void {}
    }

    @Injectable()
    @QueryBudget(9)
    class WrappedService {
      @Traced()
      @RunInContext()
      nightly(): void {}
    }

    class OverridingService extends WrappedService {
      @QueryBudget(9)
      override nightly(): void {
        super.nightly();
      }
    }

    class Base {
      @Get('inherited')
      @QueryBudget(3)
      list(): void {}
    }

    @Controller()
    class OrdersController extends Base {}

    @QueryBudget(50)
    @Module({})
    class OrdersModule {
      static register(): DynamicModule {
        return { module: OrdersModule, controllers: [OrdersController] };
      }
    }
    test = await startApp({
      platform,
      imports: [CqrsModule.forRoot(), ScheduleModule.forRoot(), OrdersModule.register()],
      providers: [PayHandler, NightlyService, ImportService, WrappedService, OverridingService],
    });
    expect(warnings().filter(line => line.includes('has no effect'))).toEqual([]);
  });

  it('in at most two lines at the start, which tell what is counted', async () => {
    test = await startApp({
      platform,
      budget: { default: { queries: 1_000, rows: 20 }, byMethod: { GET: { queries: 1 } } },
    });
    const lines = test.logs.of('log', 'AsyncContext');
    expect(lines).toHaveLength(1);
    expect(lines[0]).toMatch(
      /^nestjs-async-context \d+\.\d+\.\d+ counts .*\bhttp\b.*; default budget: 1,000 queries, 20 rows, its own for GET; records: memory\./,
    );
  });
});

describe('what options cannot be', () => {
  const forRoot = (options: unknown) => () => AsyncContextModule.forRoot(options as AsyncContextOptions);
  const forRootAsync = (options: unknown) => () => AsyncContextModule.forRootAsync(options as never);

  it('is told with what was meant', () => {
    expect(forRoot({ slowMs: 5 })).toThrow(
      'AsyncContextModule.forRoot({ slowMs }) is 5. There is no such option. Use enabled,',
    );
    expect(forRoot({ slowAfterms: 5 })).toThrow('There is no such option. Did you mean slowAfterMs? Use ');
    expect(forRoot({ budget: { querys: 5 } })).toThrow(
      'There is no such dimension. Did you mean queries? Use ',
    );
    expect(forRoot({ budget: { hard: { quries: 5 } } })).toThrow('Did you mean queries?');
    expect(forRoot({ requestId: { trusted: true } })).toThrow('Did you mean trust?');
    expect(() => QueryBudget({ row: 5 } as never)(class {} as never)).toThrow('Did you mean rows?');
  });

  it('is an empty budget', () => {
    expect(forRoot({ budget: {} })).toThrow(
      'AsyncContextModule.forRoot({ budget }) is an empty object. Give at least one limit',
    );
    expect(forRoot({ budget: { queries: 5, hard: {} } })).toThrow(
      'forRoot({ budget.hard }) is an empty object',
    );
    expect(() => {
      @QueryBudget({})
      class Orders {}
      return Orders;
    }).toThrow('@QueryBudget on Orders: budget is an empty object. Give at least one limit');
  });

  it('is nothing, or not one of three', () => {
    expect(forRoot(null)).toThrow(
      'AsyncContextModule.forRoot(null). Use an object with any of enabled, requestId,',
    );
    expect(forRoot('production')).toThrow('AsyncContextModule.forRoot("production"). Use an object');
    expect(forRoot(5)).toThrow('AsyncContextModule.forRoot(5). Use an object');
    expect(forRoot(undefined)).not.toThrow();
    expect(forRootAsync({})).toThrow(
      'AsyncContextModule.forRootAsync() has none of useFactory, useClass and useExisting. Give exactly one, ' +
        'such as useFactory: () => ({ budget: 100 }).',
    );
    expect(forRootAsync({ useFactory: () => ({}), useClass: class {} })).toThrow('has 2 of useFactory');
    expect(forRootAsync(undefined)).toThrow(
      'AsyncContextModule.forRootAsync(undefined). Use an object with any of imports',
    );
    expect(forRootAsync({ useFactroy: () => ({}) })).toThrow('Did you mean useFactory?');
  });

  it.each([
    ['querys', 'queries'],
    ['QUERIES', 'queries'],
    ['rows', 'rows'],
    ['row', 'rows'],
    ['wri', undefined],
    ['writ', 'writes'],
    ['writesPerHandler', 'writes'],
    ['rwos', undefined],
    ['x', undefined],
    ['', undefined],
  ])('%s stands for %s', (name, expected) => {
    expect(nearestName(name, ['queries', 'rows', 'writes'])).toBe(expected);
  });
});

describe('@QueryBudget.unlimited()', () => {
  const record = (context: ContextService): void => {
    for (let i = 0; i < 3; i += 1)
      context.record({ system: 'shop', collection: 'orders', rows: 1, durationMs: 1 });
  };

  @Controller()
  @QueryBudget(2)
  class ExportController {
    constructor(private readonly context: ContextService) {}

    @Get('all')
    @QueryBudget.unlimited('reads every order')
    all(): void {
      record(this.context);
    }

    @Get('rows')
    @QueryBudget.unlimited('reads every order')
    @QueryBudget({ rows: 2 })
    rows(): void {
      record(this.context);
    }

    @Get('limited')
    limited(): void {
      record(this.context);
    }
  }

  @Controller('nightly')
  @QueryBudget.unlimited('runs at night')
  class NightlyController {
    constructor(private readonly context: ContextService) {}

    @Get('all')
    all(): void {
      record(this.context);
    }

    @Get('limited')
    @QueryBudget(2)
    limited(): void {
      record(this.context);
    }
  }

  it.each(platforms)('lifts what is declared farther out, on %s', async platform => {
    test = await startApp({
      platform,
      controllers: [ExportController, NightlyController],
      budget: { rows: 1, hard: { deadlineMs: 60_000 } },
    });
    const paths = ['all', 'rows', 'limited', 'nightly/all', 'nightly/limited'];
    for (const path of paths) await fetch(`${test.url}/${path}`);
    const records = await test.records(paths.length);
    const breached = records.map(({ breaches }) =>
      breaches.map(({ dimension, limit }) => [dimension, limit]),
    );
    expect(breached).toEqual([
      [],
      [['rows', 2]],
      [
        ['rows', 1],
        ['queries', 2],
      ],
      [],
      [['queries', 2]],
    ]);
  });

  it.each(['', ' ', 5, undefined, 'x'.repeat(201)])('needs a reason, which %j is not', reason => {
    expect(() => QueryBudget.unlimited(reason as string)(class Orders {} as never)).toThrow(
      /ASYNC_CONTEXT_INVALID_BUDGET: @QueryBudget\.unlimited on .*: reason is/,
    );
    expect(() => QueryBudget.unlimited('x'.repeat(200))(class Orders {} as never)).not.toThrow();
  });
});
