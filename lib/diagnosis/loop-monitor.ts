import { type IntervalHistogram, monitorEventLoopDelay } from 'node:perf_hooks';
import { eventLoop, oncePerProcess } from '../context/context-storage';
import { clearInterval, setInterval } from '../context/real-timers';
import type { LoopBlock } from '../cost/event-loop';
import { ProcessorTime } from './processor-time';
import { StallWatchdog } from './stall-watchdog';

/**
 * A turn of the loop between two units of work tells them apart: one that blocks it is due for the pulse
 * before another one's timer that came due meanwhile. It costs 0.05 % of a CPU, the question
 * for the processor included.
 */
const PULSE_MS = 10;
const PULSES_PER_CHECK = 100;
const NANOSECONDS_PER_MS = 1_000_000;

/**
 * How late the event loop of the process was, since the application started to serve, in milliseconds.
 *
 * @example
 * const isBusy = (context.eventLoopDelay?.p99Ms ?? 0) > 200;
 */
export interface EventLoopDelay {
  readonly meanMs: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly maxMs: number;
}

/** What one application wants of it. */
export interface LoopUser {
  /** 0 for no watchdog. */
  readonly stallMs: number;
  onBlock(block: LoopBlock): void;
  report(reason: unknown): void;
}

/** Watches the event loop for all applications of the process, while there are any. */
export class LoopMonitor {
  readonly #users = new Set<LoopUser>();
  #pulse: NodeJS.Timeout | undefined;
  #pulses = 0;
  #watchdog: StallWatchdog | undefined;
  #histogram: IntervalHistogram | undefined;
  #processor: ProcessorTime | undefined;

  get delay(): EventLoopDelay | undefined {
    const histogram = this.#histogram;
    if (histogram === undefined || histogram.count === 0) return undefined;
    return {
      meanMs: histogram.mean / NANOSECONDS_PER_MS,
      p50Ms: histogram.percentile(50) / NANOSECONDS_PER_MS,
      p99Ms: histogram.percentile(99) / NANOSECONDS_PER_MS,
      maxMs: histogram.max / NANOSECONDS_PER_MS,
    };
  }

  start(user: LoopUser): void {
    this.#users.add(user);
    this.#pulse ??= setInterval(() => this.#turn(), PULSE_MS).unref();
    if (this.#histogram === undefined) {
      this.#histogram = monitorEventLoopDelay({ resolution: 20 });
      this.#histogram.enable();
    }
    const processor = (this.#processor ??= new ProcessorTime());
    eventLoop.takeSpent = () => processor.take();
    eventLoop.onBlock = block => {
      for (const { onBlock } of this.#users) onBlock(block);
    };
    this.#watch();
  }

  async stop(user: LoopUser): Promise<void> {
    this.#users.delete(user);
    const ended = this.#watch();
    if (this.#users.size === 0) {
      clearInterval(this.#pulse);
      this.#pulse = undefined;
      this.#histogram?.disable();
      this.#histogram = undefined;
      eventLoop.onBlock = undefined;
      eventLoop.takeSpent = undefined;
      this.#processor?.close();
      this.#processor = undefined;
      // It lets go of the last unit of work.
      eventLoop.turns(performance.now());
    }
    await ended;
  }

  /** Has the watchdog look for the shortest stall that anybody wants to hear of. */
  #watch(): Promise<void> | undefined {
    const wanted = [...this.#users].map(({ stallMs }) => stallMs).filter(ms => ms > 0);
    const stallMs = wanted.length === 0 ? 0 : Math.min(...wanted);
    if (stallMs === (this.#watchdog?.stallMs ?? 0)) return undefined;
    const ended = this.#watchdog?.stop();
    this.#watchdog =
      stallMs === 0 ? undefined : new StallWatchdog(eventLoop, stallMs, reason => this.#report(reason));
    this.#watchdog?.start();
    return ended;
  }

  #turn(): void {
    try {
      eventLoop.turns(performance.now());
      this.#processor?.take();
      this.#watchdog?.turns();
      this.#pulses += 1;
      if (this.#pulses % PULSES_PER_CHECK === 0) this.#watchdog?.check();
    } catch (error) {
      // Out of a timer, it would end the process.
      this.#report(error);
    }
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
