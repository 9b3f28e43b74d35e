import { describe, expect, it } from 'vitest';
import { rowsOf, UnitOfWork } from './unit-of-work';

const LIST = 'SELECT * FROM orders ORDER BY id LIMIT $1';
const ITEMS = 'SELECT * FROM items WHERE order_id = $1';
const list = rowsOf(20, n => ({ id: 1_000 + n * 37, name: `n${n}` }));

/** A unit of work that has searched through so many cells, and 30 for each statement that it has looked into. */
function unitAfter(cells: number): UnitOfWork {
  const unit = new UnitOfWork();
  unit.evidence.cellsLeft -= cells;
  return unit;
}

function loop(unit: UnitOfWork): readonly string[] {
  for (const { id } of unit.run(LIST, [20], list)) unit.run(ITEMS, [id], []);
  return unit.found;
}

describe('the search for values', () => {
  it('goes on until two million cells are searched, and follows what it has found', () => {
    expect(loop(unitAfter(1_999_999))).toEqual(['proven items < orders.id']);
  });

  it('is at an end then: what only the counts show is suspected', () => {
    expect(loop(unitAfter(2_000_000))).toEqual(['suspected items < orders']);
  });

  it('is soon at an end for 500 statements that repeat beside each other', () => {
    const unit = new UnitOfWork();
    for (let round = 0; round < 8; round += 1) {
      for (let i = 0; i < 500; i += 1) {
        const table = `t${String.fromCharCode(97 + (i % 26))}${String.fromCharCode(97 + Math.floor(i / 26))}`;
        const at = i * 8 + round;
        unit.run(`SELECT * FROM ${table} WHERE k = $1`, [at * 7919], [{ k: at * 104_729, v: at }]);
      }
    }
    expect(unit.evidence.cellsLeft).toBeLessThanOrEqual(0);
    // It would have gone on to some ten times as many.
    expect(unit.evidence.cellsLeft).toBeGreaterThan(-10_000);
  });
});
