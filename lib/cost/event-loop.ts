import { performance } from 'node:perf_hooks';
import { callSiteOf, captureStack, type RawStack } from './call-site';
import type { TimeAccount } from './time-account';

/** From here on work is said to block the event loop: https://www.w3.org/TR/longtasks-1/ */
export const LONG_TASK_MS = 50;
/** Blocks that are remembered, for the units of work that waited. */
const MAX_BLOCKS = 64;
/** For so long a handler that was caught is taken to be the one that blocks again. */
const CAUGHT_MS = 60_000;
const MAX_CAUGHT = 1_000;

/** What ran when the watchdog looked. */
export interface LoopCapture {
  /** Whose work it was; absent for what runs outside of any unit of work. */
  readonly account: TimeAccount | undefined;
  readonly stack: RawStack;
}

/** A stretch in which the event loop ran one thing for 50 ms or longer. */
export interface LoopBlock {
  readonly endMs: number;
  /** How long, without the time in which the process was suspended. */
  readonly ms: number;
  /** Whose work it was, where that is known. */
  readonly culprit: TimeAccount | undefined;
  /** What the watchdog saw of it, if it looked. */
  readonly capture: LoopCapture | undefined;
  /** Other units of work that were open. */
  readonly waiting: number;
}

/**
 * What the event loop did, as far as it shows where units of work begin, make calls and get their answers.
 *
 * Between two such moments the loop was idle, which libuv counts (`performance.nodeTiming.idleTime`, 33 ns
 * to read), or ran something. That is charged to whom the two moments show to have run: whose answer came
 * runs from then on, and who makes a call has run until then. What blocked the loop for `stallMs` is charged
 * only if the watchdog has seen it, if the same unit of work was seen at both ends, or if its handler was
 * caught just before. Else nobody is blamed.
 */
export class EventLoop {
  /** Milliseconds in which it ran one thing for 50 ms or longer, so far. */
  blockedMs = 0;
  /** Units of work that are open. */
  open = 0;
  /** A stretch as long as this is a stall. */
  stallMs = 250;
  onBlock: ((block: LoopBlock) => void) | undefined = undefined;
  /** What of a stretch the whole process was suspended, in milliseconds; absent when nobody watches. */
  suspendedMs: ((stretchMs: number) => number) | undefined = undefined;
  /** For the watchdog's thread: how often the loop was looked at, and the number of the handler that runs. */
  readonly shared = new Int32Array(new SharedArrayBuffer(8));
  /** Whose work runs now, as the storage says it. */
  readonly #accountInForce: () => TimeAccount | undefined;
  #runner: TimeAccount | undefined = undefined;
  /** Whether the runner was seen to start, rather than to make a call. */
  #hasResumed = false;
  #sinceMs = performance.now();
  #idleMs = performance.nodeTiming.idleTime;
  #capture: LoopCapture | undefined = undefined;
  readonly #blocks: LoopBlock[] = [];
  #blockCount = 0;
  readonly #caught = new Map<number, number>();

  constructor(accountInForce: () => TimeAccount | undefined) {
    this.#accountInForce = accountInForce;
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

  /** Whether that unit of work is the last that was seen; if so, the watchdog learns of its handler. */
  isNamed(account: TimeAccount): boolean {
    if (this.#runner !== account) return false;
    this.shared[1] = account.handlerNumber;
    return true;
  }

  /**
   * Keeps who runs now, and where; called by the watchdog, in the middle of it.
   *
   * @param beats the count that it saw: a stretch that has ended since is another one
   */
  capture(beats: number): boolean {
    if (beats !== this.shared[0]) return false;
    const account = this.#accountInForce();
    const stack = captureStack(this.capture);
    // Nothing of the application runs: the stretch is over, and it is too late to see whose it was.
    if (account === undefined && callSiteOf(stack) === undefined) return false;
    this.#capture = { account, stack };
    if (account !== undefined) this.#noteCaught(account.handlerNumber);
    return true;
  }

  /** The blocks that have ended since then, the earliest first. */
  blocksSince(startMs: number): LoopBlock[] {
    const found: LoopBlock[] = [];
    const most = Math.min(this.#blockCount, MAX_BLOCKS);
    for (let back = 1; back <= most; back += 1) {
      const block = this.#blocks[(this.#blockCount - back) % MAX_BLOCKS];
      if (block === undefined || block.endMs <= startMs) break;
      found.unshift(block);
    }
    return found;
  }

  #next(runner: TimeAccount | undefined, hasResumed: boolean): void {
    this.#runner = runner;
    this.#hasResumed = hasResumed;
    this.shared[0]! += 1;
    this.shared[1] = runner === undefined ? 0 : runner.handlerNumber;
  }

  /** Charges what ran since the last look. `caller` has run until now; without one, nobody is known to have. */
  #look(nowMs: number, caller: TimeAccount | undefined): void {
    const idleMs = performance.nodeTiming.idleTime;
    const idledMs = idleMs - this.#idleMs;
    const ranMs = nowMs - this.#sinceMs - idledMs;
    const starter = this.#hasResumed ? this.#runner : undefined;
    this.#sinceMs = nowMs;
    this.#idleMs = idleMs;
    if (ranMs >= LONG_TASK_MS) {
      // After so long the loop turns before it is idle again. So if it was idle, it was so before, and
      // whoever was seen to start had stopped by then.
      this.#endBlock(nowMs, ranMs, idledMs > 0 ? undefined : starter, caller);
    } else if (ranMs > 0) {
      (starter ?? caller)?.ran(ranMs, false);
    }
    this.#capture = undefined;
  }

  #endBlock(
    endMs: number,
    ranMs: number,
    starter: TimeAccount | undefined,
    caller: TimeAccount | undefined,
  ): void {
    const ms = ranMs - (this.suspendedMs?.(ranMs) ?? 0);
    if (ms < LONG_TASK_MS) return;
    const capture = this.#capture;
    const suspect = starter ?? caller;
    const isProven = capture !== undefined || (starter !== undefined && starter === caller);
    const isCulprit = isProven || ms < this.stallMs || this.#wasCaught(suspect, endMs);
    const culprit = capture === undefined ? (isCulprit ? suspect : undefined) : capture.account;
    this.blockedMs += ms;
    culprit?.ran(ms, true);
    if (culprit === undefined && suspect !== undefined && capture === undefined) {
      // It may have been at fault: then it was not stalled by others.
      suspect.doubtMs += ms;
    }
    const waiting = this.open - (culprit?.isClosed === false ? 1 : 0);
    const block: LoopBlock = { endMs, ms, culprit, capture, waiting };
    this.#blocks[this.#blockCount % MAX_BLOCKS] = block;
    this.#blockCount += 1;
    this.onBlock?.(block);
  }

  #wasCaught(account: TimeAccount | undefined, nowMs: number): boolean {
    return account !== undefined && nowMs < (this.#caught.get(account.handlerNumber) ?? 0);
  }

  #noteCaught(handlerNumber: number): void {
    if (handlerNumber === 0) return;
    if (this.#caught.size >= MAX_CAUGHT) this.#caught.clear();
    this.#caught.set(handlerNumber, performance.now() + CAUGHT_MS);
  }
}
