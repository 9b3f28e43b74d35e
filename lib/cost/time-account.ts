import { performance } from 'node:perf_hooks';
import type { EventLoop } from './event-loop';

/** What a unit of work can wait for; of several at once the first of this list counts. */
export const WAITS = ['database', 'pool', 'http', 'cache', 'messages', 'slot'] as const;
export type Wait = (typeof WAITS)[number];
/** The places in that list that are used by themselves. */
export const DATABASE = 0;
export const POOL = 1;
export const SLOT = 5;
const NOTHING = WAITS.length;

/** Who an account is of. */
export interface UnitOfAccount {
  readonly requestId: string;
  readonly handler: { readonly name: string; readonly number: number } | undefined;
}

/**
 * Where the wall time of one unit of work went.
 *
 * Each moment is counted once: as work of its own, else as a stall while somebody else blocked the loop,
 * else as unknown while it was blocked and nobody saw by whom, else as starved while other processes had the processor, else as a wait for the first of what it has asked for, else as the rest. So the parts add up.
 */
export class TimeAccount {
  /** Tells it from others in what outlives it. */
  readonly number: number;
  /** Milliseconds in which it ran. */
  ownMs = 0;
  /** Milliseconds of that in stretches of 50 ms and longer. */
  blockedMs = 0;
  /** Milliseconds in which the loop was blocked by it or by others, and it is not known by whom. */
  doubtMs = 0;
  /** Milliseconds in which others blocked the loop. */
  stalledMs = 0;
  /** Milliseconds in which the loop was blocked, and nobody has seen by whom. */
  unknownMs = 0;
  /** Milliseconds in which the machine gave the processor to others for long. */
  starvedMs = 0;
  /** Those around it in the list of those that are open. */
  previous: TimeAccount | undefined = undefined;
  next: TimeAccount | undefined = undefined;
  /** Milliseconds in which it waited for nothing that is counted. */
  otherMs = 0;
  /** By `WAITS`: calls under way, and milliseconds of waiting. Absent until the first call. */
  #open: number[] | undefined = undefined;
  #waitedMs: number[] | undefined = undefined;
  readonly #loop: EventLoop;
  #waitsFor: number = NOTHING;
  isClosed = false;
  #sinceMs: number;
  /** As they were at that time: of its own, and of all. */
  #ownBeforeMs = 0;
  #notOthersBeforeMs = 0;
  #blockedBeforeMs: number;
  #starvedBeforeMs: number;
  #unknownBeforeMs: number;

  readonly #outer: TimeAccount | undefined;

  /** @param outer account of the unit of work that awaits this one: what this one runs, that one runs */
  constructor(
    loop: EventLoop,
    readonly unit: UnitOfAccount,
    nowMs: number,
    outer?: TimeAccount,
  ) {
    this.#loop = loop;
    this.#outer = outer;
    this.number = outer?.number ?? numberOf(loop);
    // First: what ran up to now is not of the one that opens.
    loop.resumes(this, nowMs);
    if (outer === undefined) loop.add(this);
    this.#sinceMs = nowMs;
    this.#blockedBeforeMs = loop.blockedMs;
    this.#starvedBeforeMs = loop.starvedMs;
    this.#unknownBeforeMs = loop.unknownMs;
  }

  /** Tells the watchdog which handler runs; 0 where there is none. */
  get handlerNumber(): number {
    return this.unit.handler?.number ?? 0;
  }

  /** Milliseconds in which it waited for that and for nothing before it in the list. */
  waitedMs(wait: Wait): number {
    return this.#waitedMs?.[WAITS.indexOf(wait)] ?? 0;
  }

  /** Adds what it was seen to run; what it does after its end is in no record. */
  ran(ms: number, isBlock: boolean): void {
    this.#outer?.ran(ms, isBlock);
    if (this.isClosed) return;
    this.ownMs += ms;
    if (isBlock) this.blockedMs += ms;
  }

