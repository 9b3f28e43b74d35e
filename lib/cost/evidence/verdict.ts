import type { ShapeCost } from '../shape-cost';
import { type Candidate, MAX_TOLD_APART } from './candidate';
import { isEcho, isReadAgain } from './echo';
import type { Given } from './given-values';
import { BITS, type Confidence, HALF, judge, MIN_VALUES, MOST, NEARLY_ALL } from './judge';
import { type ColumnName, isOwnKey, NAME_CLASSES } from './key-names';
import { toldName, toldPath } from './told-name';
import type { ValueMatch } from './value-match';

/** A statement whose rows another one ran for, and the column that its values came from. */
export interface EvidentParent {
  readonly shape: ShapeCost;
  readonly column: string;
}

/** That a statement ran for the rows of others, and how sure it is. */
export interface Verdict {
  readonly confidence: Confidence;
  readonly parents: readonly EvidentParent[];
}

/** What the judge of one statement asks of others. */
export interface Asked {
  /** The verdict on another statement; `undefined` also for one that is being judged. */
  of(shape: ShapeCost): Verdict | undefined;
  givenTo(shape: ShapeCost): Given;
  isConfirmed(shape: ShapeCost, candidate: Candidate): boolean;
}

/** A candidate that explains the runs: by `parents`, or by one row that led to the next, which is nothing. */
interface Judged {
  readonly candidate: Candidate;
  readonly confidence: Confidence;
  readonly parents: readonly EvidentParent[];
}

/** What is to be said of a statement: its best candidate, and a second one for the runs that are left. */
export function verdictOf(shape: ShapeCost, match: ValueMatch, asked: Asked): Verdict | undefined {
  const judged: Judged[] = [];
  for (const candidate of match.candidates) {
    const one = judgeOne(shape, candidate, candidate.share, asked);
    if (one !== undefined) judged.push(one);
  }
  const best = bestOf(judged, asked);
  if (best === undefined || (best.confidence !== 'proven' && best.parents.length > 0)) {
    return pairOf(shape, match, asked) ?? best;
  }
  if (best.parents.length === 0) return undefined;
  const named = betterNamed(match, best);
  const second = secondOf(shape, match, best.candidate, asked);
  return second === undefined ? named : { ...named, parents: [...named.parents, ...second.parents] };
}

/**
 * The same by the column of the same rows whose name fits best, where that explains as many runs: in small ids the
 * values of two columns coincide, and of the one that fits not enough rows may have been asked for.
 */
function betterNamed(match: ValueMatch, best: Judged): Judged {
  const { candidate } = best;
  if (!candidate.isOfRows) return best;
  const { parent, share } = candidate;
  const better = match.candidates.find(
    one =>
      one.parent === parent &&
      one.isOfRows &&
      one.share >= share &&
      rankOf(one) < rankOf(candidate) &&
      fits(one),
  );
  if (better === undefined || better.column.inner !== undefined) return best;
  return { ...best, candidate: better, parents: [{ shape: parent, column: pathOf(better.name, parent) }] };
}

function rankOf({ nameClass }: Candidate): number {
  return NAME_CLASSES.indexOf(nameClass);
}

/** Whether two names have the same thing in mind. */
function fits({ nameClass }: Candidate): boolean {
  return nameClass === 'strong' || nameClass === 'same';
}

/** Whether one row after the other led to the next, so that the counts say nothing. */
export function isChain(shape: ShapeCost, match: ValueMatch, asked: Asked): boolean {
  return match.candidates.some(candidate => {
    const one = candidate.isOfRows ? undefined : judgeOne(shape, candidate, candidate.share, asked);
    return one?.parents.length === 0;
  });
}

function judgeOne(shape: ShapeCost, candidate: Candidate, share: number, asked: Asked): Judged | undefined {
  const confidence = judge(candidate, share, () => asked.isConfirmed(shape, candidate));
  if (confidence === undefined) return undefined;
  const { parent, name, column } = candidate;
  const path = column.inner === undefined ? pathOf(name, parent) : toldPath(column);
  const parents = [{ shape: parent, column: path }];
  if (candidate.isOfRows) return { confidence, candidate, parents };
  // One value a result: a page after the last one, or the next of a list. Unless its statement ran for rows, too.
  const above = parent === shape ? undefined : asked.of(parent);
  if (above === undefined) return { confidence, candidate, parents: [] };
  const isProven = confidence === 'proven' && above.confidence === 'proven';
  // Whether a row is there, or the row itself once more: what it was asked for was known before.
  if (!isEcho(candidate, asked)) return { confidence: isProven ? 'proven' : 'suspected', candidate, parents };
  const known = above.parents.filter(one => isBefore(one, candidate));
  // Its own runs came first: the same ids, of a body, were looked up by both, and then listed.
  if (known.length === 0) return undefined;
  return { confidence: isProven ? 'proven' : 'suspected', candidate, parents: known };
}

/** Whether the rows of a statement were there when the runs began that are said to be for them. */
function isBefore({ shape }: EvidentParent, candidate: Candidate): boolean {
  const first = shape.trail?.results.list[0];
  return first === undefined || candidate.shareSince(first.at) >= MOST;
}

/** With its table, where that is another one than the main table of its statement: `variants.id` of a join. */
function pathOf({ table, column }: ColumnName, parent: ShapeCost): string {
  const isOfMain = table === undefined || parent.table === undefined || bare(table) === bare(parent.table);
  const told = toldName(column);
  return isOfMain ? told : `${table.slice(table.lastIndexOf('.') + 1)}.${told}`;
}

