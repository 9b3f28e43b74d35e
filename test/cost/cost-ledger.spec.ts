import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { CostLedger } from '../../lib/cost/cost-ledger';
import type { Statement } from '../../lib/sql/statement';

// The sources import it: what is faked is the global.
vi.mock('node:perf_hooks', async original => ({
  ...(await original<object>()),
  get performance() {
    return globalThis.performance;
  },
}));

const statement = (shape: string, more: Partial<Statement> = {}): Statement => ({
  shape,
  table: 'orders',
  operation: 'SELECT',
  kind: 'read',
  ...more,
});
const read = statement('SELECT');
const here = (): void => undefined;

describe('CostLedger', () => {
  let ledger: CostLedger;

  beforeEach(() => {
    vi.useFakeTimers({ toFake: ['performance'] });
    ledger = new CostLedger();
  });
  afterEach(() => vi.useRealTimers());

  it('adds up durations, and the time in which any query was under way', () => {
    const first = ledger.begin(read, here);
    vi.advanceTimersByTime(10);
    const second = ledger.begin(read, here);
    vi.advanceTimersByTime(10);
    first!.end(2);
    vi.advanceTimersByTime(5);
    second!.end(3);
    vi.advanceTimersByTime(100);
    const third = ledger.begin(read, here);
    vi.advanceTimersByTime(1);
    third!.end(0, true);
    expect(ledger).toMatchObject({
      queries: 3,
      rows: 5,
      errors: 1,
      durationMs: 36,
      busyMs: 26,
      maxConcurrent: 2,
    });
  });

  it('counts apart what is shown alike and is not the same', () => {
    for (const key of ['#a', '#b', '#a']) ledger.begin(statement('SELECT 45 columns', { key }), here)!.end(1);
    expect([...ledger.shapes!.values()].map(({ shape, count }) => [shape, count])).toEqual([
      ['SELECT 45 columns', 2],
      ['SELECT 45 columns', 1],
    ]);
  });

  it('counts the wait for a pool apart, and not as time in which a query was under way', () => {
    const waiting = ledger.begin(read, here)!;
    waiting.queued();
    vi.advanceTimersByTime(10);
    const other = ledger.begin(read, here)!;
    vi.advanceTimersByTime(5);
    other.end(0);
    vi.advanceTimersByTime(5);
    waiting.sent();
    vi.advanceTimersByTime(3);
    waiting.end(1);
    expect(ledger).toMatchObject({ queries: 2, waitMs: 20, durationMs: 8, busyMs: 8, maxConcurrent: 2 });
  });

  it('has waited only, where the pool gave up', () => {
    const waiting = ledger.begin(read, here)!;
    waiting.queued();
    vi.advanceTimersByTime(10);
    waiting.end(0, true);
    waiting.sent();
    expect(ledger).toMatchObject({ queries: 1, errors: 1, waitMs: 10, durationMs: 0, busyMs: 0 });
  });

  it('adds up bytes', () => {
    ledger.begin(read, here)!.end(1, false, 100);
    ledger.begin(read, here)!.end(1, false, 20);
    expect(ledger.bytes).toBe(120);
  });

  it('ends a query once', () => {
    const handle = ledger.begin(read, here)!;
    vi.advanceTimersByTime(10);
    handle.end(1);
    vi.advanceTimersByTime(10);
    handle.end(100, true);
    expect(ledger).toMatchObject({ rows: 1, errors: 0, durationMs: 10 });
  });

  it('takes a stack at the fifth repeat of a shape, not at the fourth, and once', () => {
    const stackOf = () => ledger.shapes!.get('SELECT')!.stack;
    for (let i = 0; i < 4; i++) ledger.begin(read, here);
    expect(stackOf()).toBeUndefined();
    ledger.begin(read, here);
    const stack = stackOf();
    expect(stack).toBeDefined();
    ledger.begin(read, here);
    expect(stackOf()).toBe(stack);
  });

  it('keeps 500 shapes and counts the 501st as other, with its table', () => {
    for (let i = 0; i < 500; i++) ledger.begin(statement(`SELECT ${i}`), here)!.end(1);
    expect(ledger.otherShapes).toBeUndefined();
    ledger.begin(statement('SELECT 500', { table: 'items' }), here)!.end(7);
    ledger.begin(statement('SELECT 0'), here)!.end(1);
    expect(ledger.shapes!.size).toBe(500);
    expect(ledger.otherShapes).toMatchObject({ count: 1, rows: 7 });
    expect(ledger.tables!.get('items')).toMatchObject({ count: 1, rows: 7 });
    expect(ledger.shapes!.get('SELECT 0')).toMatchObject({ count: 2, rows: 2 });
  });

  it('keeps 100 tables and counts the rest in the totals alone', () => {
    for (let i = 0; i < 101; i++)
      ledger.begin(statement('SELECT', { shape: `SELECT ${i}`, table: `table_${i}` }), here)!.end(1);
    expect(ledger.tables!.size).toBe(100);
    expect(ledger).toMatchObject({ queries: 101, rows: 101 });
  });

  it('counts what comes after the close as late', () => {
    const handle = ledger.begin(read, here)!;
    ledger.isClosed = true;
    expect(ledger.begin(read, here)).toBeUndefined();
    ledger.record(read, 1, 1);
    vi.advanceTimersByTime(3);
    handle.end(4);
    expect(ledger).toMatchObject({ queries: 1, late: 2, rows: 4, durationMs: 3 });
  });
});
