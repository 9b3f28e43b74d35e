import { setTimeout as sleep } from 'node:timers/promises';
import { Controller, Get, Injectable, Query, Scope } from '@nestjs/common';
import postgres, { type Sql } from 'postgres';
import { afterEach, describe, expect, it } from 'vitest';
import {
  type AsyncContextOptions,
  ContextService,
  type CostRecord,
  QueryBudget,
  type RequestCost,
  type TracedCallRecord,
  traceProviders,
} from 'nestjs-async-context';
import { databaseUrl } from '../../support/database';
import { platforms, startApp, type TestApp, type TestAppOptions, until } from '../../support/platforms';
import { recordOfUnit } from '../../support/units';

@Injectable()
class PricesService {
  made = 0;

  async of(id: number): Promise<number> {
    this.made += 1;
    await sleep(10);
    return id * 2;
  }

  tax(price: number): number {
    if (price < 0) throw new RangeError('negative');
    return price / 4;
  }
}

@Injectable()
class OrdersService {
  constructor(
    private readonly prices: PricesService,
    private readonly context: ContextService,
  ) {}

  async oneByOne(count: number): Promise<number> {
    let sum = 0;
    for (let i = 0; i < count; i++) sum += this.prices.tax(await this.prices.of(i));
    return sum;
  }

  async atOnce(count: number): Promise<number> {
    const prices = await Promise.all(Array.from({ length: count }, (_, i) => this.prices.of(i)));
    return prices.length;
  }

  /** Of a client that reports its own queries: no stack is taken. */
  async reported(): Promise<void> {
    this.context.record({ system: 'test', statement: 'SELECT id FROM orders', rows: 3, durationMs: 1 });
    for (let id = 0; id < 3; id += 1) {
      await sleep(1);
      this.context.record({ system: 'test', statement: 'SELECT * FROM items WHERE id = ?', durationMs: 1 });
    }
  }

  /** It is sent when it is awaited, in a turn that has nobody above it. */
  async awaited(sql: Sql): Promise<void> {
    for (let time = 0; time < 3; time += 1) await sql`SELECT ${1}::int`;
  }

  handedOn(): Promise<number> {
    return this.prices.of(1);
  }

  async leftRunning(): Promise<void> {
    void this.prices.of(1);
  }

  async inAnotherUnit(): Promise<void> {
    await this.context.run({ requestId: 'inner' }, () => this.prices.of(1));
  }

  live(): readonly TracedCallRecord[] | undefined {
    return this.context.cost?.providerCalls();
  }
}

@Injectable({ scope: Scope.REQUEST })
class BasketService {
  add(): number {
    return 1;
  }
}

@Controller('orders')
class OrdersController {
  cost: RequestCost | undefined;

  constructor(
    readonly orders: OrdersService,
    readonly context: ContextService,
  ) {}

  @Get('one-by-one')
  @QueryBudget(0)
  oneByOne(@Query('count') count: string): Promise<number> {
    this.cost = this.context.cost;
    this.context.record({ system: 'test', durationMs: 1 });
    return this.orders.oneByOne(Number(count));
  }

  @Get('live')
  live(): unknown {
    return this.orders.live();
  }
}

@Controller('basket')
class BasketController {
  constructor(private readonly basket: BasketService) {}

  @Get()
  add(): number {
    return this.basket.add() + this.basket.add();
  }
}

let test: TestApp;
afterEach(() => test.close());

async function start(options: TestAppOptions & AsyncContextOptions = {}): Promise<void> {
  test = await startApp({
    controllers: [OrdersController, BasketController],
    providers: [OrdersService, PricesService, BasketService],
    providerCalls: true,
    nest: { instrument: traceProviders() },
    ...options,
  });
}

function callOf({ providerCalls }: CostRecord, name: string): TracedCallRecord {
  const found = providerCalls?.find(({ call }) => call === name);
  if (found === undefined) throw new Error(`${name} is not in ${JSON.stringify(providerCalls)}`);
  return found;
}

