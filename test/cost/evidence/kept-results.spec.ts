import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { afterEach, describe, expect, it } from 'vitest';
import { ResultsOfUnit, rowsKept } from '../../../lib/cost/evidence/kept-results';
import { newShape, type ShapeCost } from '../../../lib/cost/shape-cost';
import { rowsOf, UnitOfWork } from './unit-of-work';

const shapeOf = (name = 'SELECT'): ShapeCost =>
  newShape({ shape: name, table: undefined, kind: 'read' }, undefined);
const ids = (count: number) => rowsOf(count, n => ({ id: n }));

describe('what a unit of work keeps of its rows', () => {
  const units: ResultsOfUnit[] = [];
  const unit = (): ResultsOfUnit => {
    const made = new ResultsOfUnit();
    units.push(made);
    return made;
  };
  afterEach(() => {
    for (const made of units.splice(0)) made.release();
    expect(rowsKept()).toBe(0);
  });

  it('is 200 rows of a result', () => {
    const results = unit();
    const [whole, cut] = [shapeOf('a'), shapeOf('b')];
    results.add(whole, ids(200), undefined);
    results.add(cut, ids(201), undefined);
    expect([whole.keptRows, whole.hasMoreRows]).toEqual([200, false]);
    expect([cut.keptRows, cut.hasMoreRows]).toEqual([200, true]);
  });

  it('is 600 rows of a statement: the first', () => {
    const results = unit();
    const shape = shapeOf();
    for (let i = 0; i < 3; i++) results.add(shape, ids(200), undefined);
    expect([shape.keptRows, shape.hasMoreRows]).toEqual([600, false]);
    results.add(shape, ids(1), undefined);
    expect([shape.keptRows, shape.hasMoreRows]).toEqual([600, true]);
    expect(results.takeNew()).toHaveLength(3);
  });

  it('is 64 results of a statement: the first', () => {
    const results = unit();
    const shape = shapeOf();
    for (let i = 0; i < 64; i++) results.add(shape, ids(1), undefined);
    expect([shape.keptResults, shape.hasMoreRows]).toEqual([64, false]);
    results.add(shape, ids(1), undefined);
    expect([shape.keptResults, shape.hasMoreRows]).toEqual([64, true]);
  });

  it('is 2,000 rows in all', () => {
    const results = unit();
    for (let i = 0; i < 10; i++) results.add(shapeOf(String(i)), ids(200), undefined);
    expect([rowsKept(), results.isCut]).toEqual([2_000, false]);
    const last = shapeOf();
    results.add(last, ids(1), undefined);
    expect([rowsKept(), last.keptRows, results.isCut]).toEqual([2_000, 0, true]);
  });

  it('is 200,000 rows in the process', () => {
    for (let i = 0; i < 1_000; i++) unit().add(shapeOf(), ids(200), undefined);
    expect(rowsKept()).toBe(200_000);
    const last = shapeOf();
    unit().add(last, ids(1), undefined);
    expect([rowsKept(), last.hasMoreRows]).toEqual([200_000, true]);
    units[0]!.release();
    const next = shapeOf();
    unit().add(next, ids(1), undefined);
    expect(next.keptRows).toBe(1);
  });

  it.each([
    ['a text of 1,024 characters', 'x'.repeat(1_024), false],
    ['a text of 1,025', 'x'.repeat(1_025), true],
    ['a buffer of 1,024 bytes', Buffer.alloc(1_024), false],
    ['a buffer of 1,025', Buffer.alloc(1_025), true],
    ['a piece of a large buffer', Buffer.alloc(100_000).subarray(0, 17), true],
    ['JSON of 64 values', Array.from({ length: 64 }, (_, n) => n), false],
    ['JSON of 65', Array.from({ length: 65 }, (_, n) => n), true],
  ])('is a copy of the keys, where a row has %s: %s', (_, wide, isCopied) => {
    const results = unit();
    results.add(shapeOf(), [{ id: 7, order_id: '17', wide }], undefined);
    const [kept] = results.takeNew();
    expect(kept!.isCopied).toBe(isCopied);
    if (isCopied) expect(kept).toMatchObject({ rows: [[7, 17]], columns: ['id', 'order_id'] });
  });

  it('is the keys of 100 rows, where they are wide', () => {
    const results = unit();
    const rows = rowsOf(101, n => ({ id: n, body: Buffer.alloc(2_000) }));
    const [whole, cut] = [shapeOf('a'), shapeOf('b')];
    results.add(whole, rows.slice(0, 100), undefined);
    results.add(cut, rows, undefined);
    expect(results.takeNew().map(({ rows: kept }) => kept.length)).toEqual([100, 100]);
    expect([whole.hasMoreRows, cut.hasMoreRows]).toEqual([false, true]);
  });
});

describe('wide rows', () => {
  it('are found by their keys, and not held', async () => {
    setFlagsFromString('--expose-gc');
    const gc = runInNewContext('gc') as () => void;
    const unit = new UnitOfWork();
    const held: WeakRef<object>[] = [];
    const list = (): number[] => {
      const rows = rowsOf(50, n => ({ id: n * 37 + 11, body: Buffer.alloc(100_000) }));
      held.push(...rows.map(row => new WeakRef(row)));
      return unit.run('SELECT * FROM files', [], rows).map(({ id }) => id as number);
    };
    const found = list();
    await new Promise(resolve => setImmediate(resolve));
    gc();
    expect(held.filter(row => row.deref() !== undefined)).toEqual([]);
    for (const id of found) unit.run('SELECT * FROM versions WHERE file_id = $1', [id], []);
    expect(unit.found).toEqual(['proven versions < files.id']);
    unit.close();
  });
});
