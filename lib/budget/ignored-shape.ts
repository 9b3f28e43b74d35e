import type { IgnoredShape } from '../cost/cost-ledger';
import { cutShape } from '../sql/shown-shape';
import type { IgnoredRepeat } from './budget';
import { endOfDay } from './budget-limits';

/** What the log cuts a long shape with, so that one can be taken from there. */
const CUT = '…';
/** How wide a shape is where one may be taken from: an older record, a report, a line with more behind the shape. */
const WIDTHS = [500, 160, 100];
const LEFT_OUT = /\d columns\b|…/;
const MAX_COMPARED = 1_000;

/** Whether a shape is the one that is declared: all of it, its beginning where it ends with `…`, or as it is shown. */
export function ignoredShape({ shape, until }: IgnoredRepeat): IgnoredShape {
  const isCut = shape.endsWith(CUT);
  const start = isCut ? shape.slice(0, -CUT.length) : shape;
  const isBegun = (other: string): boolean => (isCut ? other.startsWith(start) : other === start);
  if (!LEFT_OUT.test(shape)) return { endsAt: endOfDay(until), matches: isBegun };
  // It is asked at each query, and to leave something out takes 10 µs.
  const compared = new Map<string, boolean>();
  return {
    endsAt: endOfDay(until),
    matches: other => {
      const known = compared.get(other);
      if (known !== undefined) return known;
      const matches = isBegun(other) || WIDTHS.some(width => isBegun(cutShape(other, width)));
      if (compared.size >= MAX_COMPARED) compared.clear();
      compared.set(other, matches);
      return matches;
    },
  };
}
