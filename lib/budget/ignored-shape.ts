import type { IgnoredShape } from '../cost/cost-ledger';
import type { IgnoredRepeat } from './budget';
import { endOfDay } from './budget-limits';

/** What the log cuts a long shape with, so that one can be taken from there. */
const CUT = '…';

/** Whether a shape is the one that is declared: all of it, or its beginning where it ends with `…`. */
export function ignoredShape({ shape, until }: IgnoredRepeat): IgnoredShape {
  const isCut = shape.endsWith(CUT);
  const start = isCut ? shape.slice(0, -CUT.length) : shape;
  return {
    endsAt: endOfDay(until),
    matches: other => (isCut ? other.startsWith(start) : other === start),
  };
}
