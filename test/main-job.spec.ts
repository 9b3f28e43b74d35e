import { Controller, Get, Injectable, Param } from '@nestjs/common';
import { Client, Pool } from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ContextService, QueryBudget } from 'nestjs-async-context';
import { databaseUrl, isEmbedded } from './support/database';
import { platforms, startApp, type TestApp } from './support/platforms';

const pool = new Pool({ connectionString: databaseUrl(), max: isEmbedded ? 1 : 4 });

@Injectable()
class OrdersService {
  constructor(private readonly context: ContextService) {}

  async items(times: number): Promise<string | undefined> {
    for (let i = 0; i < times; i++) {
      await pool.query('SELECT * FROM generate_series(1, $1) AS orders WHERE orders > $2', [10, 0]);
    }
    return this.context.requestId;
  }
}

@Controller('orders')
@QueryBudget(100)
class OrdersController {
  constructor(private readonly orders: OrdersService) {}

  @Get(':times')
  async list(@Param('times') times: string) {
    return { requestId: await this.orders.items(Number(times)) };
  }
}

beforeAll(async () => {
  const client = new Client({ connectionString: databaseUrl() });
  await client.connect();
  await client.end();
});
afterAll(() => pool.end());

describe.each(platforms)('the main job on %s', platform => {
  let test: TestApp;

  beforeAll(async () => {
    test = await startApp({
      platform,
      controllers: [OrdersController],
      providers: [OrdersService],
      breachWindowMs: 0,
    });
  });
  afterAll(() => test.close());

  it('installs without a word', () => {
    expect(test.logs.of('warn', 'AsyncContext')).toEqual([]);
  });

  it.each([
    [100, 0],
    [101, 1],
    [500, 1],
  ])('%i queries against a budget of 100 log %i errors', async (queries, errors) => {
    const before = test.sink.records.length;
    const logged = test.logs.of('error', 'QueryBudget').length;

    const response = await fetch(`${test.url}/orders/${queries}`);
    const { requestId } = (await response.json()) as { requestId: string };
    const record = (await test.records(before + 1))[before]!;

    expect(response.headers.get('x-request-id')).toBe(requestId);
    expect(record).toMatchObject({
      requestId,
      handler: 'OrdersController.list',
      route: 'GET /orders/:times',
      status: 200,
      queries: { count: queries, rows: queries * 10, maxConcurrent: 1 },
    });
    const lines = test.logs.of('error', 'QueryBudget').slice(logged);
    expect(lines).toHaveLength(errors);
    if (errors === 0) return;
    expect(record.breaches).toEqual([
      { dimension: 'queries', used: queries, limit: 100, from: '@QueryBudget on OrdersController' },
    ]);
    expect(lines[0]).toContain(`OrdersController.list: ${queries} queries (budget 100)`);
    expect(lines[0]).toContain(requestId);
    expect(lines[0]).toMatch(/main-job\.spec\.ts:\d+ items/);
  });
});
