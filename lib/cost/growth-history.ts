import { type CallSite, callSiteOf, captureStack, type RawStack } from '../kernel/call-site';
import type { CostLedger } from './cost-ledger';
import type { Confirmations } from './evidence/evidence';
import { noteFrames } from '../kernel/helper-frames';
import { wantCaller } from './orm-call';
import type { ShapeCost } from './shape-cost';
import { MIN_ROWS, runsBetween } from './repeat-trace';

/** Bounds of what is kept of one handler, for as long as the process lives. */
const MAX_SHAPES = 16;
const MAX_PARENTS = 6;
const MAX_SITES = 100;
/** Units of work, and squared distance of their rows from the mean, before a slope says anything. */
const MIN_SAMPLES = 3;
const MIN_SPREAD = 2;
/** Runs for each row: 1 is an N+1, less is one behind a cache or a filter, 0.1 a batch of ten. */
const MIN_SLOPE = 0.3;
/** Share of the differences in runs that the rows explain. */
const MIN_FIT = 0.7;

/** So often is looked for a line that was not on the stack: the pool may have opened a connection first. */
const MAX_TRIES = 3;
/** Calls of pools that are looked at by their texts, before these have a shape. */
const MAX_CALLS = 200;

/** So many units of work that repeat a shape are looked at one by one; then only when their number has doubled. */
const FIRST_LOOKS = 3;

/** Columns that values were followed along, and sets of values of each, as hashes. */
const MAX_FOLLOWED = 200;
const MAX_SETS = 4;

/** Where a shape repeats. */
interface RepeatSite {
  units: number;
  lookAt: number;
  site: CallSite | undefined;
}

/** What is known of a shape and what it may grow with. */
export interface Growth {
  /** Runs for each row of the parent. */
  readonly slope: number;
  /** Share of the differences that this explains: 1 for a straight line. */
  readonly fit: number;
}

/** What the units of work of one handler have shown about its shapes: running sums, no samples. */
export class GrowthHistory implements Confirmations {
  /** Until when a breach of its budget is not written to the log, by `performance.now()`. */
  breachesHeldUntilMs = 0;
  readonly #children = new Map<string, Map<string, Sums>>();
  readonly #sites = new Map<string, CallSite | undefined>();
  readonly #repeats = new Map<string, RepeatSite>();
  readonly #followed = new Map<number, number[]>();
  /** Shapes without a line, and how often one was looked for. */
  readonly #tries = new Map<string, number>();
  #calls = 0;
  /** By relation of an ORM. */
  readonly #loads = new WeakMap<object, number>();
  readonly #repeatedLoads = new WeakMap<object, RepeatSite>();

  /** Adds a unit of work that has ended. */
  learn(cost: CostLedger): void {
    if (cost.shapes === undefined) return;
    cost.evidence?.teach(this);
    if (cost.repeatTrace !== undefined) this.#watch(cost);
    for (const [child, parents] of this.#children) {
      const shape = cost.shapes.get(child);
      for (const [name, sums] of parents) {
        const parent = cost.shapes.get(name);
        if (parent !== undefined) sums.add(parent.rows, shape === undefined ? 0 : runsFor(shape, parent));
      }
    }
  }

  /** How a shape grows with the rows of another; `undefined` while that is not known. */
  growthOf(shape: ShapeCost, parent: ShapeCost): Growth | undefined {
    return this.#children.get(shape.key)?.get(parent.key)?.growth();
  }

