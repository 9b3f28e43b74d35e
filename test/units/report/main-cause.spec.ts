import { describe, expect, it } from 'vitest';
import type {
  CallsCostRecord,
  CostRecord,
  RepeatFinding,
  ShapeCostRecord,
  TimePart,
} from 'nestjs-async-context';
import { causeOfFinding, causeOfRepeats } from '../../../lib/reporting/finding-cause';
import { reportOfWork } from '../../../lib/units/report/work-report';
import { causeOf, type TroubledWork } from '../../../lib/units/report/main-cause';

const finding = (count: number, facts: Partial<RepeatFinding> = {}): RepeatFinding => ({
  kind: 'n-plus-one',
  confidence: 'proven',
  shape: 'SELECT * FROM items WHERE order_id = ?',
  table: 'items',
  count,
  duplicates: 0,
  parents: [],
  remedy: `Fetch items once for all ${count}.`,
  ...facts,
});

const shape = (text: string, durationMs: number, count = 1): ShapeCostRecord => ({
  shape: text,
  table: 'items',
  count,
  durationMs,
  rows: count,
});

/** A unit of work that took too long, or more than its budget in one dimension. */
function workOf(
  because: TimePart,
  record: Omit<Partial<CostRecord>, 'queries'> & { queries?: Partial<CostRecord['queries']> },
  dimension?: string,
): TroubledWork {
  const shapes = record.queries?.shapes ?? [];
  const sum = (by: 'count' | 'durationMs') => shapes.reduce((total, one) => total + one[by], 0);
  const queries = {
    shapes,
    count: sum('count'),
    durationMs: sum('durationMs'),
    busyMs: sum('durationMs'),
    transactions: 0,
    maxConcurrent: 1,
    ...record.queries,
  };
  return {
    trouble: dimension === undefined ? 'slow' : 'breach',
    record: { ...record, queries } as CostRecord,
    breaches: dimension === undefined ? [] : [{ dimension, used: 2, limit: 1, from: 'forRoot({ budget })' }],
    block: undefined,
    isStall: false,
    waits: [],
    because,
  };
}

describe('the main cause of a unit of work', () => {
  it('is an N+1 that makes half of its queries and no less', () => {
    expect(causeOfRepeats([finding(30)], 60)).toMatchObject({
      text: 'an N+1 on items',
      fix: 'Fetch items once for all 30.',
    });
    expect(causeOfRepeats([finding(30)], 61)).toBeUndefined();
  });

  it('is several of them together, with the remedy of the largest', () => {
    const findings = [
      finding(200),
      finding(374, { table: 'stock' }),
      finding(9, { confidence: 'suspected' }),
    ];
    expect(causeOfRepeats(findings, 636)).toMatchObject({
      text: '2 N+1s, most on stock',
      fix: 'Fetch items once for all 374.',
    });
  });

  it('is nothing that is only suspected, and no other repeat', () => {
    expect(causeOfRepeats([finding(60, { confidence: 'suspected' })], 61)).toBeUndefined();
    expect(
      causeOfRepeats([{ ...finding(60), kind: 'duplicate', confidence: undefined } as never], 61),
    ).toBeUndefined();
  });

  it('speaks of writes where these were sent at once', () => {
    const fanOut = finding(70, { kind: 'fan-out', shape: 'UPDATE items SET n = ? WHERE id = ?' });
    expect(causeOfFinding(fanOut).text).toBe('70 parallel writes on items');
    expect(causeOfFinding({ ...fanOut, shape: 'SELECT n FROM items' }).text).toBe(
      '70 parallel queries on items',
    );
  });
});

