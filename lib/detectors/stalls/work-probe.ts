import { type AsyncHook, createHook } from 'node:async_hooks';
import { performance } from 'node:perf_hooks';
import type { EventLoop } from '../../cost/event-loop';

/** For so long each callback is looked at, until somebody's work is seen to run for long. */
const LOOK_MS = 250;
/** And for so long after that, because what runs in slices goes on. */
const FOLLOW_MS = 1_000;
/** After nothing was seen, it does not look again for this time. */
const REST_MS = 10_000;
/** More callbacks a millisecond are a process that is busy with small work: to look at each costs more than it tells. */
const MOST_CALLBACKS = 10;
/** Over so many milliseconds at least: a burst of requests is soon over. */
const COUNTED_MS = 250;

/**
 * Looks at each callback of the process for a moment: whose context is in force where it begins. That is asked for
 * when something runs for long that makes no call which would show whose it is.
 *
 * A hook that is called before each callback may halve the throughput of a busy process, so it is there only while
 * it shows something, and not where there are many callbacks: a process that runs for long at once makes few.
 */
export class WorkProbe {
  readonly #loop: EventLoop;
  readonly #hook: AsyncHook;
  #isOn = false;
  #hasSeen = false;
  #untilMs = 0;
  #restsUntilMs = 0;
  #sinceMs = 0;
  #callbacks = 0;

  constructor(loop: EventLoop) {
    this.#loop = loop;
    this.#hook = createHook({ before: () => this.#look() });
  }

  /** Nobody knows whose work has run for long. */
  seek(nowMs: number): void {
    if (this.#isOn || nowMs < this.#restsUntilMs) return;
    this.#isOn = true;
    this.#hasSeen = false;
    this.#untilMs = nowMs + LOOK_MS;
    this.#sinceMs = nowMs;
    this.#callbacks = 0;
    this.#hook.enable();
  }

  /** It was seen whose work has run for long. */
  found(nowMs: number): void {
    this.#hasSeen = true;
    this.#untilMs = nowMs + FOLLOW_MS;
  }

  /** To be called now and then. */
  check(nowMs: number): void {
    if (!this.#isOn) return;
    const isBusy = this.#isBusy(nowMs);
    if (!isBusy && nowMs < this.#untilMs) return;
    if (isBusy || !this.#hasSeen) this.#restsUntilMs = nowMs + REST_MS;
    this.stop();
  }

  stop(): void {
    if (!this.#isOn) return;
    this.#isOn = false;
    this.#hook.disable();
    this.#loop.leaves();
  }

  #isBusy(nowMs: number): boolean {
    const passedMs = nowMs - this.#sinceMs;
    if (passedMs < COUNTED_MS) return false;
    const isBusy = this.#callbacks > MOST_CALLBACKS * passedMs;
    this.#sinceMs = nowMs;
    this.#callbacks = 0;
    return isBusy;
  }

  #look(): void {
    this.#callbacks += 1;
    try {
      this.#loop.enters(performance.now());
      // Whoever hears of a block may have ended all of this meanwhile.
      if (!this.#isOn) this.#loop.leaves();
    } catch {
      // What a hook throws ends the process.
      this.stop();
    }
  }
}
