import { Controller, Get, Module, Post } from '@nestjs/common';
import { afterEach, describe, expect, it, vi } from 'vitest';
import {
  type AsyncContextOptions,
  ContextService,
  QueryBudget,
  type BudgetLimits,
  type CostRecord,
} from 'nestjs-async-context';
import { startApp, type TestApp } from '../support/platforms';

let test: TestApp;
afterEach(() => test?.close());

class Costs {
  constructor(protected readonly context: ContextService) {}

  protected spend(queries: number, { table = 'orders', rows = 1, ms = 1, write = false } = {}): void {
    for (let i = 0; i < queries; i++)
      this.context.record({ system: 'test', collection: table, rows, durationMs: ms, write });
  }
}

async function breachesOf(
  path: string,
  controller: new (context: ContextService) => object,
  options: AsyncContextOptions = {},
  method = 'GET',
): Promise<CostRecord['breaches']> {
  Reflect.defineMetadata('design:paramtypes', [ContextService], controller);
  test = await startApp({ ...options, controllers: [controller] });
  await fetch(`${test.url}/${path}`, { method });
  const [record] = await test.records(1);
  return record!.breaches;
}

describe('@QueryBudget()', () => {
  it.each<[keyof BudgetLimits, BudgetLimits, { rows?: number; ms?: number; write?: boolean }, number]>([
    ['queries', { queries: 4 }, {}, 4],
    ['rows', { rows: 40 }, { rows: 10 }, 4],
    ['durationMs', { durationMs: 12 }, { ms: 3 }, 4],
    ['writes', { writes: 4 }, { write: true }, 4],
    ['perTable', { perTable: { orders: 4 } }, {}, 4],
  ])(
    'accepts the last %s that is allowed and reports the first that is not',
    async (dimension, limits, spending, most) => {
      @Controller()
      class LimitedController extends Costs {
        @Get('most')
        @QueryBudget(limits)
        most(): void {
          this.spend(most, spending);
        }

        @Get('more')
        @QueryBudget(limits)
        more(): void {
          this.spend(most + 1, spending);
        }
      }
      expect(await breachesOf('most', LimitedController)).toEqual([]);
      await test.close();
      const [breach, ...others] = await breachesOf('more', LimitedController);
      expect(others).toEqual([]);
      expect(breach!.dimension).toBe(dimension === 'perTable' ? 'perTable.orders' : dimension);
      expect(breach!.used).toBeGreaterThan(breach!.limit);
      expect(breach!.from).toBe('@QueryBudget on LimitedController.more');
    },
  );

  it('counts a table by its name with and without its schema', async () => {
    @Controller()
    class TablesController extends Costs {
      @Get()
      @QueryBudget({ perTable: { orders: 2, 'shop.items': 1, order: 0 } })
      get(): void {
        this.spend(2, { table: 'public.orders' });
        this.spend(1, { table: 'orders' });
        this.spend(2, { table: 'items' });
        this.spend(5, { table: 'reorders' });
      }
    }
    expect(await breachesOf('', TablesController)).toEqual([
      { dimension: 'perTable.orders', used: 3, limit: 2, from: '@QueryBudget on TablesController.get' },
    ]);
  });

  it('is resolved for each dimension: handler, controller, module, HTTP method, forRoot()', async () => {
    @QueryBudget({ writes: 1, rows: 99, queries: 99 })
    @Module({})
    class ShopModule {}

    @Controller()
    @QueryBudget({ rows: 1, queries: 99 })
    class ShopController extends Costs {
      @Post()
      @QueryBudget({ queries: 1 })
      post(): void {
        this.spend(5, { rows: 2, ms: 10, write: true });
      }
    }
    Reflect.defineMetadata('design:paramtypes', [ContextService], ShopController);
    test = await startApp({
      imports: [{ module: ShopModule, controllers: [ShopController] }],
      budget: {
        default: { perTable: { orders: 1 }, durationMs: 99 },
        byMethod: { POST: { durationMs: 1 }, GET: { durationMs: 0 } },
      },
    });
    await fetch(test.url, { method: 'POST' });
    const [record] = await test.records(1);
    expect(Object.fromEntries(record!.breaches.map(({ dimension, from }) => [dimension, from]))).toEqual({
      queries: '@QueryBudget on ShopController.post',
      rows: '@QueryBudget on ShopController',
      writes: '@QueryBudget on ShopModule',
      durationMs: 'forRoot({ budget.byMethod.POST })',
      'perTable.orders': 'forRoot({ budget })',
    });
    // One error for the request, whatever the number of dimensions.
    expect(test.logs.of('error', 'QueryBudget')).toHaveLength(1);
  });

  it.each([
    Number.NaN,
    -1,
    1.5,
    '100' as never,
    Infinity,
    Number.MAX_SAFE_INTEGER + 1,
    null as never,
    [] as never,
  ])('refuses %j when the class is declared, and names it', limit => {
    expect(() => {
      class WrongController {
        @QueryBudget(limit)
        list(): void {}
      }
      return WrongController;
    }).toThrow(/^ASYNC_CONTEXT_INVALID_BUDGET: @QueryBudget on WrongController\.list: /);
    expect(() => {
      @QueryBudget({ perTable: { orders: limit } })
      class WrongController {}
      return WrongController;
    }).toThrow(/@QueryBudget on WrongController: perTable\.orders is /);
  });

  it.each([0, Number.MAX_SAFE_INTEGER])('accepts %d', limit => {
    expect(() => QueryBudget({ queries: limit })(class Fine {})).not.toThrow();
  });

  it('refuses a dimension that there is not', () => {
    expect(() => QueryBudget({ querys: 1 } as never)(class Wrong {})).toThrow(
      '@QueryBudget on Wrong: querys is 1. There is no such dimension',
    );
  });
});