describe('the fix of what waited for the database', () => {
  const select = 'SELECT id FROM items WHERE id = ?';
  const update = 'UPDATE items SET n = n - ? WHERE id = ?';
  const fixOf = (...shapes: ShapeCostRecord[]): string =>
    causeOf(workOf('database', { queries: { shapes } })).fix;

  it.each([
    [select, /^run EXPLAIN \(ANALYZE, BUFFERS\) on this statement$/],
    [update, /^check whether it waited for a lock .* without ANALYZE, which would execute it$/],
    [`WITH old AS (DELETE FROM items WHERE id = ?) SELECT ?`, /^check whether it waited for a lock/],
    [`${select} FOR UPDATE`, /^check whether it waited for a lock/],
    [`${select} FOR no key UPDATE SKIP LOCKED`, /^check whether it waited for a lock/],
  ])('of one slow statement: %s', (text, fix) => {
    expect(fixOf(shape(text, 2_000))).toMatch(fix);
  });

  it('speaks of parallel queries where two took time one after another', () => {
    const parallel = /^run EXPLAIN .*, and see which queries could run in parallel$/;
    expect(fixOf(shape(select, 900), shape('SELECT 1', 100))).toMatch(parallel);
    expect(fixOf(shape(select, 901), shape('SELECT 1', 99))).not.toMatch(/parallel/);
    const shapes = [shape(select, 500), shape('SELECT 1', 500)];
    for (const queries of [{ busyMs: 600 }, { transactions: 2 }])
      expect(causeOf(workOf('database', { queries: { shapes, ...queries } })).fix).not.toMatch(/parallel/);
  });

  it('sends once what was sent five times, and not what was sent four times', () => {
    expect(fixOf(shape(select, 900, 4))).toMatch(/^run EXPLAIN/);
    expect(fixOf(shape(select, 900, 5))).toMatch(/^run it once for all rows instead of 5 times/);
    expect(fixOf(shape(update, 900, 5))).toMatch(/^update all rows of items in one statement/);
  });
});

describe('an N+1 in a unit of work that took too long', () => {
  const shapes = [shape('SELECT * FROM items WHERE order_id = ?', 500, 8), shape('SELECT 1', 500, 30)];
  const record = { findings: [finding(8)], queries: { shapes } };

  it.each([
    ['database', 'deadlineMs'],
    ['database', 'durationMs'],
    ['starved', 'durationMs'],
    ['database', undefined],
  ] as const)('is its cause with half of the database time: %s, %s', (because, dimension) => {
    const fix = 'Fetch items once for all 8.';
    expect(causeOf(workOf(because, record, dimension))).toMatchObject({ text: 'an N+1 on items', fix });
    const less = { ...record, queries: { shapes: [shapes[0]!, shape('SELECT 1', 501, 2)] } };
    expect(causeOf(workOf(because, less, dimension)).text).toBeUndefined();
  });

  it('is not the cause of a deadline that something else exceeded', () => {
    expect(causeOf(workOf('http', record, 'deadlineMs')).text).toBeUndefined();
  });

  it('is the one with most of the time, not the most frequent', () => {
    const slow = shape('SELECT * FROM stock WHERE item_id = ?', 900, 5);
    const both = {
      findings: [finding(8), finding(5, { table: 'stock', shape: slow.shape })],
      queries: { shapes: [shape('SELECT * FROM items WHERE order_id = ?', 50, 8), slow] },
    };
    expect(causeOf(workOf('database', both)).text).toBe('an N+1 on stock');
  });
});

describe('the time of a report', () => {
  const timeOf = (time: Record<string, number>): string => {
    const work = workOf('own', { requestId: 'r1', durationMs: 2_000, time: time as never, breaches: [] });
    const options = { isFull: false, hasSinks: false, fingerprint: undefined, suppressed: 0, own: undefined };
    return reportOfWork(work, options).text.split('\n').at(-1)!.trim();
  };

  it('explains what is starved or stalled among its two largest parts', () => {
    expect(timeOf({ ownMs: 1_000, starvedMs: 900, databaseMs: 100 })).toBe(
      'time 2,000 ms: own 1,000, starved 900 (other processes used the CPU), database 100      request id r1',
    );
    expect(timeOf({ stalledMs: 1_500, ownMs: 300, starvedMs: 200 })).toBe(
      'time 2,000 ms: stalled 1,500 (other work blocked the event loop), own 300, starved 200      request id r1',
    );
  });
});