  /** Says that its handler is known, and runs; another one may have been seen meanwhile. */
  runs(): void {
    if (!this.isClosed && !this.#loop.isNamed(this)) this.#loop.resumes(this, performance.now());
  }

  /** Says that it makes a call, and may wait for the answer from now on. */
  begin(wait: number, nowMs: number): void {
    if (this.isClosed) return;
    this.#loop.yields(this, nowMs);
    const open = (this.#open ??= [0, 0, 0, 0, 0, 0]);
    open[wait]! += 1;
    if (wait < this.#waitsFor) this.#settle(nowMs, wait);
  }

  /** Says that a call has its answer, and that it may run from now on. */
  end(wait: number, nowMs: number): void {
    if (this.isClosed || this.#open === undefined) return;
    this.#loop.resumes(this, nowMs);
    this.#open[wait]! -= 1;
    if (wait === this.#waitsFor) this.#settle(nowMs, this.#firstOpen());
  }

  /** Says that a call waits for something else from now on: the query has its connection. */
  change(from: number, to: number, nowMs: number): void {
    if (this.isClosed || this.#open === undefined) return;
    this.#loop.settle(nowMs);
    this.#open[from]! -= 1;
    this.#open[to]! += 1;
    this.#settle(nowMs, this.#firstOpen());
  }

  /** Milliseconds of a stretch that ends now in which no answer could be read: others blocked the loop, or it was starved. */
  deafMs(fromMs: number, nowMs: number): number {
    // Absent where an older copy of the package has made the loop.
    return this.#loop.deafMs?.(this.number, fromMs, nowMs) ?? 0;
  }

  /** Counts a query that was measured elsewhere and has just ended. */
  record(durationMs: number, nowMs: number): void {
    if (this.isClosed) return;
    this.look(nowMs);
    const ms = Math.min(durationMs, this.otherMs);
    this.otherMs -= ms;
    (this.#waitedMs ??= [0, 0, 0, 0, 0, 0])[DATABASE]! += ms;
  }

  /** Counts up to now, while it runs. */
  look(nowMs: number): void {
    if (this.isClosed) return;
    this.#loop.yields(this, nowMs);
    this.#settle(nowMs, this.#waitsFor);
  }

  /** Ends the account: it changes no more. */
  close(nowMs: number): void {
    if (this.isClosed) return;
    this.#loop.yields(this, nowMs);
    this.#settle(nowMs, NOTHING);
    if (this.#outer === undefined) this.#loop.remove(this);
    this.isClosed = true;
  }

  #firstOpen(): number {
    const open = this.#open;
    if (open === undefined) return NOTHING;
    let first = 0;
    while (first < NOTHING && open[first] === 0) first += 1;
    return first;
  }

  #settle(nowMs: number, next: number): void {
    const { blockedMs, unknownMs: unknownSoFarMs, starvedMs: starvedSoFarMs } = this.#loop;
    const waitedMs = Math.max(0, nowMs - this.#sinceMs - (this.ownMs - this.#ownBeforeMs));
    const notOthersMs = this.blockedMs + this.doubtMs;
    const others = blockedMs - this.#blockedBeforeMs - (notOthersMs - this.#notOthersBeforeMs);
    // Sums of fractions: what is none may come out as a little less.
    const stalledMs = others > 0 ? Math.min(waitedMs, others) : 0;
    this.stalledMs += stalledMs;
    const unknownMs = Math.min(waitedMs - stalledMs, unknownSoFarMs - this.#unknownBeforeMs);
    this.unknownMs += unknownMs;
    const starvedMs = Math.min(waitedMs - stalledMs - unknownMs, starvedSoFarMs - this.#starvedBeforeMs);
    this.starvedMs += starvedMs;
    const restMs = waitedMs - stalledMs - unknownMs - starvedMs;
    if (this.#waitsFor === NOTHING) this.otherMs += restMs;
    else (this.#waitedMs ??= [0, 0, 0, 0, 0, 0])[this.#waitsFor]! += restMs;
    this.#waitsFor = next;
    this.#sinceMs = nowMs;
    this.#ownBeforeMs = this.ownMs;
    this.#notOthersBeforeMs = notOthersMs;
    this.#blockedBeforeMs = blockedMs;
    this.#starvedBeforeMs = starvedSoFarMs;
    this.#unknownBeforeMs = unknownSoFarMs;
  }
}

function numberOf(loop: EventLoop): number {
  return (loop.accounts = (loop.accounts ?? 0) + 1);
}
