import type { ShapeCost } from './shape-cost';

/** A result that a loop may have run over: fewer rows are no evidence. */
export const MIN_ROWS = 3;
/** Results that are kept one by one; those after them count in the sums of their shape. */
const MAX_RESULTS = 32;
/** Times at which runs of a shape are told apart, as pairs of time and count. */
const MAX_TIMES = 16;
/** Parameters of one shape that are compared. */
const MAX_SEEN = 64;

/** One execution that returned so many rows, and when. */
export interface LargeResult {
  readonly shape: ShapeCost;
  readonly rows: number;
  readonly at: number;
}

/**
 * When the shapes of a unit of work ran, as far as repeats need it: time is the number of results
 * of interest so far, so that "after that result" is a comparison of two small numbers.
 */
export class RepeatTrace {
  readonly results: LargeResult[] = [];
  #now = 0;

  /** Notes that a shape is about to run. */
  run(shape: ShapeCost): void {
    const { times } = shape;
    if (times === undefined) {
      if (shape.runsAtFirst === 0) shape.firstAt = this.#now;
      if (shape.firstAt === this.#now) shape.runsAtFirst += 1;
      else shape.times = [this.#now, 1];
      return;
    }
    const last = times.length - 2;
    if (times[last] === this.#now || times.length >= 2 * (MAX_TIMES - 1)) {
      times[last + 1] = (times[last + 1] as number) + 1;
    } else {
      times.push(this.#now, 1);
    }
  }

  /** Notes that a shape has returned rows. */
  result(shape: ShapeCost, rows: number): void {
    const isKept = rows >= MIN_ROWS && this.results.length < MAX_RESULTS;
    if (!isKept && shape.answeredAt !== 0) return;
    this.#now += 1;
    if (shape.answeredAt === 0) shape.answeredAt = this.#now;
    if (isKept) this.results.push({ shape, rows, at: this.#now });
  }
}

/** How often a shape ran from one time on, up to another. */
export function runsBetween(
  { firstAt, runsAtFirst, times = [] }: ShapeCost,
  from: number,
  to = Infinity,
): number {
  let runs = firstAt >= from && firstAt < to ? runsAtFirst : 0;
  for (let i = 0; i < times.length; i += 2) {
    const at = times[i] as number;
    if (at >= from && at < to) runs += times[i + 1] as number;
  }
  return runs;
}

/** Whether a shape has run with these parameters before; `undefined` parameters are never the same. */
export function noteParameters(shape: ShapeCost, hash: number | undefined): void {
  if (hash === undefined) return;
  const { seen, firstSeen } = shape;
  if (seen === undefined) {
    if (firstSeen === undefined) shape.firstSeen = hash;
    else if (firstSeen === hash) shape.duplicates += 1;
    else shape.seen = new Set([firstSeen, hash]);
  } else if (seen.has(hash)) shape.duplicates += 1;
  else if (seen.size < MAX_SEEN) seen.add(hash);
}
