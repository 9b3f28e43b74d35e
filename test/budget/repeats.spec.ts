import { Controller, Get, Injectable, Param } from '@nestjs/common';
import { Pool } from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ContextService, QueryBudget, type RepeatFinding, ProcessFigures } from 'nestjs-async-context';
import { databaseUrl, isEmbedded } from '../support/database';
import { platforms, startApp, until } from '../support/platforms';

const schema = `repeats_${process.pid}`;
let pool: Pool;

@Injectable()
class Shop {
  orders(count: number): Promise<{ rows: { id: number }[] }> {
    return pool.query(`SELECT id FROM ${schema}.orders ORDER BY id LIMIT $1`, [count]);
  }
  items(order: number): Promise<unknown> {
    return pool.query(`SELECT * FROM ${schema}.items WHERE order_id = $1`, [order]);
  }
}

@Controller()
class OrdersController {
  constructor(
    readonly shop: Shop,
    readonly context: ContextService,
  ) {}

  async load(count: number): Promise<void> {
    for (const { id } of (await this.shop.orders(count)).rows) await this.shop.items(id);
  }

  @Get('watched/:count')
  @QueryBudget({ repeats: 4 })
  async watched(@Param('count') count: string): Promise<readonly RepeatFinding[]> {
    await this.load(Number(count));
    return this.context.cost?.findings() ?? [];
  }

  @Get('ignored')
  @QueryBudget({ repeats: 0 })
  @QueryBudget.ignore({
    shape: `SELECT * FROM ${schema}.items…`,
    reason: 'replaced in SHOP-31',
    until: '2099-12-31',
  })
  @QueryBudget.ignore({ shape: 'SELECT something else', reason: 'another', until: '2099-12-31' })
  ignored(): Promise<void> {
    return this.load(5);
  }

  @Get('expired')
  @QueryBudget({ repeats: 0 })
  @QueryBudget.ignore({
    shape: `SELECT * FROM ${schema}.items WHERE order_id = ?`,
    reason: 'SHOP-30',
    until: '2026-01-31',
  })
  expired(): Promise<void> {
    return this.load(5);
  }

  @Get('uncounted')
  @QueryBudget({ queries: 1, repeats: 0 })
  async uncounted(): Promise<number | undefined> {
    await this.context.uncounted('a report that is on its way out', () => this.load(5));
    await this.shop.orders(1);
    return this.context.cost?.queries;
  }
}

beforeAll(async () => {
  pool = new Pool({ connectionString: databaseUrl(), max: isEmbedded ? 1 : 4 });
  await pool.query(`CREATE SCHEMA ${schema}`);
  await pool.query(`CREATE TABLE ${schema}.orders AS SELECT n AS id FROM generate_series(1, 50) AS n`);
  await pool.query(
    `CREATE TABLE ${schema}.items AS SELECT n AS id, n AS order_id FROM generate_series(1, 50) AS n`,
  );
});
afterAll(async () => {
  await pool.query(`DROP SCHEMA ${schema} CASCADE`);
  await pool.end();
});

