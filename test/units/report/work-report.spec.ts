import { Controller, Get, Param } from '@nestjs/common';
import { Pool } from 'pg';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { AsyncContextModule, QueryBudget } from 'nestjs-async-context';
import { databaseUrl, isEmbedded } from '../../support/database';
import { platforms, startApp, type TestApp, until } from '../../support/platforms';

const ORDERS = 'work_report_orders';
const ITEMS = 'work_report_items';
const REPORTS = ['QueryBudget', 'EventLoop', 'ConnectionPool', 'SlowRequest', 'Findings'];
let pool: Pool;

@Controller()
class OrdersController {
  /** An N+1 that asks for all connections at once. */
  @Get('list')
  @QueryBudget(20)
  async list(): Promise<number> {
    const items = await Promise.all((await this.orders(30)).map(id => this.items(id)));
    return items.length;
  }

  @Get('within/:count')
  async within(@Param('count') count: string): Promise<void> {
    for (const id of await this.orders(Number(count))) await this.items(id, 0);
  }

  @Get('again/:count')
  async again(@Param('count') count: string): Promise<void> {
    for (let i = 0; i < Number(count); i += 1) await this.items(37, 0);
  }

  /** Twenty fan-outs, each more frequent than what is worth a line. */
  @Get('among')
  async among(): Promise<void> {
    for (let shape = 0; shape < 20; shape += 1) {
      const ids = Array.from({ length: 22 }, (_, id) => id);
      await Promise.all(ids.map(id => pool.query(`SELECT $1::int AS among_${shape}`, [id])));
    }
    for (let i = 0; i < 21; i += 1) await this.items(37, 0);
  }

  /** Blocks the event loop, and makes too many queries. */
  @Get('blocks')
  @QueryBudget(2)
  async blocks(): Promise<void> {
    const endMs = performance.now() + 600;
    while (performance.now() < endMs);
    for (let i = 0; i < 4; i += 1) await pool.query('SELECT $1::int', [i]);
  }

  @Get('one')
  @QueryBudget(0)
  async one(): Promise<void> {
    await pool.query(`SELECT id FROM ${ORDERS} LIMIT 1`);
  }

  /** Computes longer than it asks the database. */
  @Get('database')
  @QueryBudget({ durationMs: 10 })
  async database(): Promise<void> {
    await pool.query('SELECT pg_sleep(0.05)');
    const endMs = performance.now() + 200;
    while (performance.now() < endMs);
  }

  /** Much of one table, and too much of another. */
  @Get('tables')
  @QueryBudget({ perTable: { [ITEMS]: 2 } })
  async tables(): Promise<void> {
    for (const id of await this.orders(3)) await this.items(id, 0);
    for (let i = 0; i < 20; i += 1) await pool.query(`SELECT count(*) FROM ${ORDERS} WHERE id > $1`, [i]);
  }

  /** Over its budget in each request, and once it blocks the event loop. */
  @Get('often/:ms')
  @QueryBudget(0)
  async often(@Param('ms') ms: string): Promise<void> {
    await pool.query('SELECT 1');
    const endMs = performance.now() + Number(ms);
    while (performance.now() < endMs);
  }

  /** Ends only when the test lets it. */
  @Get('deadlock')
  async deadlock(): Promise<void> {
    const first = await pool.connect();
    const second = pool.connect();
    await until(() => isLetGo, 'end');
    first.release();
    (await second).release();
  }

  private async orders(count: number): Promise<number[]> {
    const text = `SELECT id FROM ${ORDERS} ORDER BY id LIMIT $1`;
    return (await pool.query<{ id: number }>(text, [count])).rows.map(({ id }) => id);
  }

  private items(id: number, seconds = 0.02): Promise<unknown> {
    return pool.query(`SELECT name, pg_sleep($2) FROM ${ITEMS} WHERE order_id = $1`, [id, seconds]);
  }
}

let isLetGo = false;
let test: TestApp | undefined;
const reportsOf = () =>
  test!.logs.lines.filter(
    ({ context, message }) => REPORTS.includes(context) && String(message).startsWith('OrdersController.'),
  );
const get = async (path: string): Promise<string> => {
  const response = await fetch(`${test!.url}/${path}`);
  await response.text();
  return response.headers.get('x-request-id')!;
};

beforeAll(async () => {
  pool = new Pool({ connectionString: databaseUrl(), max: 1 });
  await pool.query(`DROP TABLE IF EXISTS ${ORDERS}, ${ITEMS}`);
  await pool.query(`CREATE TABLE ${ORDERS} AS SELECT i * 37 AS id FROM generate_series(1, 30) i`);
  await pool.query(`CREATE TABLE ${ITEMS} AS SELECT id AS order_id, 'x' AS name FROM ${ORDERS}`);
});
afterAll(async () => {
  await pool.query(`DROP TABLE IF EXISTS ${ORDERS}, ${ITEMS}`);
  await pool.end();
});
afterEach(() => {
  isLetGo = true;
  return test?.close();
});

