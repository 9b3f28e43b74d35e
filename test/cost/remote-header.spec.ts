import { describe, expect, it } from 'vitest';
import { throwingLimitHook } from '../../lib/budget/limit-hooks';
import { CostLedger } from '../../lib/cost/cost-ledger';
import { costEntry, readCost } from '../../lib/cost/remote-header';

const ENTRY = 'nac;dur=41.2;desc="12 queries 340 rows"';

function ledger(queries: number, rows: number, durationMs: number): CostLedger {
  const cost = new CostLedger();
  for (let i = 0; i < queries; i += 1) {
    cost.record(
      { shape: 'SELECT ?', table: undefined, kind: 'read', operation: 'SELECT' } as never,
      rows / queries,
      durationMs / queries,
    );
  }
  return cost;
}

describe('the cost in a Server-Timing', () => {
  it('is that of the unit of work and of those it has asked, and is read as it was written', () => {
    const cost = ledger(2, 40, 1.25);
    expect(costEntry(cost)).toBe('nac;dur=1.3;desc="2 queries 40 rows", ');
    cost.addRemote('a.internal', { queries: 10, rows: 300, durationMs: 40 });
    expect(costEntry(cost)).toBe('nac;dur=41.3;desc="12 queries 340 rows", ');
    expect(readCost(`${costEntry(cost)}total;dur=1`)).toEqual({ queries: 12, rows: 340, durationMs: 41.3 });
  });

  it('is left out where there was no query', () => {
    expect(costEntry(new CostLedger())).toBe('');
  });

  it.each([
    [ENTRY, 12],
    [`cdn;dur=1, ${ENTRY}, total;dur=5`, 12],
    [`cdn;desc="a, b",${ENTRY} ,total`, 12],
    // A gateway has passed on what it was answered, and added its own: that has the other in it.
    [`nac;dur=1;desc="3 queries 3 rows", ${ENTRY}`, 12],
    ['nac;dur=0;desc="1 queries 0 rows"', 1],
    ['nac;dur=1000000000000;desc="1000000000000 queries 1000000000000 rows"', 1_000_000_000_000],
  ])('is read among others: %s', (header, queries) => {
    expect(readCost(header)?.queries).toBe(queries);
  });

  it.each([
    '',
    'db;dur=1;desc="12 queries"',
    `x${ENTRY}`,
    `${ENTRY}x`,
    'nac',
    'nac;dur=41.2',
    'nac;desc="12 queries 340 rows"',
    'nac;dur=-1;desc="12 queries 340 rows"',
    'nac;dur=1e9;desc="12 queries 340 rows"',
    'nac;dur=1;desc="1.5 queries 340 rows"',
    'nac;dur=1;desc="12 queries 340 rows; more"',
    'nac;dur=1;desc="NaN queries 1 rows"',
    'nac;dur=1;desc="1000000000001 queries 1 rows"',
    'nac;dur=1;desc="99999999999999 queries 1 rows"',
  ])('is not made of what is none: %j', header => {
    expect(readCost(header)).toBeUndefined();
  });

  it('is read in 4,096 characters, and not in 4,097', () => {
    const filler = (length: number): string => `${'x'.repeat(length - ENTRY.length - 2)}, ${ENTRY}`;
    expect(readCost(filler(4_096))?.queries).toBe(12);
    expect(readCost(filler(4_097))).toBeUndefined();
  });
});

describe('the cost at other services', () => {
  it('is kept by host for the first 50, and in total for all', () => {
    const cost = new CostLedger();
    for (let i = 0; i < 60; i += 1)
      cost.addRemote(`h${i}`.padEnd(150, 'x'), { queries: 1, rows: 2, durationMs: 3 });
    cost.addRemote('h0'.padEnd(150, 'x'), { queries: 1, rows: 2, durationMs: 3 });
    expect(cost.remote).toMatchObject({ calls: 61, queries: 61, rows: 122, durationMs: 183 });
    expect(cost.remote!.targets.size).toBe(50);
    expect(cost.remote!.targets.get('h0'.padEnd(100, 'x'))).toEqual({
      calls: 2,
      queries: 2,
      rows: 4,
      durationMs: 6,
    });
    expect([cost.remoteQueries, cost.remoteRows]).toEqual([61, 122]);
  });

  it('is not that of a unit of work that is closed', () => {
    const cost = new CostLedger();
    cost.isClosed = true;
    cost.addRemote('a', { queries: 1, rows: 1, durationMs: 1 });
    expect(cost.remote).toBeUndefined();
  });
});

describe('a budget of remote queries with onExceeded: throw', () => {
  it('keeps back the next query once an answer has told of too many', () => {
    const cost = new CostLedger();
    const limits = [{ dimension: 'remoteQueries', limit: 2, from: 'test' }];
    cost.limitHook = throwingLimitHook(limits);
    const statement = { shape: 'SELECT ?', table: undefined, kind: 'read', operation: 'SELECT' } as never;
    const begin = (): unknown => cost.begin(statement, begin);
    cost.addRemote('a', { queries: 2, rows: 0, durationMs: 0 });
    expect(begin).not.toThrow();
    cost.addRemote('a', { queries: 1, rows: 0, durationMs: 0 });
    expect(begin).toThrow(/3.*remoteQueries|remoteQueries.*3/);
  });
});