function bare(table: string): string {
  return table.slice(table.lastIndexOf('.') + 1).toLowerCase();
}

function bestOf(judged: readonly Judged[], asked: Asked): Judged | undefined {
  return judged.reduce<Judged | undefined>(
    (a, b) => (a === undefined || !isBetter(a, b, asked) ? b : a),
    undefined,
  );
}

/** Whether `a` explains more than `b`; of equals the later one does, as a loop follows its list. */
function isBetter(a: Judged, b: Judged, asked: Asked): boolean {
  if (a.confidence !== b.confidence) return a.confidence === 'proven';
  const [one, other] = [a.candidate, b.candidate];
  if (isReadAgain(other, one, asked)) return true;
  if (isReadAgain(one, other, asked)) return false;
  if (isRatherFollowed(one, other, asked)) return true;
  if (isRatherFollowed(other, one, asked)) return false;
  // A row that is read again is found in its own results as well, which is no chain unless all runs are.
  const isOneChain = (a.parents.length === 0) !== (b.parents.length === 0);
  if (isOneChain && one.share !== other.share) return one.share > other.share;
  // A list rather than what was looked up one by one before, for the same rows.
  const isOneOfRows = !isOneChain && one.isOfRows !== other.isOfRows && fits(one) && fits(other);
  if (isOneOfRows && one.share === other.share) return one.isOfRows;
  const rank = rankOf(one) - rankOf(other);
  if (rank !== 0) return rank < 0;
  if (one.share !== other.share) return one.share > other.share;
  // A list rather than what was loaded beside it, which has the ids of the list as references.
  const [isOwn, isOtherOwn] = [isOwnKey(one.name), isOwnKey(other.name)];
  if (isOwn !== isOtherOwn) return isOwn;
  if (one.order !== other.order) return one.order > other.order;
  return one.coverage > other.coverage;
}

/**
 * Whether the runs follow one list from its first row to its last, and of the other have picked some, or all in an
 * order of nobody knows whom: all customers, read for a menu, have those of each order as well.
 */
function isRatherFollowed(one: Candidate, other: Candidate, asked: Asked): boolean {
  const isScattered = other.coverage < HALF || (other.order < MOST && one.bits >= BITS);
  return isScattered && isFollowedWhole(one) && !isFollowedWhole(other) && !isEcho(one, asked);
}

function isFollowedWhole({ nameClass, isOfRows, share, order, coverage }: Candidate): boolean {
  const isFitting = nameClass === 'strong' || nameClass === 'same' || nameClass === 'foreign';
  return isFitting && isOfRows && share >= MOST && order >= NEARLY_ALL && coverage >= NEARLY_ALL;
}

/** What explains the runs that the best one leaves. */
function secondOf(shape: ShapeCost, match: ValueMatch, best: Candidate, asked: Asked): Judged | undefined {
  const left = toldApart(match) - count(best.low, best.high);
  if (left < MIN_VALUES) return undefined;
  const others: Judged[] = [];
  for (const candidate of match.candidates) {
    if (candidate === best || candidate.parent === best.parent || !candidate.isOfRows) continue;
    const more = count(candidate.low & ~best.low, candidate.high & ~best.high);
    const one = more < MIN_VALUES ? undefined : judgeOne(shape, candidate, more / left, asked);
    if (one?.confidence === 'proven') others.push(one);
  }
  return bestOf(others, asked);
}

/** Two that explain together what neither does alone: one loop over the rows of both, or two columns of each row. */
function pairOf(shape: ShapeCost, match: ValueMatch, asked: Asked): Verdict | undefined {
  const { candidates } = match;
  let best: readonly [Judged, Judged] | undefined;
  for (const [i, a] of candidates.entries()) {
    for (const b of candidates.slice(i + 1)) {
      if (a.slot !== b.slot || !a.isOfRows || !b.isOfRows) continue;
      const isEach =
        count(a.low & ~b.low, a.high & ~b.high) >= MIN_VALUES &&
        count(b.low & ~a.low, b.high & ~a.high) >= MIN_VALUES;
      if (!isEach) continue;
      const share = count(a.low | b.low, a.high | b.high) / toldApart(match);
      const [one, other] = [judgeOne(shape, a, share, asked), judgeOne(shape, b, share, asked)];
      if (one?.confidence !== 'proven' || other?.confidence !== 'proven') continue;
      const isFirst =
        best === undefined || (isBetter(one, best[0], asked) && isBetter(other, best[1], asked));
      if (isFirst) best = [one, other];
    }
  }
  if (best === undefined) return undefined;
  const sorted = best.toSorted((a, b) => b.candidate.matched - a.candidate.matched);
  return { confidence: 'proven', parents: merged(sorted.flatMap(({ parents }) => parents)) };
}

/** Two columns of one parent (`buyer_id`, `seller_id`) are one. */
function merged(parents: readonly EvidentParent[]): readonly EvidentParent[] {
  const [first, second] = parents;
  if (first === undefined || second === undefined || first.shape !== second.shape) return parents;
  return [{ shape: first.shape, column: `${first.column}, ${second.column}` }];
}

function toldApart({ runs }: ValueMatch): number {
  return Math.min(runs, MAX_TOLD_APART);
}

function count(low: number, high: number): number {
  return countBits(low) + countBits(high);
}

/** https://graphics.stanford.edu/~seander/bithacks.html#CountBitsSetKernighan */
function countBits(word: number): number {
  let bits = 0;
  for (let rest = word; rest !== 0; rest &= rest - 1) bits += 1;
  return bits;
}
