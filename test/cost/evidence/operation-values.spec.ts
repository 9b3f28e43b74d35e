import { describe, expect, it } from 'vitest';
import { CostLedger } from '../../../lib/cost/cost-ledger';
import type { ReadsValues } from '../../../lib/cost/evidence/operation-values';
import { GrowthHistory } from '../../../lib/cost/growth-history';
import type { Charge } from '../../../lib/cost/query-charge';
import type { Statement } from '../../../lib/sql/statement';
import { short } from './unit-of-work';

const here = (): void => undefined;
const id = (n: number): number => 10_000 + ((n * 7_919 + n * n * 613) % 89_989);
const operation = (table: string, shape = `find ${table} {}`): Statement => ({
  shape,
  table,
  operation: 'find',
  kind: 'read',
});
const asTheyAre: ReadsValues = given => given as Record<string, unknown> | undefined;

/** A unit of work of operations without a text. */
class Operations {
  readonly ledger = new CostLedger();

  constructor() {
    this.ledger.history = new GrowthHistory();
    this.ledger.comparesValues = true;
  }

  begin(statement: Statement, given?: Readonly<Record<string, unknown>>, read = asTheyAre): Charge {
    const charge = this.ledger.begin(statement, here)!;
    charge.ran(read, given);
    return charge;
  }

  run(statement: Statement, given?: Readonly<Record<string, unknown>>): void {
    this.begin(statement, given).end(0);
  }

  list(count: number): void {
    const charge = this.begin(operation('orders'), {});
    charge.returned(Array.from({ length: count }, (_, n) => ({ _id: id(n) })));
    charge.end(count);
  }

  get found(): string[] {
    return this.ledger
      .findings()
      .filter(({ kind }) => kind === 'n-plus-one')
      .map(short);
  }
}

describe('an operation without a text', () => {
  it('is followed by the fields that it reads, from the third run on', () => {
    const unit = new Operations();
    let reads = 0;
    unit.list(6);
    for (let n = 0; n < 6; n++) {
      const read: ReadsValues = given => ((reads += 1), asTheyAre(given));
      unit.begin(operation('items'), { orderId: id(n) }, read).end(0);
      if (n === 1) expect(reads).toBe(0);
    }
    expect(reads).toBe(6);
    expect(unit.found).toEqual(['proven items < orders._id']);
  });

  it('may have other fields at each run', () => {
    const unit = new Operations();
    unit.list(6);
    for (let n = 0; n < 6; n++) {
      const others = n % 2 === 0 ? { note: 'a', state: n } : {};
      unit.run(
        operation('items', 'insert items'),
        n < 3 ? { ...others, orderId: id(n) } : { orderId: id(n), ...others },
      );
    }
    expect(unit.found).toEqual(['proven items < orders._id']);
  });

  it('that asks for several at once takes no part', () => {
    const unit = new Operations();
    unit.list(6);
    for (let n = 0; n < 6; n++) unit.run(operation('items'));
    expect(unit.found).toEqual([]);
  });
});
