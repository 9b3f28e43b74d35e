import type { Candidate } from './candidate';

/** Fewer values are no evidence. */
export const MIN_VALUES = 3;
/** Under a strong name, so many values need no more. */
const ENOUGH_VALUES = 5;
/** Shares of the runs, of the column and of the order of its rows. */
export const HALF = 0.5;
export const MOST = 0.8;
export const NEARLY_ALL = 0.9;
/** From here on another request that asks for other values confirms a strong name. */
const MUCH = 0.4;
/** Bits of values that are no coincidence under a fitting name, and under one that says something else. */
const FEW_BITS = 4;
export const BITS = 24;
const MANY_BITS = 120;

/** How sure it is that a statement ran for the values of a column. */
export type Confidence = 'proven' | 'suspected';

/**
 * What the values say of a candidate; `undefined` is nothing.
 *
 * @param share share of the runs that it explains, alone or with another one
 * @param isConfirmed whether another request of the handler has followed the same column with other values
 */
export function judge(
  candidate: Candidate,
  share: number,
  isConfirmed: () => boolean,
): Confidence | undefined {
  const { distinct, nameClass, slot, bits, coverage, order, hasDate } = candidate;
  if (distinct < MIN_VALUES || share < HALF) return undefined;
  // The number in a text is that of the row only under the name of its table.
  if (slot.word !== undefined && nameClass !== 'strong') return undefined;
  if (isProven(candidate, share)) return 'proven';
  const isStrong = nameClass === 'strong';
  const isFitting = isStrong || nameClass === 'same' || nameClass === 'foreign';
  const isLikely = isFitting
    ? share >= MOST && (coverage >= NEARLY_ALL || (coverage >= HALF && order >= NEARLY_ALL))
    : share >= MOST && coverage >= NEARLY_ALL && order >= NEARLY_ALL && bits >= 1 && !hasDate;
  const isPart = isStrong && share >= MOST && coverage >= MUCH;
  if (!isLikely && !isPart) return undefined;
  return mayConfirm(candidate, share) && isConfirmed() ? 'proven' : 'suspected';
}

/**
 * Whether that another request asks for other values says anything. Of 1, 2, 3, which are asked for by whoever
 * counts, only if both ask for all values of their list, in its order, and for nothing else.
 */
export function mayConfirm({ nameClass, bits, hasDate, coverage, order }: Candidate, share: number): boolean {
  if (nameClass === 'strong') return true;
  if (hasDate) return false;
  if (bits >= 1) return true;
  const isFitting = nameClass === 'same' || nameClass === 'foreign';
  return isFitting && share === 1 && coverage >= NEARLY_ALL && order >= NEARLY_ALL;
}

function isProven(candidate: Candidate, share: number): boolean {
  const { nameClass, distinct, bits, bitsInOrder, coverage, order } = candidate;
  switch (nameClass) {
    case 'strong':
      return distinct >= ENOUGH_VALUES || (coverage >= HALF && !candidate.isOfFew);
    case 'same':
    case 'foreign':
      if (share < MOST) return false;
      return bits >= BITS || (bitsInOrder >= FEW_BITS && order >= NEARLY_ALL && coverage >= HALF);
    case 'namesake':
    case 'none':
      return share >= MOST && order >= MOST && bits >= BITS;
    case 'conflict':
      return share >= MOST && bits >= MANY_BITS;
  }
}
