// Here and wherever requests pass: the global is an accessor, which is called at each use.
import { performance } from 'node:perf_hooks';
import { type Callee, calleeOf, type CallSite, captureStack, sitesOf } from '../kernel/call-site';
import type { TimeAccount } from './time-account';

/** From here on work is said to block the event loop: https://www.w3.org/TR/longtasks-1/ */
export const LONG_TASK_MS = 50;
/** Stretches in which it did not turn that are remembered, for the units of work that waited. */
const MAX_BLOCKS = 128;
/** Below this, who ran may be inferred from who was seen before and after; nobody is blamed for it. */
const INFERRED_MS = 250;
/** For so long a handler that was caught is taken to be the one that blocks again. */
const CAUGHT_MS = 60_000;
const MAX_CAUGHT = 1_000;
const MAX_SITES = 5;

/** A unit of work that blocked the loop: what is said of it, and nothing that it holds on to. */
export interface Culprit {
  readonly account: number;
  readonly requestId: string;
  readonly handler: string | undefined;
}

/** Stretches of this length are no series of short requests: if nobody is known to have run in them, it may be worth a look. */
const SLICE_MS = 5;
/** So much of them in a second is. */
const UNKNOWN_MS = 50;
const UNKNOWN_WINDOW_MS = 1_000;

/** In a stretch of fewer milliseconds the loop is taken to have run, not waited. */
const SHORT_MS = 0.02;
/** By so much two sums of the same stretches may differ. */
const ROUNDING_MS = 0.001;

/** What the thread got of the processor in a stretch, in milliseconds. */
export interface SpentProcessor {
  /** Where nothing tells the threads apart, that of the process. */
  readonly cpuMs: number;
  /** It was ready, and others had the processor; `undefined` where nobody says so. */
  readonly waitedMs: number | undefined;
}

/** A stretch of 50 ms or longer in which the event loop did not turn. */
export interface LoopBlock {
  readonly endMs: number;
  /** How long, without the time in which the process was suspended or starved: what ran is at fault for it. */
  readonly ms: number;
  /** How long the machine gave the processor to others meanwhile; 0 where that is not known. */
  readonly starvedMs: number;
  /** Whether that is known. */
  readonly knowsStarved: boolean;
  /** What of `ms` used the processor, at most; the rest waited. Absent when nobody watches. */
  readonly cpuMs: number | undefined;
  /** Whose work it was, where that is proven. */
  readonly culprit: Culprit | undefined;
  /** Accounts of those who may have been at fault. */
  readonly suspects: readonly number[];
  /** Where the application was when the watchdog looked, nearest first; absent when it has not. */
  readonly sites: readonly CallSite[] | undefined;
  /** What the nearest of these had called, if it was not its own code that ran: `pbkdf2Sync`. */
  readonly callee?: Callee | undefined;
  /** Other units of work that were open. */
  readonly waiting: number;
}

/** What ran when the watchdog looked. */
interface Capture {
  /** Whose work it was; absent for what runs outside of any unit of work. */
  readonly account: TimeAccount | undefined;
  readonly sites: readonly CallSite[];
  readonly callee: Callee | undefined;
}

/**
 * What the event loop did, as far as it shows where units of work begin, make calls and get their answers.
 *
 * Between two such moments the loop was idle, which libuv counts (`performance.nodeTiming.idleTime`, 33 ns
 * to read), or ran something. That is charged to whom the two moments show to have run: whose answer came
 * runs from then on, and who makes a call has run until then. What blocks the loop for 50 ms is charged to
 * somebody only if the watchdog has seen it, if the same unit of work was seen at both ends, or if its
 * handler was caught just before. Up to 250 ms it may still be inferred whose own work it was. What the
 * machine gave of it to other processes is nobody's.
 *
 * Work in slices (`await setImmediate()` between the parts, bcryptjs) makes no call that would show whose it is. It
 * is that of the one unit of work that is open; where several are, each callback is looked at for a while.
 */