describe.skipIf(isEmbedded).each(platforms)('the report of a request on %s', platform => {
  it('says all that is wrong with it once: one cause and one remedy', async () => {
    test = await startApp({
      platform,
      controllers: [OrdersController],
      slowAfterMs: 100,
      poolWaitMs: 100,
      stallMs: 0,
    });
    const id = await get('list');
    await test!.records(1);
    const [report, ...others] = reportsOf();
    expect(others).toEqual([]);
    expect(report).toMatchObject({ level: 'error', context: 'QueryBudget' });
    const [headline, ...lines] = String(report!.message).split('\n');
    expect(headline).toBe(
      `OrdersController.list: 31 queries (budget 20), an N+1 on ${ITEMS}    req ${id.slice(0, 8)}`,
    );
    expect(lines).toEqual([
      expect.stringMatching(
        /^ {2}30 × SELECT name, pg_sleep\(\?\) FROM \S+ .* {4}work-report\.spec\.ts:\d+ /,
      ),
      expect.stringMatching(/^ {7}one for each \S+_orders\.id of SELECT id .* {4}work-report\.spec\.ts:\d+ /),
      `  fix  load ${ITEMS} for all ${ORDERS} at once: a JOIN, IN (…) or a DataLoader`,
      expect.stringMatching(/^ {2}also waited [\d,]+ ms for a pg connection: 1 of 1 in use, /),
      expect.stringMatching(
        new RegExp(`^ {2}time [\\d,]+ ms: .*database \\d+.* {6}details: record ${id} in your sink$`),
      ),
    ]);
    expect(report!.fields).toMatchObject({
      report: 'breach',
      requestId: id,
      'used.queries': 31,
      cause: `an N+1 on ${ITEMS}`,
      fix: `load ${ITEMS} for all ${ORDERS} at once: a JOIN, IN (…) or a DataLoader`,
      driver: 'pg',
    });
    expect(report!.fields).not.toHaveProperty('top1.shape');
    for (const value of Object.values(report!.fields!)) expect(typeof value).not.toBe('object');
  });

  it("says all that is known with reports: 'full'", async () => {
    test = await startApp({
      platform,
      controllers: [OrdersController],
      reports: 'full',
      stallMs: 0,
      slowAfterMs: 100,
      poolWaitMs: 100,
    });
    await get('list');
    await test!.records(1);
    const [report, ...others] = reportsOf();
    expect(others).toEqual([]);
    const labels = String(report!.message)
      .split('\n')
      .slice(1)
      .map(line => line.slice(2).split(/ {2,}| (?=\D)/)[0]);
    expect(labels).toEqual(
      expect.arrayContaining([
        'fix',
        'request',
        'budget',
        'time',
        'queries',
        'n+1',
        'pool',
        'holder',
        'group',
      ]),
    );
    expect(report!.fields).toMatchObject({ 'top1.count': 30, 'finding1.count': 30 });
  });

  it('tells of a stall in the report of a breach', async () => {
    test = await startApp({ platform, controllers: [OrdersController], slowAfterMs: 100 });
    await get('blocks');
    await test!.records(1);
    const reports = reportsOf();
    expect(reports).toHaveLength(1);
    expect(reports[0]).toMatchObject({ level: 'error', context: 'QueryBudget' });
  });

  it.each([
    [
      'one',
      /^OrdersController\.one: 1 query \(budget 0\) {4}req /,
      /fix +remove the query, or raise the budget/,
    ],
    [
      'database',
      /^OrdersController\.database: [\d.]+ ms of database time \(budget 10\)/,
      /1 × +SELECT pg_sleep.* {4}work-report\.spec\.ts:\d+ database\n[\s\S]*fix +run EXPLAIN/,
    ],
    ['tables', /: 3 queries on \S+_items \(budget 2\), an N\+1 on \S+_items/, /3 × +SELECT name/],
  ])('speaks of what was counted: %s', async (path, headline, rest) => {
    test = await startApp({ platform, controllers: [OrdersController], slowAfterMs: 0, stallMs: 0 });
    await get(path);
    await test!.records(1);
    const text = String(reportsOf()[0]!.message);
    expect(text).toMatch(headline);
    expect(text).toMatch(rest);
  });

  // Once: the watchdog looks at a handler once a minute and process.
  it.runIf(platform === 'express')(
    'tells of a stall where the breach of its request is held back',
    async () => {
      test = await startApp({ platform, controllers: [OrdersController], slowAfterMs: 0, stallMs: 250 });
      // The watchdog looks from a second on.
      await new Promise(resolve => setTimeout(resolve, 1_500));
      await get('often/0');
      // On a busy machine a stall may be the machine's, which is another report.
      for (let i = 0; i < 20 && reportsOf().length < 2; i += 1) await get('often/700');
      await until(() => reportsOf().length === 2, 'both');
      expect(reportsOf().map(({ context }) => context)).toEqual(['QueryBudget', 'EventLoop']);
      expect(String(reportsOf()[1]!.message)).toMatch(/^OrdersController\.often blocked the event loop for /);
    },
  );

  it('is not waited for by who waits for a connection that it holds itself', async () => {
    isLetGo = false;
    test = await startApp({
      platform,
      controllers: [OrdersController],
      poolWaitMs: 50,
      slowAfterMs: 50,
      stallMs: 0,
    });
    const asked = get('deadlock');
    const report = await until(() => reportsOf()[0], 'report');
    expect(report.message).toMatch(
      /^OrdersController\.deadlock has waited \d+ ms for a pg connection: 1 of 1 in use/,
    );
    expect(report.message).toMatch(
      /\n {2}itself +holds 1 of them while it waits, and asks for another at work-report\.spec\.ts:\d+ deadlock\n/,
    );
    expect(String(report.message).split('\n').length).toBeLessThanOrEqual(5);
    // So that most of its time is this wait, on a busy machine as well.
    await new Promise(resolve => setTimeout(resolve, 500));
    isLetGo = true;
    await asked;
    await test!.records(1);
    // Its end has nothing to add.
    expect(reportsOf()).toHaveLength(1);
  });
});