describe('@QueryBudget.exempt()', () => {
  function exempted(until: string) {
    @Controller()
    @QueryBudget(1)
    class ExemptController extends Costs {
      @Get()
      @QueryBudget.exempt({ queries: 3, issue: 'SHOP-12', owner: 'checkout', until })
      get(): void {
        this.spend(3);
      }

      @Get('more')
      @QueryBudget.exempt({ queries: 3, issue: 'SHOP-12', owner: 'checkout', until })
      more(): void {
        this.spend(4);
      }
    }
    return ExemptController;
  }
  const day = (offset: number): string =>
    new Date(Date.now() + offset * 86_400_000).toISOString().slice(0, 10);

  it('raises the ceiling until the end of its last day, and names ticket and owner', async () => {
    expect(await breachesOf('', exempted(day(0)))).toEqual([]);
    const [record] = test.sink.records;
    expect(record!.owner).toBe('checkout');
    await test.close();
    expect(await breachesOf('more', exempted(day(1)))).toEqual([
      {
        dimension: 'queries',
        used: 4,
        limit: 3,
        from: `@QueryBudget.exempt on ExemptController.more until ${day(1)} (SHOP-12)`,
      },
    ]);
    expect(test.logs.of('warn', 'AsyncContext')).toEqual([]);
  });

  it('no longer exempts after that, and says so at start-up', async () => {
    expect(await breachesOf('', exempted(day(-1)))).toEqual([
      { dimension: 'queries', used: 3, limit: 1, from: '@QueryBudget on ExemptController' },
    ]);
    expect(test.logs.of('warn', 'AsyncContext')).toContain(
      `@QueryBudget.exempt on ExemptController.get expired on ${day(-1)} and no longer applies: resolve SHOP-12 (checkout), then remove or renew it`,
    );
  });

  it('ends while the application runs', async () => {
    expect(await breachesOf('', exempted(day(0)))).toEqual([]);
    vi.spyOn(Date, 'now').mockReturnValue(Date.now() + 86_400_000);
    try {
      await fetch(test.url);
      const records = await test.records(2);
      expect(records[1]!.breaches).toMatchObject([{ limit: 1 }]);
    } finally {
      vi.restoreAllMocks();
    }
  });

  it.each([
    [{ queries: 1, issue: '', until: '2027-01-31' }, 'issue is ""'],
    [{ queries: 1, issue: 'X', until: '2027-02-30' }, 'until is "2027-02-30"'],
    [{ queries: 1, issue: 'X', until: '31.01.2027' }, 'until is "31.01.2027"'],
    [{ queries: 1, issue: 'X' } as never, 'until is undefined'],
    [{ issue: 'X', until: '2027-01-31' }, 'queries is undefined. An exemption raises limits'],
    [{ queries: -1, issue: 'X', until: '2027-01-31' }, 'queries is -1'],
    [{ queries: 1, issue: 'X', owner: 5, until: '2027-01-31' } as never, 'owner is 5'],
  ])('refuses %j', (exemption, says) => {
    expect(() => QueryBudget.exempt(exemption)(class Wrong {})).toThrow(
      `@QueryBudget.exempt on Wrong: ${says}`,
    );
  });
});