export class EventLoop {
  /** Milliseconds in which it ran one thing for 50 ms or longer, so far. */
  blockedMs = 0;
  /** Milliseconds in which the machine gave the processor to others meanwhile, so far. */
  starvedMs = 0;
  /** Milliseconds in which it ran one thing for 50 ms or longer, and nobody has seen whose, so far. */
  unknownMs = 0;
  /** Units of work that are open. */
  open = 0;
  /** Accounts that were numbered; absent where an older copy of the package has made this. */
  accounts?: number = 0;
  /** Called at the first sign of work while nobody watches closely; absent where an older copy has made this. */
  onWork?: (() => void) | undefined = undefined;
  onBlock: ((block: LoopBlock) => void) | undefined = undefined;
  /** Called where it is not known whose work runs for long. */
  onUnknown: ((nowMs: number) => void) | undefined = undefined;
  /** Called where that was seen, while each callback is looked at. */
  onSeen: ((nowMs: number) => void) | undefined = undefined;
  /** What of a stretch the whole process was suspended, in milliseconds; absent when nobody watches. */
  suspendedMs: ((stretchMs: number) => number) | undefined = undefined;
  /** What was spent of the processor since that was asked last; absent when nobody watches. */
  takeSpent: (() => SpentProcessor) | undefined = undefined;
  /** For the watchdog's thread: how often the loop was looked at, and the number of the handler that runs. */
  readonly shared = new Int32Array(new SharedArrayBuffer(8));
  /** Whose work runs now, as the storage says it. */
  readonly #accountInForce: () => TimeAccount | undefined;
  #runner: TimeAccount | undefined = undefined;
  /** Whether the runner was seen to start, rather than to make a call. */
  #hasResumed = false;
  #sinceMs = performance.now();
  #idleMs = performance.nodeTiming.idleTime;
  /** Milliseconds of short stretches since the idle time was read: it may have been idle in them. */
  #shortMs = 0;
  /** Whether the runner is the only one that was seen to start in this turn. */
  #isSole = true;
  #capture: Capture | undefined = undefined;
  /** Those that are open, as a list. */
  #firstOpen: TimeAccount | undefined = undefined;
  /** Whether each callback is looked at: then whoever was seen last is the one that runs, or nobody's work does. */
  #seesAll = false;
  /** Milliseconds of slices that nobody is known to have run, and since when they are summed up. */
  #unseenMs = 0;
  #unseenSinceMs = 0;
  readonly #blocks: LoopBlock[] = [];
  #blockCount = 0;
  readonly #caught = new Map<number, number>();

  constructor(accountInForce: () => TimeAccount | undefined) {
    this.#accountInForce = accountInForce;
  }

  /** Says that a unit of work is open. */
  add(account: TimeAccount): void {
    this.open += 1;
    const first = this.#firstOpen;
    account.next = first;
    if (first !== undefined) first.previous = account;
    this.#firstOpen = account;
  }

  /** Says that one is over. */
  remove(account: TimeAccount): void {
    this.open -= 1;
    const { previous, next } = account;
    if (previous === undefined) this.#firstOpen = next;
    else previous.next = next;
    if (next !== undefined) next.previous = previous;
    account.previous = undefined;
    account.next = undefined;
  }

  /** Says that a unit of work runs from now on: it begins, or its answer is there. */
  resumes(account: TimeAccount, nowMs: number): void {
    this.#look(nowMs, undefined);
    this.#next(account, true);
  }

  /** Says that a unit of work has run until now, and may wait from now on: it makes a call, or ends. */
  yields(account: TimeAccount, nowMs: number): void {
    this.#look(nowMs, account);
    this.#next(account, false);
  }

  /** Says that the loop has turned: whoever ran has stopped. To be said often. */
  turns(nowMs: number): void {
    this.#look(nowMs, undefined);
    this.#next(undefined, false);
  }

