import { beforeEach, describe, expect, it } from 'vitest';
import { CostLedger } from '../../lib/cost/cost-ledger';
import { EventLoop } from '../../lib/cost/event-loop';
import { PartLedger } from '../../lib/cost/part-ledger';
import { TimeAccount } from '../../lib/cost/time-account';
import type { Statement } from '../../lib/sql/statement';

const stackBoundary = (): void => undefined;
const read: Statement = { shape: 'SELECT ?', table: 'orders', operation: 'SELECT', kind: 'read' };
const begin: Statement = { shape: 'BEGIN', table: undefined, operation: 'BEGIN', kind: 'transaction' };

describe('the ledger of a part', () => {
  let loop: EventLoop;
  let wholeTime: TimeAccount;
  let partTime: TimeAccount;
  let whole: CostLedger;
  let part: PartLedger;

  beforeEach(() => {
    loop = new EventLoop(() => undefined);
    const unit = { requestId: 'r', handler: undefined };
    wholeTime = new TimeAccount(loop, unit, performance.now());
    partTime = new TimeAccount(loop, unit, performance.now(), wholeTime);
    whole = new CostLedger(wholeTime);
    part = new PartLedger(partTime, whole);
  });

  const figures = ({ queries, rows, errors, bytes, maxConcurrent, transactions }: CostLedger): unknown => ({
    queries,
    rows,
    errors,
    bytes,
    maxConcurrent,
    transactions,
  });

  it('counts what it is asked for in the whole, too', () => {
    const charges = [
      part.begin(read, stackBoundary),
      part.begin(read, stackBoundary),
      part.begin(begin, stackBoundary),
    ];
    charges[0]!.queued();
    charges[0]!.sent();
    charges[0]!.received(1);
    charges[0]!.end(5, false, 100);
    charges[1]!.end(0, true);
    charges[2]!.end(0);
    for (const ledger of [part, whole]) {
      expect(figures(ledger)).toEqual({
        queries: 2,
        rows: 5,
        errors: 1,
        bytes: 100,
        maxConcurrent: 2,
        transactions: 1,
      });
      expect(ledger.tables!.get('orders')).toMatchObject({ count: 2, rows: 5 });
    }
    // Each looks at the clock for itself, and the machine may be busy in between.
    expect(Math.abs(part.waitMs - whole.waitMs)).toBeLessThan(20);
  });

  it('counts calls, waits and queries that were measured elsewhere in the whole, too', () => {
    part.beginCall('http', 'api', stackBoundary)!.end(true, 10);
    part.beginWait().end();
    part.record(read, 3, 2);
    for (const ledger of [part, whole]) {
      expect(ledger.http).toBe(1);
      expect(ledger.calls!.get('http')).toMatchObject({ errors: 1, bytes: 10 });
      expect(ledger).toMatchObject({ queries: 1, rows: 3, durationMs: 2 });
    }
  });

  it('counts what is kept apart in the whole alone', () => {
    part.keepApart('a test').begin(read, stackBoundary)!.end(1);
    expect(part.queries + whole.queries).toBe(0);
    expect(whole.apart!.get('a test')).toMatchObject({ queries: 1 });
  });

  it('leaves nothing open in the whole when its own budget keeps a query back', () => {
    part.limitHook = {
      atQuery: 1,
      atCall: 1,
      beforeQuery() {
        throw new Error('no more');
      },
    };
    expect(() => part.begin(read, stackBoundary)).toThrow('no more');
    expect(() => part.beginCall('cache', 'get', stackBoundary)).toThrow('no more');
    expect(whole).toMatchObject({ queries: 1, errors: 0, rows: 0 });
    whole.begin(read, stackBoundary)!.end(1);
    expect(whole.maxConcurrent).toBe(1);
  });

  it('counts alone what is begun when the whole is closed, and as late what is begun after its own end', () => {
    whole.isClosed = true;
    part.begin(read, stackBoundary)!.end(1);
    expect(part.queries).toBe(1);
    expect([whole.queries, whole.late]).toEqual([0, 0]);
    part.isClosed = true;
    expect(part.begin(read, stackBoundary)).toBeUndefined();
    expect([part.late, whole.late]).toEqual([1, 0]);
  });

  it('adds what other services say of their cost to the whole, too, while both are open', () => {
    const cost = { queries: 3, rows: 30, durationMs: 4 };
    part.addRemote('a.internal', cost);
    expect([part.remoteQueries, whole.remoteQueries]).toEqual([3, 3]);
    whole.isClosed = true;
    part.addRemote('a.internal', cost);
    expect([part.remoteQueries, whole.remoteQueries]).toEqual([6, 3]);
    part.isClosed = true;
    part.addRemote('a.internal', cost);
    expect(part.remoteQueries).toBe(6);
  });

  it('is open once, however many parts a request has', () => {
    expect(loop.open).toBe(1);
    partTime.close(performance.now());
    expect(loop.open).toBe(1);
    wholeTime.close(performance.now());
    expect(loop.open).toBe(0);
  });

  it('has its own time, and its blocks of the event loop, in the account of the whole, and blames nobody', () => {
    partTime.ran(60, true);
    expect(wholeTime).toMatchObject({ blockedMs: 60, number: partTime.number });
    expect(wholeTime.ownMs).toBeGreaterThanOrEqual(60);
  });
});
