import type { ShapeCost } from '../shape-cost';
import type { Candidate } from './candidate';
import { isSameColumn } from './key-names';
import type { Given } from './given-values';

/** Of the values of a list, so many are asked for again where its rows are read again. */
const MOST = 0.8;

interface Asked {
  givenTo(shape: ShapeCost): Given;
}

/**
 * Whether a statement was asked by the very column and values that its rows are said to be the source of. By its
 * values alone each row of a small table would be: `stock.id` is 7 where `product_id` is.
 */
export function isEcho(candidate: Candidate, asked: Asked): boolean {
  const { matchedKeys: keys, name, parent } = candidate;
  if (keys.length === 0) return false;
  const { columns, values } = asked.givenTo(parent);
  return columns.some(column => isSameColumn(column, name)) && keys.every(key => values.has(key));
}

/**
 * Whether the rows of one candidate are those of an earlier one, read again by their ids, as an ORM does before it
 * saves them: the loop is over the first ones.
 */
export function isReadAgain(again: Candidate, first: Candidate, asked: Asked): boolean {
  return (
    again.parent !== first.parent &&
    again.slot === first.slot &&
    first.isOfRows &&
    first.since < again.since &&
    first.matched >= again.matched &&
    first.coverage >= MOST * again.coverage &&
    isSameColumn(first.name, again.name) &&
    isEcho(again, asked)
  );
}