  /** Says whose callback begins, while each is looked at: until the next, nothing of anybody else runs. */
  enters(nowMs: number): void {
    this.#look(nowMs, undefined);
    const account = this.#accountInForce();
    this.#next(account, account !== undefined);
    this.#seesAll = true;
  }

  /** Says that callbacks are not looked at any more. */
  leaves(): void {
    this.#seesAll = false;
  }

  /** Says that nobody has looked for long: what ran since the last look is not one stretch. */
  wakes(nowMs: number): void {
    this.#sinceMs = nowMs;
    this.#idleMs = performance.nodeTiming.idleTime;
    this.#shortMs = 0;
    this.#next(undefined, false);
  }

  /** Whether that unit of work is the last that was seen; if so, the watchdog learns of its handler. */
  isNamed(account: TimeAccount): boolean {
    if (this.#runner !== account) return false;
    this.shared[1] = account.handlerNumber;
    return true;
  }

  /** Charges what ran up to now; who runs goes on. */
  settle(nowMs: number): void {
    this.#look(nowMs, undefined);
  }

  /**
   * Keeps who runs now, and where; called by the watchdog, in the middle of it.
   *
   * @param beats the count that it saw: a stretch that has ended since is another one
   * @returns the number of the handler, 0 for none; -1 when it was too late
   */
  capture(beats: number): number {
    if (beats !== this.shared[0]) return -1;
    const account = this.#accountInForce();
    const stack = captureStack(this.capture);
    const sites = sitesOf(stack, MAX_SITES);
    // Nothing of the application runs: the stretch is over, and it cannot be seen any more whose it was.
    if (account === undefined && sites.length === 0) return -1;
    this.#capture = { account, sites, callee: calleeOf(stack) };
    return account?.handlerNumber ?? 0;
  }

  /** The blocks that have ended since then, the earliest first. */
  blocksSince(startMs: number): LoopBlock[] {
    const found: LoopBlock[] = [];
    const most = Math.min(this.#blockCount, MAX_BLOCKS);
    for (let back = 1; back <= most; back += 1) {
      const block = this.#blocks[(this.#blockCount - back) % MAX_BLOCKS];
      if (block === undefined || block.endMs <= startMs) break;
      if (block.ms >= LONG_TASK_MS) found.unshift(block);
    }
    return found;
  }

  /**
   * Milliseconds of a stretch that ends now in which the loop was starved, or blocked by others than that account, for
   * 50 ms or longer at a time: what came in then could not be read. Its own blocks are not among them: a driver that
   * works synchronously blocks the loop with the query itself.
   */
  deafMs(account: number, fromMs: number, nowMs: number): number {
    this.settle(nowMs);
    let deafMs = 0;
    const most = Math.min(this.#blockCount, MAX_BLOCKS);
    for (let back = 1; back <= most; back += 1) {
      const block = this.#blocks[(this.#blockCount - back) % MAX_BLOCKS];
      if (block === undefined || block.endMs <= fromMs) break;
      const { endMs, ms, starvedMs } = block;
      const insideMs = Math.min(nowMs, endMs) - Math.max(fromMs, endMs - ms - starvedMs);
      deafMs += Math.max(0, Math.min(insideMs, starvedMs + (isOfOthers(block, account) ? ms : 0)));
    }
    return deafMs;
  }

  #next(runner: TimeAccount | undefined, hasResumed: boolean): void {
    if (hasResumed && this.#hasResumed && this.#runner !== runner) this.#isSole = false;
    if (runner === undefined) this.#isSole = true;
    this.#runner = runner;
    this.#hasResumed = hasResumed;
    this.shared[0]! += 1;
    this.shared[1] = runner === undefined ? 0 : runner.handlerNumber;
    this.#capture = undefined;
  }

  /** Charges what ran since the last look. `caller` has run until now; without one, nobody is known to have. */
  #look(nowMs: number, caller: TimeAccount | undefined): void {
    this.onWork?.();
    const passedMs = nowMs - this.#sinceMs;
    this.#sinceMs = nowMs;
    // Too short for a turn that waits: the question for the idle time would cost more than it tells.
    if (passedMs < SHORT_MS) {
      this.#shortMs += Math.max(0, passedMs);
      if (passedMs > 0) (this.#hasResumed ? this.#runner : caller)?.ran(passedMs, false);
      return;
    }
    const idleMs = performance.nodeTiming.idleTime;
    const idledMs = idleMs - this.#idleMs;
    const ranMs = passedMs - idledMs;
    this.#idleMs = idleMs;
    // Not in the short stretches before this one.
    const hasIdled = idledMs > this.#shortMs + ROUNDING_MS;
    this.#shortMs = 0;
    if (ranMs >= LONG_TASK_MS) {
      // After so long the loop turns before it is idle again. So if it was idle, it was so before, and
      // whoever was seen to start had stopped by then.
      this.#endBlock(nowMs, ranMs, hasIdled, caller);
    } else if (ranMs > 0) {
      this.#charge(nowMs, ranMs, caller);
    }
    if (hasIdled) this.#isSole = true;
  }

  /** Charges what is too short to block the loop. */
  #charge(nowMs: number, ranMs: number, caller: TimeAccount | undefined): void {
    const owner = this.#ownerOf(caller);
    owner?.ran(ranMs, false);
    if (ranMs >= SLICE_MS) this.#noteSlice(nowMs, ranMs, owner);
  }

  /** Who ran up to now, as far as it is seen. */
  #ownerOf(caller: TimeAccount | undefined): TimeAccount | undefined {
    if (this.#hasResumed || this.#seesAll) return this.#runner;
    return caller;
  }

  /** A slice that nobody was seen at is that of the only one that is open, else it is worth to know whose. */
  #noteSlice(nowMs: number, ranMs: number, owner: TimeAccount | undefined): void {
    if (this.#seesAll && owner !== undefined) this.onSeen?.(nowMs);
    if (this.#seesAll || owner !== undefined) return;
    const only = this.#onlyOpen();
    if (only !== undefined) {
      only.ran(ranMs, false);
      return;
    }
    if (this.open === 0) return;
    if (nowMs - this.#unseenSinceMs > UNKNOWN_WINDOW_MS) {
      this.#unseenSinceMs = nowMs;
      this.#unseenMs = 0;
    }
    this.#unseenMs += ranMs;
    if (this.#unseenMs < UNKNOWN_MS) return;
    this.#unseenMs = 0;
    this.onUnknown?.(nowMs);
  }

  /** The unit of work that is open where no other is. */
  #onlyOpen(): TimeAccount | undefined {
    return this.open === 1 ? this.#firstOpen : undefined;
  }

  #endBlock(endMs: number, ranMs: number, hasIdled: boolean, caller: TimeAccount | undefined): void {
    const spent = this.takeSpent?.();
    // At most: it may have run a little before the stretch, since that was asked last.
    const cpuMs = spent && Math.min(spent.cpuMs, ranMs);
    const knowsStarved = spent?.waitedMs !== undefined;
    // The watchdog may have been starved as well, and takes that for a suspension.
    const mostMs = knowsStarved ? ranMs - spent.cpuMs : ranMs;
    const suspendedMs = Math.max(0, Math.min(this.suspendedMs?.(ranMs) ?? 0, mostMs));
    const starvedMs = Math.max(0, Math.min(spent?.waitedMs ?? 0, mostMs - suspendedMs));
    const ms = ranMs - suspendedMs - starvedMs;
    this.starvedMs += starvedMs;
    const processor = { starvedMs, knowsStarved, cpuMs: cpuMs && Math.min(cpuMs, ms) };
    if (ms >= LONG_TASK_MS) {
      this.#keep(this.#blame(endMs, ms, processor, hasIdled ? undefined : this.#runner, caller));
      return;
    }
    if (ms > 0) this.#charge(endMs, ms, caller);
    if (starvedMs < LONG_TASK_MS) return;
    const nobody = { culprit: undefined, suspects: [], sites: undefined, waiting: this.open };
    this.#keep({ endMs, ms, ...processor, ...nobody });
  }

  #keep(block: LoopBlock): void {
    this.#blocks[this.#blockCount % MAX_BLOCKS] = block;
    this.#blockCount += 1;
    this.onBlock?.(block);
  }

  #blame(
    endMs: number,
    ms: number,
    processor: Pick<LoopBlock, 'starvedMs' | 'knowsStarved' | 'cpuMs'>,
    last: TimeAccount | undefined,
    caller: TimeAccount | undefined,
  ): LoopBlock {
    const capture = this.#capture;
    if (capture?.account !== undefined) this.#noteCaught(capture.account.handlerNumber);
    const starter = this.#hasResumed ? last : undefined;
    const suspect = this.#suspectOf(starter, caller);
    const isProven = (starter !== undefined && starter === caller) || this.#wasCaught(suspect, endMs);
    const seen = capture ?? (this.#seesAll ? { account: this.#runner } : undefined);
    const culprit = seen === undefined ? (isProven ? suspect : undefined) : seen.account;
    culprit?.ran(ms, true);
    if (this.#seesAll && culprit !== undefined) this.onSeen?.(endMs);
    const suspects = new Set<TimeAccount>();
    if (culprit === undefined && seen === undefined) {
      const only = this.#onlyOpen();
      for (const one of [last, starter, caller]) if (one !== undefined) suspects.add(one);
      if (suspects.size === 0 && only !== undefined) suspects.add(only);
      for (const one of suspects) one.doubtMs += ms;
      // Its own time, where nobody else is likely; it is not blamed for it.
      const isOnly = only !== undefined && suspects.size === 1 && suspects.has(only);
      const likely = isOnly ? only : ms < INFERRED_MS ? suspect : undefined;
      likely?.ran(ms, false);
      if (likely === undefined) this.onUnknown?.(endMs);
    }
    if (culprit !== undefined || seen !== undefined || suspects.size > 0) this.blockedMs += ms;
    else this.unknownMs += ms;
    return {
      endMs,
      ms,
      ...processor,
      culprit: culprit && {
        account: culprit.number,
        requestId: culprit.unit.requestId,
        handler: culprit.unit.handler?.name,
      },
      suspects: [...suspects].map(({ number }) => number),
      sites: capture?.sites,
      callee: capture?.callee,
      waiting: this.open - (culprit?.isClosed === false ? 1 : 0),
    };
  }

  /** The one that both moments speak for, or the only one that speaks. */
  #suspectOf(starter: TimeAccount | undefined, caller: TimeAccount | undefined): TimeAccount | undefined {
    if (caller === undefined) return this.#isSole ? starter : undefined;
    return starter === undefined || starter === caller ? caller : undefined;
  }

  #wasCaught(account: TimeAccount | undefined, nowMs: number): boolean {
    return account !== undefined && nowMs < (this.#caught.get(account.handlerNumber) ?? 0);
  }

  #noteCaught(handlerNumber: number): void {
    if (handlerNumber === 0) return;
    const nowMs = performance.now();
    if (this.#caught.size >= MAX_CAUGHT) {
      for (const [number, untilMs] of this.#caught) if (untilMs <= nowMs) this.#caught.delete(number);
    }
    this.#caught.set(handlerNumber, nowMs + CAUGHT_MS);
  }
}

/** Whether a stretch in which the loop was blocked is neither the work of that account, nor may be. */
export function isOfOthers({ culprit, suspects, ms }: LoopBlock, account: number): boolean {
  return ms >= LONG_TASK_MS && culprit?.account !== account && !suspects.includes(account);
}