  /** Keeps where the handler makes a shape, the first time that it does; by its key, as all others. */
  noteSite(shape: string, stackBoundary: (...args: never[]) => unknown): void {
    const tries = this.#tries.get(shape) ?? 0;
    const isKnown = this.#sites.get(shape) !== undefined || tries >= MAX_TRIES;
    if (isKnown || (tries === 0 && this.#sites.size >= MAX_SITES)) return;
    // Its frames and not the stack: that would keep the objects of this request.
    const stack = captureStack(stackBoundary);
    const site = callSiteOf(stack);
    this.#sites.set(shape, site);
    if (site === undefined) this.#tries.set(shape, tries + 1);
    else this.#tries.delete(shape);
    noteFrames(shape, site);
    if (site === undefined) wantCaller(stack, caller => this.#noteCaller(shape, caller));
  }

  #noteCaller(shape: string, caller: RawStack): void {
    const site = callSiteOf(caller);
    if (site === undefined || this.#sites.get(shape) !== undefined) return;
    this.#sites.set(shape, site);
    this.#tries.delete(shape);
    noteFrames(shape, site);
  }

  /** Whether one more call of a pool is looked at: to read a text that is not known takes some 6 µs. */
  takesCall(): boolean {
    return this.#calls < MAX_CALLS && (this.#calls += 1) > 0;
  }

  /** Whether the first load of a relation in a unit of work is looked at: before its shape is known. */
  takesLoad(relation: object): boolean {
    const tries = this.#loads.get(relation) ?? 0;
    if (tries < MAX_TRIES) this.#loads.set(relation, tries + 1);
    return tries < MAX_TRIES;
  }

  /** The same where the loads repeat: as `seeRepeat()` does for the shape that they have. */
  takesRepeatedLoad(relation: object): boolean {
    const known = this.#repeatedLoads.get(relation);
    const repeat = known ?? newRepeat();
    if (known === undefined) this.#repeatedLoads.set(relation, repeat);
    return isLookedAt(repeat);
  }

  /**
   * The stack of a shape that repeats in a unit of work, now and then: between a driver and a handler that are met
   * cold it costs a request 19 (Node 24) to 34 µs (Node 20). Of the others the last one that was taken speaks.
   */
  seeRepeat(shape: string, stackBoundary: (...args: never[]) => unknown): RawStack | undefined {
    const repeat = getOrAdd(this.#repeats, shape, MAX_SITES, newRepeat);
    if (repeat === undefined) return captureStack(stackBoundary);
    if (!isLookedAt(repeat)) return undefined;
    const stack = captureStack(stackBoundary);
    const site = callSiteOf(stack);
    if (site !== undefined) repeat.site = site;
    else wantCaller(stack, caller => (repeat.site = callSiteOf(caller) ?? repeat.site));
    return stack;
  }

  /** Whether another unit of work followed a column with other values: it was no coincidence. */
  isConfirmed(candidate: number, values: number): boolean {
    return this.#followed.get(candidate)?.some(other => other !== values) === true;
  }

  /** Keeps that values followed a column: a hash of both. */
  noteValues(candidate: number, values: number): void {
    const sets = this.#followed.get(candidate);
    if (sets === undefined) {
      if (this.#followed.size < MAX_FOLLOWED) this.#followed.set(candidate, [values]);
    } else if (sets.length < MAX_SETS && !sets.includes(values)) sets.push(values);
  }

  /** Where the handler made a shape first. */
  siteOf(shape: string): CallSite | undefined {
    return this.#sites.get(shape);
  }

  /** Where a shape repeated when it was looked at last. */
  repeatSiteOf(shape: string): CallSite | undefined {
    return this.#repeats.get(shape)?.site;
  }

  #watch({ shapes }: CostLedger): void {
    for (const shape of shapes?.values() ?? []) {
      if (shape.count < MIN_ROWS) continue;
      for (const parent of shapes?.values() ?? []) {
        if (parent === shape || !canBeParent(parent) || runsFor(shape, parent) === 0) continue;
        const parents = getOrAdd(this.#children, shape.key, MAX_SHAPES, () => new Map<string, Sums>());
        if (parents !== undefined) getOrAdd(parents, parent.key, MAX_PARENTS, () => new Sums());
      }
    }
  }
}

function newRepeat(): RepeatSite {
  return { units: 0, lookAt: 1, site: undefined };
}

/** Counts one more unit of work. */
function isLookedAt(repeat: RepeatSite): boolean {
  repeat.units += 1;
  if (repeat.units < repeat.lookAt) return false;
  repeat.lookAt = repeat.units < FIRST_LOOKS ? repeat.units + 1 : repeat.units * 2;
  return true;
}

/** Whether a loop may have run over the rows of a shape: one row each time is somebody's child. */
export function canBeParent({ rows, count, answeredAt }: ShapeCost): boolean {
  return answeredAt !== 0 && rows >= MIN_ROWS && rows > count;
}

/** Whether runs follow rows; without it they do not. */
export function isGrowing({ slope, fit }: Growth): boolean {
  return slope >= MIN_SLOPE && fit >= MIN_FIT;
}

/** Runs that may be for rows of the parent; all of them when it gave none. */
function runsFor(shape: ShapeCost, parent: ShapeCost): number {
  return parent.answeredAt === 0 ? shape.count : runsBetween(shape, parent.answeredAt);
}

function getOrAdd<T>(map: Map<string, T>, key: string, most: number, make: () => T): T | undefined {
  const known = map.get(key);
  if (known !== undefined || map.size >= most) return known;
  const made = make();
  map.set(key, made);
  return made;
}

/** Least squares over pairs of rows and runs. */
class Sums {
  #n = 0;
  #meanX = 0;
  #meanY = 0;
  #xx = 0;
  #xy = 0;
  #yy = 0;

  // https://en.wikipedia.org/wiki/Algorithms_for_calculating_variance#Online
  add(x: number, y: number): void {
    this.#n += 1;
    const dx = x - this.#meanX;
    const dy = y - this.#meanY;
    this.#meanX += dx / this.#n;
    this.#meanY += dy / this.#n;
    this.#xx += dx * (x - this.#meanX);
    this.#xy += dx * (y - this.#meanY);
    this.#yy += dy * (y - this.#meanY);
  }

  growth(): Growth | undefined {
    if (this.#n < MIN_SAMPLES || this.#xx < MIN_SPREAD) return undefined;
    const slope = this.#xy / this.#xx;
    return { slope, fit: this.#yy === 0 ? 0 : (this.#xy * slope) / this.#yy };
  }
}
