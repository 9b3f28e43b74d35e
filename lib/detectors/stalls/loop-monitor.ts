import { AsyncResource } from 'node:async_hooks';
import { createHistogram, type RecordableHistogram } from 'node:perf_hooks';
import { eventLoop } from '../../context/context-storage';
import { oncePerProcess } from '../../kernel/once-per-process';
import { clearInterval, setInterval } from '../../kernel/real-timers';
import type { LoopBlock } from '../../cost/event-loop';
import type { EventLoopDelay } from '../../record/process-figures';
import { ProcessorTime } from './processor-time';
import { StallWatchdog } from './stall-watchdog';
import { WorkProbe } from './work-probe';

/**
 * A turn of the loop between two units of work tells them apart: one that blocks it is due for the pulse
 * before another one's timer that came due meanwhile. On a machine that idles it costs 1 % of a CPU to be woken
 * for it, and beside other work 0.05 %, the question for the processor included.
 */
const PULSE_MS = 10;
const PULSES_PER_CHECK = 100;
/** So many without any work, and it stops. */
const QUIET_PULSES = 100;
const MICROSECONDS_PER_MS = 1_000;
const LONGEST_DELAY = 3_600_000 * MICROSECONDS_PER_MS;

/** What one application wants of it. */
export interface LoopUser {
  /** 0 for no watchdog. */
  readonly stallMs: number;
  onBlock(block: LoopBlock): void;
  report(reason: unknown): void;
}

/**
 * Watches the event loop for all applications of the process, while there are any and while work is open.
 *
 * It stops when there was none for a second, and the next sign of work starts it again: an application that idles
 * has no timer, and the watchdog's thread sleeps.
 */
export class LoopMonitor {
  readonly #users = new Set<LoopUser>();
  // A timer that is begun in a request would keep that request's store.
  readonly #outside = new AsyncResource('nestjs-async-context.pulse');
  #pulse: NodeJS.Timeout | undefined;
  #dueMs = 0;
  #pulses = 0;
  #quietPulses = 0;
  /** Units of work that had begun at the last pulse. */
  #begun: number | undefined;
  #watchdog: StallWatchdog | undefined;
  #delays: RecordableHistogram | undefined;
  #processor: ProcessorTime | undefined;
  readonly #probe = new WorkProbe(eventLoop);
  #ended: Promise<unknown> = Promise.resolve();

  /** Whether it has a timer at the moment. */
  get isAwake(): boolean {
    return this.#pulse !== undefined;
  }

  /** When the last thread that was stopped has ended; nobody needs to wait for it. */
  get ended(): Promise<unknown> {
    return this.#ended;
  }

  get delay(): EventLoopDelay | undefined {
    const delays = this.#delays;
    if (delays === undefined || delays.count === 0) return undefined;
    return {
      meanMs: delays.mean / MICROSECONDS_PER_MS,
      p50Ms: delays.percentile(50) / MICROSECONDS_PER_MS,
      p99Ms: delays.percentile(99) / MICROSECONDS_PER_MS,
      maxMs: delays.max / MICROSECONDS_PER_MS,
    };
  }

  start(user: LoopUser): void {
    const isFirst = this.#users.size === 0;
    this.#users.add(user);
    this.#watch();
    if (!isFirst) return;
    this.#delays = createHistogram({ lowest: 1, highest: LONGEST_DELAY, figures: 3 });
    const processor = (this.#processor = new ProcessorTime());
    eventLoop.takeSpent = () => processor.take();
    eventLoop.onUnknown = nowMs => this.#probe.seek(nowMs);
    eventLoop.onSeen = nowMs => this.#probe.found(nowMs);
    eventLoop.onBlock = block => {
      for (const { onBlock } of this.#users) onBlock(block);
    };
    // An older copy of the package may have made it, and would not wake us.
    const canSleep = 'onWork' in eventLoop;
    if (canSleep && eventLoop.open === 0) this.#sleep();
    else this.#wake();
  }

  stop(user: LoopUser): void {
    this.#users.delete(user);
    this.#watch();
    if (this.#users.size > 0) return;
    const nowMs = performance.now();
    eventLoop.onBlock = undefined;
    eventLoop.takeSpent = undefined;
    eventLoop.onUnknown = undefined;
    eventLoop.onSeen = undefined;
    this.#probe.stop();
    if (this.isAwake) {
      clearInterval(this.#pulse);
      this.#pulse = undefined;
      // It lets go of the last unit of work.
      eventLoop.turns(nowMs);
    } else {
      eventLoop.onWork = undefined;
      eventLoop.wakes(nowMs);
    }
    this.#delays = undefined;
    this.#processor?.close();
    this.#processor = undefined;
  }

  /** Has the watchdog look for the shortest stall that anybody wants to hear of. */
  #watch(): void {
    const wanted = [...this.#users].map(({ stallMs }) => stallMs).filter(ms => ms > 0);
    if (wanted.length === 0) {
      this.#ended = this.#watchdog?.stop() ?? this.#ended;
      this.#watchdog = undefined;
      return;
    }
    const stallMs = Math.min(...wanted);
    if (this.#watchdog !== undefined) {
      this.#watchdog.stallMs = stallMs;
      return;
    }
    this.#watchdog = new StallWatchdog(eventLoop, stallMs, reason => this.#report(reason));
    this.#watchdog.start();
    if (this.isAwake) this.#watchdog.wake();
  }

  /** In the middle of who begins to work: nothing may throw. */
  #wake(): void {
    const nowMs = performance.now();
    eventLoop.onWork = undefined;
    this.#quietPulses = 0;
    this.#dueMs = nowMs + PULSE_MS;
    this.#outside.runInAsyncScope(() => {
      this.#pulse = setInterval(() => this.#turn(), PULSE_MS).unref();
    });
    try {
      eventLoop.wakes(nowMs);
      this.#processor?.take();
      this.#watchdog?.wake();
    } catch (error) {
      this.#report(error);
    }
  }

  #sleep(): void {
    clearInterval(this.#pulse);
    this.#pulse = undefined;
    this.#probe.stop();
    eventLoop.onWork = () => this.#wake();
    this.#watchdog?.sleep();
  }

  #turn(): void {
    try {
      const nowMs = performance.now();
      const lateMs = Math.max(0, nowMs - this.#dueMs);
      this.#dueMs = nowMs + PULSE_MS;
      // It takes no 0.
      this.#delays?.record(Math.max(1, Math.round(lateMs * MICROSECONDS_PER_MS)));
      eventLoop.turns(nowMs);
      this.#processor?.take();
      this.#watchdog?.turns();
      this.#probe.check(nowMs);
      this.#pulses += 1;
      if (this.#pulses % PULSES_PER_CHECK === 0) this.#watchdog?.check();
      if (this.#isQuiet()) this.#sleep();
    } catch (error) {
      // Out of a timer, it would end the process.
      this.#report(error);
    }
  }

  /** Whether nothing was open for long, and nothing has begun meanwhile that was short. */
  #isQuiet(): boolean {
    const isWorking = eventLoop.open > 0 || eventLoop.accounts !== this.#begun;
    this.#begun = eventLoop.accounts;
    this.#quietPulses = isWorking ? 0 : this.#quietPulses + 1;
    return this.#quietPulses >= QUIET_PULSES && 'onWork' in eventLoop;
  }

  /** By one of them: the watchdog is the process's, and said by another it would count as held back. */
  #report(reason: unknown): void {
    const [user] = this.#users;
    user?.report(reason);
  }
}

/** The one of the process. */
export function loopMonitor(): LoopMonitor {
  return oncePerProcess('loop-monitor', () => new LoopMonitor());
}
