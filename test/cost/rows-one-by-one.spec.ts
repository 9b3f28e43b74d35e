import { beforeEach, describe, expect, it } from 'vitest';
import { CostLedger } from '../../lib/cost/cost-ledger';
import { rowsKept } from '../../lib/cost/evidence/kept-results';
import type { Charge } from '../../lib/cost/query-charge';

const here = (): void => undefined;

describe('rows that a driver gives one by one', () => {
  let ledger: CostLedger;
  const begin = (shape: string): Charge => {
    const charge = ledger.begin({ shape, table: 'orders', operation: 'SELECT', kind: 'read' }, here)!;
    charge.ran(shape, []);
    return charge;
  };
  const resultsOf = (shape: string): unknown => {
    const { keptResults, keptRows, hasMoreRows } = ledger.shapes!.get(shape)!;
    return { keptResults, keptRows, hasMoreRows };
  };
  const read = (charge: Charge, rows: number, row = (id: number): object => ({ id })): void => {
    for (let id = 1; id <= rows; id++) charge.returnedOne(row(id));
  };

  beforeEach(() => {
    ledger = new CostLedger();
    ledger.comparesValues = true;
  });

  it('are shown in one piece when the next statement runs, and at the end', () => {
    const charge = begin('a');
    read(charge, 5);
    expect(resultsOf('a')).toMatchObject({ keptResults: 0 });
    begin('b').end(0);
    expect(resultsOf('a')).toMatchObject({ keptResults: 1, keptRows: 5 });
    read(charge, 2);
    charge.end(7);
    expect(resultsOf('a')).toEqual({ keptResults: 2, keptRows: 7, hasMoreRows: false });
  });

  it.each([
    [200, { keptRows: 200, hasMoreRows: false }],
    [201, { keptRows: 200, hasMoreRows: true }],
    [1_000, { keptRows: 200, hasMoreRows: true }],
  ])('are held up to 200: %i', (rows, expected) => {
    const charge = begin('a');
    read(charge, rows);
    charge.end(rows);
    expect(resultsOf('a')).toMatchObject(expected);
  });

  it('throw nothing where they do so themselves', () => {
    const before = rowsKept();
    const charge = begin('a');
    const broken = { get: (): never => ({}) as never, ownKeys: (): never => raise() };
    const raise = (): never => {
      throw new Error('of the application');
    };
    charge.returnedOne(new Proxy({}, broken));
    charge.returnedOne({
      get id(): never {
        return raise();
      },
    });
    charge.end(2);
    ledger.isClosed = true;
    ledger.releaseValues();
    expect(rowsKept()).toBe(before);
  });

  it('are held eight at a time where they are wide, and kept as copies of their keys', () => {
    const charge = begin('a');
    const wide = (id: number): object => ({ id, body: 'x'.repeat(2_000) });
    read(charge, 7, wide);
    expect(resultsOf('a')).toMatchObject({ keptResults: 0 });
    read(charge, 1, wide);
    expect(resultsOf('a')).toMatchObject({ keptResults: 1, keptRows: 8 });
  });

  it('are apart from those of other columns', () => {
    const charge = begin('a');
    for (const columns of [['id'], ['id'], ['name']]) charge.returnedOne([1], columns);
    const names = ['id'];
    for (let id = 1; id <= 3; id++) charge.returnedOne([id], names);
    charge.end(6);
    expect(resultsOf('a')).toMatchObject({ keptResults: 4, keptRows: 6 });
  });

  it('are let go of when the unit of work ends, and not held after it', () => {
    const before = rowsKept();
    const charge = begin('a');
    read(charge, 5);
    ledger.isClosed = true;
    ledger.releaseValues();
    read(charge, 5);
    expect([rowsKept() - before, ledger.reading]).toEqual([0, undefined]);
    charge.end(10);
    expect(rowsKept()).toBe(before);
  });

  it('are not held where nothing looks at them', () => {
    ledger.comparesValues = false;
    const charge = begin('a');
    read(charge, 5);
    expect(ledger.reading).toBeUndefined();
    charge.end(5);
  });
});