describe.each(platforms)('repeats on %s', platform => {
  const start = () => startApp({ platform, controllers: [OrdersController], providers: [Shop] });

  it('are a breach from the first that is too many, with the parent, both lines and the remedy', async () => {
    const test = await start();
    expect(await (await fetch(`${test.url}/watched/4`)).json()).toMatchObject([{ count: 4 }]);
    await fetch(`${test.url}/watched/5`);
    const [within, broken] = await test.records(2);
    expect(within!.breaches).toEqual([]);
    expect(broken!.breaches).toMatchObject([{ dimension: 'repeats', used: 5, limit: 4 }]);
    expect(broken!.findings).toMatchObject([
      {
        kind: 'n-plus-one',
        confidence: 'proven',
        table: `${schema}.items`,
        count: 5,
        parents: [
          {
            table: `${schema}.orders`,
            column: 'id',
            rows: 5,
            callSite: expect.stringMatching(/^repeats\.spec\.ts:\d+ orders$/),
          },
        ],
        callSite: expect.stringMatching(/^repeats\.spec\.ts:\d+ items$/),
      },
    ]);
    const [line] = await until(() => test.logs.of('error', 'QueryBudget'), 'a line');
    expect(line).toMatch(/^OrdersController\.watched: 5 N\+1 queries \(budget 4\), an N\+1 on \S+\.items /);
    expect(line).toMatch(
      / {2}5 × +SELECT \* FROM \S+\.items WHERE order_id = \? {4}repeats\.spec\.ts:\d+ items\n +one for each \S+\.orders\.id of SELECT id FROM \S+\.orders ORDER BY id LIMIT \? {4}repeats\.spec\.ts:\d+ orders\n/,
    );
    expect(line).toMatch(/fix +load \S+\.items for all \S+\.orders at once: a JOIN/);
    await test.close();
  });

  it('are none where values are not compared: what the counts show is suspected, in the record alone', async () => {
    const test = await startApp({
      platform,
      controllers: [OrdersController],
      providers: [Shop],
      findings: { compareValues: false },
    });
    await fetch(`${test.url}/watched/5`);
    const [record] = await test.records(1);
    expect(record!.breaches).toEqual([]);
    expect(record!.findings).toMatchObject([{ kind: 'n-plus-one', confidence: 'suspected', count: 5 }]);
    expect(record!.findings![0]!.parents[0]).not.toHaveProperty('column');
    expect(test.logs.of('error', 'QueryBudget')).toEqual([]);
    await test.close();
  });

  it('that are ignored are none, until the day is over, which each start says', async () => {
    const test = await start();
    await fetch(`${test.url}/ignored`);
    await fetch(`${test.url}/expired`);
    const [ignored, expired] = await test.records(2);
    expect(ignored).toMatchObject({ queries: { count: 6 }, breaches: [] });
    expect(ignored).not.toHaveProperty('findings');
    expect(expired!.breaches).toMatchObject([{ dimension: 'repeats', used: 5 }]);
    expect(test.logs.of('warn', 'AsyncContext')).toEqual([
      expect.stringMatching(
        /^@QueryBudget\.ignore on OrdersController\.expired expired on 2026-01-31 and no longer ignores SELECT \* FROM .*SHOP-30/,
      ),
    ]);
    await test.close();
  });

  it('that are declared not to count are counted apart', async () => {
    const test = await start();
    expect(await (await fetch(`${test.url}/uncounted`)).json()).toBe(1);
    const [record] = await test.records(1);
    expect(record).toMatchObject({
      queries: { count: 1, rows: 1 },
      uncounted: [{ reason: 'a report that is on its way out', queries: 6, rows: 10, cache: 0 }],
      breaches: [],
    });
    await test.close();
  });
});

describe('@QueryBudget.ignore', () => {
  it.each([
    [{ shape: ' ' }, 'shape'],
    [{ reason: '' }, 'reason'],
    [{ until: '2027-02-30' }, 'until'],
  ])('refuses %j when the class is declared', (wrong, path) => {
    expect(() =>
      QueryBudget.ignore({ shape: 'SELECT ?', reason: 'SHOP-1', until: '2027-01-31', ...wrong })(
        class Handler {},
      ),
    ).toThrow(new RegExp(`@QueryBudget\\.ignore on Handler.*${path}`));
  });
});

describe('contextService.uncounted()', () => {
  it('only runs outside of any unit of work', async () => {
    const test = await startApp({});
    expect(test.app.get(ContextService).uncounted('none', () => 7)).toBe(7);
    await test.close();
  });

  it('keeps 20 reasons, and what comes after them as other', async () => {
    const test = await startApp({});
    const context = test.app.get(ContextService);
    await context.run({ requestId: 'unit' }, async () => {
      for (let i = 1; i <= 22; i++) await context.uncounted(`reason ${i}`, () => pool.query('SELECT 1'));
      await context.uncounted('reason 20', () => pool.query('SELECT 1'));
    });
    const [record] = await test.records(1);
    expect(record!.queries.count).toBe(0);
    expect(record!.uncounted).toHaveLength(21);
    expect(record!.uncounted!.slice(19)).toMatchObject([
      { reason: 'reason 20', queries: 2 },
      { reason: 'other', queries: 2 },
    ]);
    await test.close();
  });
});

describe('processFigures.attribution', () => {
  it('tells for each driver what was charged, late and lost', async () => {
    const test = await startApp({});
    const context = test.app.get(ContextService);
    const figures = test.app.get(ProcessFigures);
    const before = { charged: 0, late: 0, lost: 0, ...figures.attribution.drivers['pg'] };
    let later: Promise<unknown> | undefined;
    await context.run({}, async () => {
      await pool.query('SELECT 1');
      await context.uncounted('also charged', () => pool.query('SELECT 1'));
      later = new Promise(resolve => setTimeout(resolve, 20)).then(() => pool.query('SELECT 1'));
    });
    await later;
    await pool.query('SELECT 1');
    const { pg } = figures.attribution.drivers;
    expect({
      charged: pg!.charged - before.charged,
      late: pg!.late - before.late,
      lost: pg!.lost - before.lost,
    }).toEqual({ charged: 2, late: 1, lost: 1 });
    expect(figures.attribution.lost).toBeGreaterThanOrEqual(pg!.lost);
    await test.close();
  });
});
