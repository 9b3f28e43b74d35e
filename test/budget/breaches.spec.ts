import { Controller, Get, Query, Res } from '@nestjs/common';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { type BudgetBreach, ContextService, QueryBudget } from 'nestjs-async-context';
import { startApp, type TestApp } from '../support/platforms';

// The sources import it: what is faked is the global.
vi.mock('node:perf_hooks', async original => ({
  ...(await original<object>()),
  get performance() {
    return globalThis.performance;
  },
}));

let test: TestApp;
afterEach(() => test?.close());

@Controller()
class SpendingController {
  constructor(private readonly context: ContextService) {}

  @Get('spend')
  @QueryBudget({ queries: 1, rows: 10 })
  spend(@Query('queries') queries = '2', @Query('user') user?: string): string {
    if (user !== undefined) this.context.setUser({ id: user });
    for (let i = 0; i < Number(queries); i++) {
      this.context.record({
        system: 'postgresql',
        statement: `SELECT * FROM orders WHERE id = ${i} AND name = 'secret'`,
        rows: 10,
        durationMs: 2,
      });
    }
    return 'spent';
  }

  @Get('writes')
  @QueryBudget(10)
  writes(): void {
    for (let i = 0; i < 11; i++) {
      const statement = `INSERT INTO orders(id) VALUES (${i})`;
      this.context.record({ system: 'postgresql', statement, rows: 1, durationMs: 1 });
    }
  }

  @Get('other')
  @QueryBudget(0)
  other(): void {
    this.spend('1');
  }

  @Get('fails')
  @QueryBudget(0)
  fails(): never {
    this.spend('1');
    throw new Error('no');
  }

  @Get('hangs')
  @QueryBudget(0)
  hangs(@Res() _response: unknown): void {
    this.spend('1');
  }
}

