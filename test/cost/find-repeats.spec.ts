import { describe, expect, it } from 'vitest';
import { CostLedger } from '../../lib/cost/cost-ledger';
import { GrowthHistory } from '../../lib/cost/growth-history';
import type { Statement } from '../../lib/sql/statement';

const here = (): void => undefined;
const statement = (shape: string, table: string, kind: Statement['kind'] = 'read'): Statement => ({
  shape,
  table,
  operation: kind === 'read' ? 'SELECT' : 'UPDATE',
  kind,
});
const orders = statement('SELECT * FROM orders', 'orders');
const items = statement('SELECT * FROM items WHERE order_id = ?', 'items');
const sizes = statement('SELECT * FROM sizes WHERE item_id = ?', 'sizes');

/** Runs a statement to its end. */
function run(ledger: CostLedger, what: Statement, rows: number, parameter?: number): void {
  ledger.begin(what, here, parameter)?.end(rows);
}

/** A list of so many rows, and as many runs of a child. */
function listed(rows: number, runs: number, history?: GrowthHistory): CostLedger {
  const ledger = new CostLedger();
  ledger.history = history;
  run(ledger, orders, rows);
  for (let i = 0; i < runs; i++) run(ledger, items, 2, i);
  return ledger;
}

describe('findings()', () => {
  it('names the parent of a shape that ran for each of its rows', () => {
    expect(listed(10, 10).findings()).toMatchObject([
      {
        kind: 'n-plus-one',
        confidence: 'suspected',
        shape: items.shape,
        table: 'items',
        count: 10,
        duplicates: 0,
        parents: [{ shape: orders.shape, table: 'orders', rows: 10 }],
      },
    ]);
  });

  it('names long shapes as the record does, whole', () => {
    const columns = Array.from({ length: 90 }, (_, i) => `column_${i}`).join(', ');
    const wide = statement(`SELECT ${columns} FROM orders`, 'orders');
    const child = statement(`SELECT ${columns} FROM items WHERE order_id = ?`, 'items');
    const ledger = new CostLedger();
    run(ledger, wide, 10);
    for (let i = 0; i < 10; i++) run(ledger, child, 2, i);
    const [finding] = ledger.findings();
    expect(finding!.shape).toBe(child.shape);
    expect(finding!.parents[0]!.shape).toBe(wide.shape);
  });

  it.each([
    [3, 3, 1],
    [2, 2, 0],
    [3, 2, 0],
    [4, 3, 1],
    [5, 3, 0],
    [9, 10, 1],
    [11, 10, 1],
    [8, 10, 0],
    [12, 10, 0],
  ])('takes %i rows and %i runs for so many N+1: %i', (rows, runs, found) => {
    expect(listed(rows, runs).findings()).toHaveLength(found);
  });

  it('counts the runs after the result alone', () => {
    const ledger = new CostLedger();
    run(ledger, sizes, 5);
    for (let i = 0; i < 5; i++) run(ledger, items, 1, i);
    run(ledger, orders, 3);
    expect(ledger.findings()).toMatchObject([{ table: 'items', parents: [{ table: 'sizes' }] }]);
  });

  it('names the nearer parent of what is nested, by the sum of its rows', () => {
    const ledger = new CostLedger();
    run(ledger, orders, 4);
    for (let i = 0; i < 4; i++) {
      run(ledger, items, i + 1, i);
      for (let j = 0; j <= i; j++) run(ledger, sizes, 1, 10 * i + j);
    }
    expect(ledger.findings()).toMatchObject([
      { table: 'sizes', count: 10, parents: [{ table: 'items', rows: 10 }] },
      { table: 'items', count: 4, parents: [{ table: 'orders', rows: 4 }] },
    ]);
  });

  it('counts none for `repeats` whose values are not known', () => {
    expect(listed(10, 10).repeats).toBe(0);
  });

  it('names both parents of a shape that ran for the rows of two', () => {
    const ledger = new CostLedger();
    run(ledger, orders, 5);
    run(ledger, statement('SELECT * FROM refunds', 'refunds'), 7);
    for (let i = 0; i < 12; i++) run(ledger, items, 1, i);
    expect(ledger.findings()).toMatchObject([
      { kind: 'n-plus-one', parents: [{ table: 'refunds' }, { table: 'orders' }] },
    ]);
  });

  it('calls the same parameters a duplicate, and not when something was written between', () => {
    const ledger = new CostLedger();
    run(ledger, items, 1, 7);
    run(ledger, items, 1, 8);
    expect(ledger.findings()).toEqual([]);
    run(ledger, items, 1, 7);
    expect(ledger.findings()).toMatchObject([{ kind: 'duplicate', count: 3, duplicates: 1 }]);
    const other = new CostLedger();
    run(other, items, 1, 7);
    run(other, statement('UPDATE items SET n = ?', 'items', 'write'), 1);
    run(other, items, 1, 7);
    expect(other.findings()).toEqual([]);
  });

  it('calls a retry after as many rows no N+1', () => {
    const ledger = new CostLedger();
    run(ledger, orders, 3);
    for (let i = 0; i < 3; i++) run(ledger, items, 0, 1);
    expect(ledger.findings()).toMatchObject([{ kind: 'duplicate' }]);
  });

  it('calls what was sent at once a fan-out, from the third on', () => {
    const ledger = new CostLedger();
    const begin = (i: number) => ledger.begin(items, here, i)!;
    const open = [begin(1), begin(2)];
    expect(ledger.findings()).toEqual([]);
    open.push(begin(3));
    for (const handle of open) handle.end(1);
    expect(ledger.findings()).toMatchObject([{ kind: 'fan-out', count: 3 }]);
  });

  it.each([
    ['INSERT INTO items(id) VALUES (?)', /^insert all rows into items in one statement \(multi-row VALUES/],
    ['UPDATE items SET n = n - ? WHERE id = ?', /^update all rows of items in one statement \(UPDATE … FROM/],
    ['DELETE FROM items WHERE id = ?', /^delete all rows of items in one statement \(WHERE … IN/],
    ['MERGE INTO items USING new ON ?', /^write all rows to items in one statement/],
    ['update items {id}', /^write all documents of items in one command/],
  ])('has a remedy for writes that were sent at once: %s', (shape, remedy) => {
    const ledger = new CostLedger();
    const what = statement(shape, 'items', 'write');
    const open = [1, 2, 3].map(i => ledger.begin(what, here, i)!);
    for (const handle of open) handle.end(1);
    expect(ledger.findings()).toMatchObject([
      { kind: 'fan-out', remedy: expect.stringMatching(remedy) as string },
    ]);
    expect(ledger.findings()[0]!.remedy).not.toMatch(/query|JOIN|DataLoader/);
  });

  it('keeps one result of many, and few times, whatever the number of queries', () => {
    const ledger = new CostLedger();
    for (let i = 0; i < 1_000; i++) {
      run(ledger, orders, 5, i);
      for (let j = 0; j < 5; j++) run(ledger, items, 3, 10 * i + j);
    }
    expect(ledger.repeatTrace!.results).toHaveLength(32);
    expect(ledger.shapes!.get(items.shape)!.times!.length).toBeLessThanOrEqual(32);
    expect(ledger.shapes!.get(items.shape)!.seen!.size).toBe(64);
    expect(ledger.findings()).toMatchObject([{ kind: 'n-plus-one', count: 5_000 }]);
  });
});

describe('the history of a handler', () => {
  /** Units of work with so many rows and runs, one after the other. */
  function learn(pairs: readonly (readonly [rows: number, runs: number])[]): GrowthHistory {
    const history = new GrowthHistory();
    for (const [rows, runs] of pairs) history.learn(listed(rows, runs, history));
    return history;
  }

  it('takes back nothing that one unit of work shows', () => {
    const fixed = learn([
      [3, 6],
      [6, 6],
      [9, 6],
    ]);
    expect(listed(6, 6).findings()).toMatchObject([{ kind: 'n-plus-one', confidence: 'suspected' }]);
    expect(listed(6, 6, fixed).findings()).toMatchObject([{ kind: 'n-plus-one', confidence: 'suspected' }]);
  });

  it('finds what one unit of work does not show: a cache between rows and runs', () => {
    const cached = learn([
      [5, 4],
      [10, 7],
      [20, 12],
    ]);
    expect(listed(30, 17).findings()).toEqual([]);
    expect(listed(30, 17, cached).findings()).toMatchObject([
      { kind: 'n-plus-one', slope: 0.53, parents: [{ table: 'orders', rows: 30 }] },
    ]);
  });

  it('takes batches of ten for no N+1', () => {
    const batches = learn([
      [30, 3],
      [60, 6],
      [90, 9],
    ]);
    expect(listed(100, 10, batches).findings()).toEqual([]);
  });

  it('says nothing from lists of one length', () => {
    const history = learn([
      [10, 10],
      [10, 10],
      [10, 10],
    ]);
    expect(listed(10, 10, history).findings()).toMatchObject([{ kind: 'n-plus-one' }]);
    expect(listed(10, 10, history).findings()[0]).not.toHaveProperty('slope');
  });

  it('learns from empty lists as well', () => {
    const history = learn([
      [10, 6],
      [0, 6],
      [0, 6],
    ]);
    expect(listed(6, 6, history).findings()).toMatchObject([{ slope: 0 }]);
  });

  it('knows where the parent was made, from the first unit of work on', () => {
    const history = new GrowthHistory();
    const ledger = new CostLedger();
    ledger.history = history;
    const load = (what: Statement, rows: number, i?: number): void => {
      ledger.begin(what, load, i)?.end(rows);
    };
    load(orders, 3);
    for (let i = 0; i < 3; i++) load(items, 1, i);
    expect(ledger.findings()[0]!.parents[0]!.callSite).toMatch(/^find-repeats\.spec\.ts:\d+/);
    expect(ledger.findings()[0]!.callSite).toMatch(/^find-repeats\.spec\.ts:\d+/);
  });
});