describe.skipIf(isEmbedded).each(platforms)('what repeats within its budget on %s', platform => {
  it.each([
    ['within/9', 0],
    ['within/10', 1],
    ['again/20', 0],
    ['again/21', 1],
  ])('is a warning of %s: %d', async (path, count) => {
    test = await startApp({ platform, controllers: [OrdersController], slowAfterMs: 0, stallMs: 0 });
    await get(path);
    await test!.records(1);
    expect(reportsOf()).toHaveLength(count);
    if (count === 0) return;
    const [{ level, context, message }] = reportsOf() as [ReturnType<typeof reportsOf>[number]];
    expect([level, context]).toEqual(['warn', 'Findings']);
    expect(message).toMatch(
      path.startsWith('within')
        ? /^OrdersController\.within: an N\+1 on \S+_items \(11 queries in total\) {4}req /
        : /^OrdersController\.again: 20 of 21 reads on \S+_items are duplicates \(21 queries in total\) {4}req /,
    );
    expect(String(message).split('\n').length).toBeLessThanOrEqual(9);
  });

  it('is said of what is worth a line, where the record has no room for it', async () => {
    test = await startApp({ platform, controllers: [OrdersController], slowAfterMs: 0, stallMs: 0 });
    await get('among');
    const [record] = await test!.records(1);
    expect(record!.findings!.map(({ kind }) => kind)).toEqual(Array(20).fill('fan-out'));
    expect(reportsOf().map(({ message }) => String(message))).toEqual([
      expect.stringMatching(/^OrdersController\.among: 20 of 21 reads on \S+_items are duplicates /),
    ]);
  });

  it('is one a minute for each handler, and the others are counted', async () => {
    test = await startApp({ platform, controllers: [OrdersController], slowAfterMs: 0, stallMs: 0 });
    for (let i = 0; i < 3; i += 1) await get('within/12');
    await get('again/30');
    await test!.records(4);
    expect(reportsOf()).toHaveLength(2);
    await test!.app.close();
    expect(test!.logs.of('warn', 'Reports').join()).toContain('2 findings (OrdersController.within');
  });

  it.each([
    [{ log: false } as const, 0],
    [{ min: 13 }, 0],
    [{ min: 12 }, 1],
  ])('is as %j says: %d', async (findings, count) => {
    test = await startApp({
      platform,
      controllers: [OrdersController],
      slowAfterMs: 0,
      stallMs: 0,
      findings,
    });
    await get('within/12');
    await test!.records(1);
    expect(reportsOf()).toHaveLength(count);
  });
});

describe('the options of reports', () => {
  const make = (options: object) => () => AsyncContextModule.forRoot(options);
  const refused = expect.objectContaining({ code: 'ASYNC_CONTEXT_INVALID_OPTION' }) as Error;

  it.each([
    { findings: { min: 3 } },
    { findings: { min: 1_000_000 } },
    { findings: { log: 'warn' } },
    { reports: 'short' },
  ])('takes %j', options => expect(make(options)).not.toThrow());
  it.each([
    { findings: { min: 2 } },
    { findings: { min: 1_000_001 } },
    { findings: { min: 10.5 } },
    { findings: { log: true } },
    { reports: 'long' },
  ])('refuses %j', options => expect(make(options)).toThrow(refused));
});