describe.each(platforms)('providerCalls: true on %s', platform => {
  it('counts the calls of each provider method of a request, over its awaits', async () => {
    await start({ platform });
    const response = await fetch(`${test.url}/orders/one-by-one?count=3`);
    expect(await response.text()).toBe('1.5');
    const [record] = await test.records(1);
    const counts = record!.providerCalls!.map(({ call, count, errors }) => [call, count, errors]);
    expect(counts[0]).toEqual(['PricesService.of', 3, 0]);
    // Of the other two either may take longer: both take microseconds.
    expect(counts.slice(1).toSorted()).toEqual([
      ['OrdersService.oneByOne', 1, 0],
      ['PricesService.tax', 3, 0],
    ]);
    const of = callOf(record!, 'PricesService.of');
    const all = callOf(record!, 'OrdersService.oneByOne');
    expect(of.totalMs).toBeGreaterThan(25);
    expect(of.selfMs).toBe(of.totalMs);
    expect(all.totalMs).toBeGreaterThan(of.totalMs);
    // What is left of the one that waits is what it does itself.
    expect(all.selfMs).toBeLessThan(all.totalMs - of.totalMs + 0.01);
    expect(Object.isFrozen(record!.providerCalls)).toBe(true);
  });

  it('charges each of many requests at once with its own calls', async () => {
    await start({ platform });
    const counts = Array.from({ length: 60 }, (_, i) => 1 + (i % 7));
    const ids = await Promise.all(
      counts.map(async count => {
        const response = await fetch(`${test.url}/orders/one-by-one?count=${count}`);
        return response.headers.get('x-request-id');
      }),
    );
    const records = await test.records(counts.length);
    const charged = ids.map(
      id =>
        callOf(
          records.find(r => r.requestId === id)!,
          'PricesService.of',
        ).count,
    );
    expect(charged).toEqual(counts);
  });

  it('names the method in which a shape repeats where no line is known', async () => {
    await start({ platform });
    const orders = test.app.get(OrdersService);
    const reported = await recordOfUnit(test, () => orders.reported());
    expect(reported.findings).toMatchObject([{ count: 3, callSite: 'in OrdersService.reported' }]);

    const sql = postgres(databaseUrl(), { max: 1, fetch_types: false });
    const awaited = await recordOfUnit(test, () => orders.awaited(sql));
    await sql.end();
    expect(awaited.findings).toMatchObject([
      { kind: 'duplicate', count: 3, callSite: 'in OrdersService.awaited' },
    ]);
  });

  it('counts providers that Nest makes for a request', async () => {
    await start({ platform });
    expect(await (await fetch(`${test.url}/basket`)).text()).toBe('2');
    const [record] = await test.records(1);
    expect(callOf(record!, 'BasketService.add')).toMatchObject({ count: 2 });
  });

  it('shows them while the request runs, and in the log of a breach', async () => {
    await start({ platform, reports: 'full' });
    const live = (await (await fetch(`${test.url}/orders/live`)).json()) as TracedCallRecord[];
    expect(live).toMatchObject([{ call: 'OrdersService.live', count: 1, errors: 0 }]);
    expect(live[0]!.totalMs).toBeGreaterThan(0);
    await fetch(`${test.url}/orders/one-by-one?count=3`);
    await test.records(2);
    const [line] = test.logs.of('error', 'QueryBudget');
    expect(line).toMatch(/\n {2}calls +PricesService\.of ×3, [\d.]+ ms \(self [\d.]+ ms\)\n/);
    expect(line!.match(/^ {2}calls /gm)).toHaveLength(3);
    const { fields } = test.logs.lines.find(({ context }) => context === 'QueryBudget')!;
    expect(fields).toMatchObject({ 'calls1.call': 'PricesService.of', 'calls1.count': 3 });
  });

  it('charges what is under way when the client leaves up to then', async () => {
    await start({ platform });
    const leave = new AbortController();
    const left = fetch(`${test.url}/orders/one-by-one?count=100`, { signal: leave.signal }).catch(
      () => 'left',
    );
    const prices = test.app.get(PricesService);
    await until(() => prices.made >= 3, 'third call');
    leave.abort();
    expect(await left).toBe('left');
    const [record] = await test.records(1);
    expect(record!.aborted).toBe(true);
    const { count, totalMs, selfMs } = callOf(record!, 'OrdersService.oneByOne');
    expect(count).toBe(1);
    expect(totalMs).toBeGreaterThan(20);
    expect(totalMs).toBeLessThanOrEqual(record!.durationMs);
    expect(selfMs).toBeLessThan(totalMs / 2);
    // The loop goes on, and counts no more.
    await until(() => prices.made >= 10, 'tenth call');
    const late = test.app.get(OrdersController).cost!.providerCalls();
    expect(late.map(({ call, count: n }) => [call, n]).sort()).toEqual(
      record!.providerCalls!.map(({ call, count: n }) => [call, n]).sort(),
    );
  });
});

