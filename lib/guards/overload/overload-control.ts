import type { RequestPriority, ResolvedOverload } from './overload-options';

/** How often the share is set. */
const STEP_MS = 100;
/** For so long the least delay has to be above the target. */
const STANDING_MS = 500;
/**
 * Of the PI controller, for errors in targets: where twice of what can be handled comes in, it is damped critically
 * with a time of half a second.
 */
const PROPORTIONAL = 0.2;
const INTEGRAL_PER_S = 0.2;
const MAX_ERROR = 10;
/** Of the arrivals one step before: few come within a step, and one of them alone says nothing of the mix. */
const MEMORY = 0.8;
/** Somebody is always let in. */
const MAX_SHARE = 0.95;

/** The least first: it is shed first. */
const PRIORITIES = ['sheddable', 'default', 'critical'] as const satisfies readonly RequestPriority[];

/** What is above its target. */
export type OverloadCause = 'loop-delay' | 'pool-wait';

/**
 * Says whether the process is overloaded, and which requests it sheds. It is told the time and what was measured.
 *
 * A delay that comes and goes is none: as in CoDel (https://www.rfc-editor.org/rfc/rfc8289), the least delay of an
 * interval tells a queue that stands from one that is being worked off. From then on a PI controller sets the share
 * to be shed, which is taken from the least priority first.
 */
export class OverloadControl {
  readonly #targetDelayMs: number;
  readonly #targetWaitMs: number;
  #stepMs: number | undefined;
  #leastDelayMs = Infinity;
  #leastWaitMs = Infinity;
  #aboveSinceMs: number | undefined;
  #error = 0;
  #share = 0;
  #isOverloaded = false;
  /** Arrivals of this step, those of the last ones, and by these the share that each priority loses. */
  readonly #arrivals = { sheddable: 0, default: 0, critical: 0 };
  readonly #mix = { sheddable: 0, default: 0, critical: 0 };
  readonly #losses = { sheddable: 0, default: 0, critical: 0 };
  readonly #owed = { sheddable: 0, default: 0, critical: 0 };
  cause: OverloadCause = 'loop-delay';
  /** Least of the last step. */
  delayMs = 0;
  waitMs = 0;

  constructor({ targetDelayMs, poolWaitMs }: Pick<ResolvedOverload, 'targetDelayMs' | 'poolWaitMs'>) {
    this.#targetDelayMs = targetDelayMs;
    this.#targetWaitMs = poolWaitMs === 0 ? Infinity : poolWaitMs;
  }

  get isOverloaded(): boolean {
    return this.#isOverloaded;
  }

  /** Whether arrivals are to be told: it sheds, or is about to. */
  get isWatching(): boolean {
    return this.#isOverloaded || this.#aboveSinceMs !== undefined;
  }

  /** Share of the arrivals that is shed. */
  get shedShare(): number {
    return this.#share;
  }

  /** Takes what was measured just now; whether it has begun or ended to be overloaded. */
  sample(delayMs: number, waitMs: number, nowMs: number): 'began' | 'ended' | undefined {
    this.#leastDelayMs = Math.min(this.#leastDelayMs, delayMs);
    this.#leastWaitMs = Math.min(this.#leastWaitMs, waitMs);
    const passedMs = nowMs - (this.#stepMs ??= nowMs);
    if (passedMs < STEP_MS) return undefined;
    this.#stepMs = nowMs;
    [this.delayMs, this.waitMs] = [this.#leastDelayMs, this.#leastWaitMs];
    this.#leastDelayMs = this.#leastWaitMs = Infinity;
    const was = this.#isOverloaded;
    this.#step(Math.min(passedMs, STANDING_MS) / 1_000, nowMs);
    if (was === this.#isOverloaded) return undefined;
    return was ? 'ended' : 'began';
  }

  /** Counts a request; whether it is shed. */
  sheds(priority: RequestPriority): boolean {
    this.#arrivals[priority] += 1;
    // Spread evenly, so that a share of a third is each third one.
    this.#owed[priority] += this.#losses[priority];
    if (this.#owed[priority] < 1) return false;
    this.#owed[priority] -= 1;
    return true;
  }

  #step(seconds: number, nowMs: number): void {
    const late = this.delayMs / this.#targetDelayMs - 1;
    const waits = this.waitMs / this.#targetWaitMs - 1;
    const error = Math.min(MAX_ERROR, Math.max(late, waits));
    if (error > 0) this.cause = late >= waits ? 'loop-delay' : 'pool-wait';
    // From the end of the first step on: a single block is one step, however long it is.
    this.#aboveSinceMs = error > 0 ? (this.#aboveSinceMs ?? nowMs) : undefined;
    const stands = this.#aboveSinceMs !== undefined && nowMs - this.#aboveSinceMs >= STANDING_MS;
    if (stands && !this.#isOverloaded) {
      this.#isOverloaded = true;
      this.#error = 0;
    }
    if (this.#isOverloaded) {
      const change = PROPORTIONAL * (error - this.#error) + INTEGRAL_PER_S * seconds * error;
      this.#share = Math.min(MAX_SHARE, Math.max(0, this.#share + change));
      if (this.#share === 0 && error <= 0) this.#isOverloaded = false;
    }
    this.#error = error;
    this.#divide();
  }

  /** Divides the share among the priorities by the mix of the arrivals. */
  #divide(): void {
    let all = 0;
    for (const priority of PRIORITIES) {
      this.#mix[priority] = MEMORY * this.#mix[priority] + this.#arrivals[priority];
      this.#arrivals[priority] = 0;
      all += this.#mix[priority];
    }
    let left = this.#share * all;
    for (const priority of PRIORITIES) {
      const arrived = this.#mix[priority];
      this.#losses[priority] = lossOf(left, arrived);
      left = Math.max(0, left - arrived);
      if (!this.#isOverloaded) this.#owed[priority] = 0;
    }
  }
}

/** Of a priority that nobody came with, all or nothing. */
function lossOf(left: number, arrived: number): number {
  if (arrived === 0) return left > 0 ? 1 : 0;
  return Math.min(1, left / arrived);
}