describe('the fix of calls', () => {
  const calls = (targets: Record<string, number>, facts: Partial<CallsCostRecord> = {}): CallsCostRecord => {
    const count = Object.values(targets).reduce((a, b) => a + b, 0);
    const byTarget = Object.fromEntries(
      Object.entries(targets).map(([target, n]) => [target, { count: n, durationMs: 10 * n }]),
    ) as never;
    const busy = { durationMs: 10 * count, busyMs: 10 * count, maxConcurrent: 1 };
    return { count, ...busy, errors: 0, bytes: 0, late: 0, byTarget, ...facts };
  };

  it.each([
    [
      'http',
      calls({ a: 1 }),
      /^set a timeout, and if the service stays slow, call it outside of the request/,
    ],
    [
      'http',
      calls({ a: 2, b: 1 }),
      /^send the 3 calls at once \(Promise\.all\).* they ran one after another$/,
    ],
    ['http', calls({ a: 4 }, { busyMs: 10 }), /^set a timeout: the calls overlap/],
    ['http', calls({ a: 4 }), /^send the 4 calls at once/],
    ['http', calls({ a: 5 }), /^call the other service once for all items/],
    ['cache', calls({ GET: 1 }), /^check the cache server/],
    ['cache', calls({ GET: 4 }), /^send the commands in one pipeline/],
    ['cache', calls({ GET: 5, ZRANGE: 1 }), /^fetch all keys with one MGET, or in a pipeline/],
    ['cache', calls({ HGET: 5 }), /^fetch all fields with HMGET/],
    ['cache', calls({ EXPIRE: 5 }), /^send all commands in one pipeline/],
    ['messages', calls({ jobs: 1 }), /^check the broker/],
    ['messages', calls({ jobs: 5 }), /^publish one message for all items/],
  ] as const)('that took too long, of %s: %#', (dimension, facts, fix) => {
    expect(causeOf(workOf(dimension, { [dimension]: facts })).fix).toMatch(fix);
  });

  it.each([
    ['http', calls({ a: 2 }), /^call the other service once for all items/],
    ['cache', calls({ GET: 50, ZRANGE: 1 }), /^fetch all keys with one MGET.*; keep values/],
  ] as const)('that are too many, of %s: %#', (dimension, facts, fix) => {
    expect(causeOf(workOf('own', { [dimension]: facts }, dimension)).fix).toMatch(fix);
  });
});

describe('a proven N+1 that is not the most frequent statement', () => {
  const lookUps = 'SELECT id, name FROM products WHERE id = ?';
  const reportOf = (runs: number, more: Partial<RepeatFinding>[] = []): string[] => {
    const proven = finding(runs, { callSite: 'orders.service.ts:31 items' });
    const shapes = [shape(lookUps, 1, 36), shape(proven.shape, 1, runs), shape('SELECT 1', 1)];
    const findings = [proven, ...more.map(facts => finding(36, facts))];
    const work = workOf(
      'own',
      { requestId: 'r1', durationMs: 9, time: {} as never, breaches: [], findings, queries: { shapes } },
      'queries',
    );
    const options = { isFull: false, hasSinks: false, fingerprint: undefined, suppressed: 0, own: undefined };
    return reportOfWork(work, options).text.split('\n');
  };

  it.each([
    [26, /, one statement 36 times, one after another/],
    [27, /, an N\+1 on items/],
  ])('is the cause with three quarters of its runs: %i', (runs, headline) => {
    expect(reportOf(runs)[0]).toMatch(headline);
  });

  it.each([
    [4, undefined],
    [5, '  also an N+1 on items, 5 queries at orders.service.ts:31 items'],
  ])('is said in any case, from five runs on: %i', (runs, line) => {
    expect(reportOf(runs).find(one => one.startsWith('  also'))).toBe(line);
  });

  it('is not said twice, and leaves the other repeats to be said', () => {
    const other = { kind: 'look-ups', confidence: undefined, shape: lookUps, table: 'products' } as never;
    const suspected = { confidence: 'suspected', shape: 'SELECT 1' } as const;
    const [headline, ...lines] = reportOf(30, [other, suspected]);
    expect(headline).toMatch(/an N\+1 on items/);
    expect(lines.find(one => one.startsWith('  also'))).toBe('  also 36 sequential look-ups on products');
    expect(lines.length).toBeLessThanOrEqual(8);
  });
});

it('no N+1 is the cause where all that is known to take time is still under way', () => {
  const shapes = [shape('SELECT * FROM items WHERE order_id = ?', 0, 12), shape('SELECT pg_sleep(?)', 0)];
  const record = { queries: { shapes }, findings: [finding(12)] };
  expect(causeOf(workOf('database', record)).text).toBeUndefined();
  const took = [shape('SELECT * FROM items WHERE order_id = ?', 9, 12), shape('SELECT pg_sleep(?)', 0)];
  expect(causeOf(workOf('database', { ...record, queries: { shapes: took } })).text).toMatch(/N\+1/);
});
