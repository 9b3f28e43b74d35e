import { describe, expect, it } from 'vitest';
import { CostLedger } from '../../lib/cost/cost-ledger';
import { rowsKept } from '../../lib/cost/evidence/kept-results';
import type { ReadsValues } from '../../lib/cost/evidence/operation-values';
import { GrowthHistory } from '../../lib/cost/growth-history';
import type { Charge } from '../../lib/cost/query-charge';
import type { Statement } from '../../lib/sql/statement';
import type { ReadsRows, UnreadRow } from '../../lib/cost/unread-rows';
import { short } from './evidence/unit-of-work';

const here = (): void => undefined;
const id = (n: number): number => 10_000 + ((n * 7_919 + n * n * 613) % 89_989);
const operation = (table: string, shape = `find ${table} {}`): Statement => ({
  shape,
  table,
  operation: 'find',
  kind: 'read',
});
const asTheyAre: ReadsValues = given => given as Record<string, unknown> | undefined;

/** A unit of work whose rows come as bytes. */
class Operations {
  readonly ledger = new CostLedger();
  reads = 0;

  constructor(comparesValues = true) {
    this.ledger.history = new GrowthHistory();
    this.ledger.comparesValues = comparesValues;
  }

  begin(statement: Statement, given?: Readonly<Record<string, unknown>>): Charge {
    const charge = this.ledger.begin(statement, here)!;
    charge.ran(asTheyAre, given);
    return charge;
  }

  run(statement: Statement, given?: Readonly<Record<string, unknown>>): void {
    this.begin(statement, given).end(0);
  }

  list(count: number, mayWait = true, fill: ReadsRows = this.fill): void {
    const charge = this.begin(operation('orders'), {});
    charge.returnedUnread(count, () => fill, mayWait);
    charge.end(count);
  }

  get found(): string[] {
    return this.ledger
      .findings()
      .filter(({ kind }) => kind === 'n-plus-one')
      .map(short);
  }

  fill = (rows: readonly UnreadRow[]): string[] => {
    this.reads += 1;
    for (const [n, row] of rows.entries()) row['_id'] = id(n);
    return ['_id'];
  };
}

describe('rows that come as bytes', () => {
  it('are read when something repeats, and not before', () => {
    const unit = new Operations();
    unit.list(6);
    unit.list(6);
    unit.run(operation('items'), { orderId: id(0) });
    unit.run(operation('items'), { orderId: id(1) });
    expect(unit.reads).toBe(0);
    unit.run(operation('items'), { orderId: id(2) });
    expect(unit.reads).toBe(2);
    unit.run(operation('items'), { orderId: id(3) });
    expect(unit.reads).toBe(2);
    expect(unit.found).toEqual(['proven items < orders._id']);
  });

  it('are read at once where they may not wait', () => {
    const unit = new Operations();
    unit.list(6, false);
    expect(unit.reads).toBe(1);
    for (let n = 0; n < 4; n++) unit.run(operation('items'), { orderId: id(n) });
    expect(unit.reads).toBe(1);
    expect(unit.found).toEqual(['proven items < orders._id']);
  });

  it('are not read where nobody looks, of results that are not kept, and after the end', () => {
    const blind = new Operations(false);
    blind.list(6, false);
    expect([blind.reads, blind.ledger.unread]).toEqual([0, undefined]);
    const unit = new Operations();
    for (let n = 0; n < 100; n++) unit.list(1, false);
    expect(unit.reads).toBe(64);
    const charge = unit.begin(operation('others'), {});
    charge.end(1);
    charge.returnedUnread(1, () => unit.fill, false);
    charge.returnedUnread(0, () => unit.fill, false);
    expect(unit.reads).toBe(64);
    unit.ledger.releaseValues();
  });

  it('are 200 at most, and known to be more', () => {
    const unit = new Operations();
    let rows = 0;
    unit.list(1_000_000, true, all => {
      rows = all.length;
      return unit.fill(all);
    });
    for (let n = 0; n < 4; n++) unit.run(operation('items'), { orderId: id(n) });
    expect(rows).toBe(201);
    expect(unit.ledger.shapes!.get('find orders {}')).toMatchObject({ keptRows: 200, hasMoreRows: true });
    unit.ledger.releaseValues();
  });

  it('that cannot be read are no rows of a parent, and do no harm to others', () => {
    const unit = new Operations();
    unit.list(6, true, () => {
      throw new RangeError('out of range');
    });
    unit.list(6);
    for (let n = 0; n < 4; n++) unit.run(operation('items'), { orderId: id(n) });
    expect(unit.reads).toBe(1);
  });

  it('are let go of at the end, read or not, and not taken after it', () => {
    const before = rowsKept();
    const unit = new Operations();
    unit.list(6);
    const late = unit.begin(operation('orders'), {});
    unit.ledger.isClosed = true;
    unit.ledger.releaseValues();
    late.returnedUnread(6, () => unit.fill, true);
    expect([unit.ledger.unread, unit.reads, rowsKept()]).toEqual([undefined, 0, before]);
  });
});