describe('the time of a call', () => {
  const work = (call: (orders: OrdersService) => Promise<unknown>): Promise<CostRecord> =>
    recordOfUnit(test, async () => {
      await call(test.app.get(OrdersService));
      await sleep(40);
    });

  it('of its own is less the union of calls at once inside', async () => {
    await start();
    const record = await work(orders => orders.atOnce(20));
    const all = callOf(record, 'OrdersService.atOnce');
    const of = callOf(record, 'PricesService.of');
    expect(of.count).toBe(20);
    expect(of.totalMs).toBeGreaterThan(20 * 9);
    expect(all.totalMs).toBeLessThan(of.totalMs);
    expect(all.selfMs).toBeLessThan(all.totalMs - 8);
  });

  it('that hands on the promise of another lasts as long', async () => {
    await start();
    const record = await work(orders => orders.handedOn());
    const outer = callOf(record, 'OrdersService.handedOn');
    const inner = callOf(record, 'PricesService.of');
    expect(outer.totalMs).toBeGreaterThanOrEqual(inner.totalMs);
    expect(outer.selfMs).toBeLessThan(inner.totalMs);
  });

  it('that is not waited for is not part of the one that made it', async () => {
    await start();
    const record = await work(orders => orders.leftRunning());
    const outer = callOf(record, 'OrdersService.leftRunning');
    expect(outer.totalMs).toBeLessThan(callOf(record, 'PricesService.of').totalMs);
  });

  it('of its own is all of it when the only other call is of another unit of work', async () => {
    await start();
    const record = await work(orders => orders.inAnotherUnit());
    expect(record.providerCalls).toHaveLength(1);
    const outer = callOf(record, 'OrdersService.inAnotherUnit');
    expect(outer.totalMs).toBeGreaterThan(8);
    expect(outer.selfMs).toBe(outer.totalMs);
    const inner = await until(() => test.sink.records.find(r => r.requestId === 'inner'), 'record');
    expect(callOf(inner, 'PricesService.of').count).toBe(1);
  });
});

describe('without', () => {
  it('providerCalls: true, no provider is touched and no record has calls', async () => {
    await start({ providerCalls: false });
    const orders = test.app.get(OrdersService);
    expect(Object.getOwnPropertyNames(orders)).toEqual(['prices', 'context']);
    await fetch(`${test.url}/orders/live`);
    const [record] = await test.records(1);
    expect(record).not.toHaveProperty('providerCalls');
    expect(test.logs.of('warn', 'AsyncContext')).toEqual([]);
  });

  it('instrument, the log says once what is missing, and what exists at the start is counted', async () => {
    await start({ nest: {} });
    await fetch(`${test.url}/orders/live`);
    await fetch(`${test.url}/basket`);
    const records = await test.records(2);
    expect(records.map(({ providerCalls }) => providerCalls?.length)).toEqual([1, undefined]);
    const warnings = test.logs.of('warn', 'AsyncContext');
    expect(warnings).toHaveLength(1);
    expect(warnings[0]).toContain('NestFactory.create(AppModule, { instrument: traceProviders() })');
  });
});

describe('a testing module', () => {
  it('is traced, though Nest hands none of its classes to the option', async () => {
    await start({ made: 'testing' });
    await fetch(`${test.url}/orders/live`);
    const [record] = await test.records(1);
    expect(callOf(record!, 'OrdersService.live').count).toBe(1);
  });
});
