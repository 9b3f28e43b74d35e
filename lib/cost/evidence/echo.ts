import type { ShapeCost } from '../shape-cost';
import type { Candidate } from './candidate';
import { isSameColumn } from './key-names';
import type { Key } from './value-key';

/** Of the values of a list, so many are asked for again where its rows are read again. */
const MOST = 0.8;

interface Given {
  givenTo(shape: ShapeCost): ReadonlySet<Key>;
}

/** Whether a statement was given the very values that its rows are said to be the source of. */
export function isEcho(candidate: Candidate, given: Given): boolean {
  const keys = candidate.matchedKeys;
  if (keys.length === 0) return false;
  const values = given.givenTo(candidate.parent);
  return keys.every(key => values.has(key));
}

/**
 * Whether the rows of one candidate are those of an earlier one, read again by their ids, as an ORM does before it
 * saves them: the loop is over the first ones.
 */
export function isReadAgain(again: Candidate, first: Candidate, given: Given): boolean {
  return (
    again.parent !== first.parent &&
    again.slot === first.slot &&
    first.isOfRows &&
    first.since < again.since &&
    first.matched >= again.matched &&
    first.coverage >= MOST * again.coverage &&
    isSameColumn(first.name, again.name) &&
    isEcho(again, given)
  );
}