describe('a breach', () => {
  it('is one error, with all that is needed to act on it and no value of a parameter', async () => {
    test = await startApp({ reports: 'full', controllers: [SpendingController] });
    const response = await fetch(`${test.url}/spend?queries=3&user=7`, {
      headers: { traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01' },
    });
    await test.records(1);
    const lines = test.logs.of('error', 'QueryBudget');
    expect(lines).toHaveLength(1);
    const [line] = lines;
    for (const fact of [
      'SpendingController.spend: 3 queries (budget 1), 30 rows (budget 10), one statement 3 times, one after another',
      'GET /spend, status 200',
      `request id ${response.headers.get('x-request-id')}`,
      'trace id 0af7651916cd43dd8448eb211c80319c',
      'user 7',
      'queries 3/1, from @QueryBudget on SpendingController.spend',
      'rows 30/10, from @QueryBudget on SpendingController.spend',
      '3 × SELECT * FROM orders WHERE id = ? AND name = ? (orders, 30 rows, 6 ms)',
      'one after another',
      'a JOIN, IN (…) or a DataLoader',
    ]) {
      expect(line).toContain(fact);
    }
    expect(line).not.toContain('secret');
  });

  it('has the remedy of a write for one shape that writes', async () => {
    test = await startApp({ controllers: [SpendingController] });
    await fetch(`${test.url}/writes`);
    await test.records(1);
    const [line = ''] = test.logs.of('error', 'QueryBudget');
    expect(line).toMatch(
      /, one statement 11 times, .*\n {2}fix +insert all rows into orders in one statement/s,
    );
    expect(line).not.toContain('fetch from');
  });

  it('is flat fields in a JSON log, and a block in a text log', async () => {
    test = await startApp({ reports: 'full', controllers: [SpendingController] });
    await fetch(`${test.url}/spend?queries=3&user=${encodeURIComponent('7\nERROR forged\u001b[31m')}`);
    await test.records(1);
    const report = test.logs.lines.find(({ context }) => context === 'QueryBudget')!;
    expect(report.fields).toMatchObject({
      handler: 'SpendingController.spend',
      route: 'GET /spend',
      method: 'GET',
      'used.queries': 3,
      'limit.queries': 1,
      'from.queries': '@QueryBudget on SpendingController.spend',
      'used.rows': 30,
      'top1.shape': 'SELECT * FROM orders WHERE id = ? AND name = ?',
      'top1.count': 3,
      'top1.table': 'orders',
      maxConcurrent: 1,
      suppressed: 0,
      fingerprint: expect.stringMatching(/^[0-9a-f]{16}$/) as string,
    });
    for (const value of Object.values(report.fields!)) expect(typeof value).not.toBe('object');

    const text = String(report.message);
    expect(text).toMatch(/\n {2}request +GET \/spend/);
    expect(text).not.toMatch(/\nERROR forged|\u001b/);
  });

  it('is not logged again within the window, and the next line counts what was not', async () => {
    vi.useFakeTimers({ toFake: ['performance'] });
    try {
      test = await startApp({ controllers: [SpendingController] });
      const lines = (): string[] => test.logs.of('error', 'QueryBudget');
      for (let i = 1; i <= 3; i++) {
        await fetch(`${test.url}/spend`);
        await test.records(i);
      }
      await fetch(`${test.url}/other`);
      await test.records(4);
      expect(lines().map(line => line.split(':')[0])).toEqual([
        'SpendingController.spend',
        'SpendingController.other',
      ]);

      vi.advanceTimersByTime(59_999);
      await fetch(`${test.url}/spend`);
      await test.records(5);
      expect(lines()).toHaveLength(2);

      vi.advanceTimersByTime(1);
      await fetch(`${test.url}/spend`);
      await test.records(6);
      expect(lines()).toHaveLength(3);
      expect(lines()[2]).toContain('3 similar reports suppressed');
      expect(test.sink.records.filter(({ breaches }) => breaches.length > 0)).toHaveLength(6);
    } finally {
      vi.useRealTimers();
    }
  });

  it('has the same fingerprint in each process, and another for another handler or dimension', async () => {
    const breaches: BudgetBreach[] = [];
    test = await startApp({
      controllers: [SpendingController],
      onExceeded: breach => void breaches.push(breach),
    });
    for (const path of ['spend', 'spend?queries=9', 'other', 'spend?queries=1'])
      await fetch(`${test.url}/${path}`);
    await test.records(4);
    const prints = breaches.map(({ fingerprint, record }) => [record.handler, fingerprint]);
    expect(
      new Set(prints.filter(([handler]) => handler === 'SpendingController.spend').map(([, print]) => print))
        .size,
    ).toBe(1);
    expect(new Set(prints.map(([, print]) => print)).size).toBe(2);
    // Pinned: a release that changed it would break the grouping of everybody's logs.
    expect(prints[0]![1]).toBe('04a5b44967654a3a');
  });

  it.each(['fails', 'hangs'])('is found when the handler %s', async path => {
    test = await startApp({ controllers: [SpendingController] });
    const leave = new AbortController();
    const response = fetch(`${test.url}/${path}`, { signal: leave.signal }).catch(() => undefined);
    setTimeout(() => leave.abort(), 50);
    await response;
    const [record] = await test.records(1);
    expect(record!.breaches).toHaveLength(1);
    expect(test.logs.of('error', 'QueryBudget')).toHaveLength(1);
  });
});

describe('onExceeded', () => {
  it('is called for each dimension, inside the context, in place of the log', async () => {
    const calls: [string, string | undefined][] = [];
    let context: ContextService | undefined;
    test = await startApp({
      controllers: [SpendingController],
      onExceeded: ({ dimension, used, limit, from, record }) => {
        calls.push([`${dimension} ${used}/${limit} ${from} ${record.handler}`, context?.requestId]);
      },
    });
    context = test.app.get(ContextService);
    const response = await fetch(`${test.url}/spend`);
    await test.records(1);
    const id = response.headers.get('x-request-id');
    expect(calls).toEqual([
      ['queries 2/1 @QueryBudget on SpendingController.spend SpendingController.spend', id],
      ['rows 20/10 @QueryBudget on SpendingController.spend SpendingController.spend', id],
    ]);
    expect(test.logs.of('error', 'QueryBudget')).toEqual([]);
  });
});
