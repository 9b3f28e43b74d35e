import type * as Inspector from 'node:inspector';
import { isMainThread, Worker } from 'node:worker_threads';
import { SHARE } from '../../kernel/once-per-process';
import type { EventLoop } from '../../cost/event-loop';
import { clearTimeout, setTimeout } from '../../kernel/real-timers';
import { OwnError } from '../../kernel/own-error';
import { watchMainThread, type WatcherData } from './stall-watcher';

/**
 * The worker is started this long after the application began to serve. Making it takes the main thread 3 to
 * 20 ms, which would be the first requests', and what ends before has no use for it.
 */
const START_MS = 1_000;
const TICK_MS = 25;
/** The scheduler of a busy machine may be late by tens of milliseconds. */
const LATE_MS = 250;
const WINDOW_MS = 60_000;
const SOON_MS = 1_000;
/** A worker that has failed is started again after this time. */
const RESTART_MS = 60_000;

/** A worker thread that sees when the event loop of the main thread stands still, and who is at fault. */
export class StallWatchdog {
  readonly #loop: EventLoop;
  readonly #report: (reason: unknown) => void;
  /**
   * Written by the worker: its last tick, and for how long the process was suspended. By us: whether it is off,
   * and from when on the loop is blocked.
   */
  readonly #figures = new Float64Array(new SharedArrayBuffer(4 * Float64Array.BYTES_PER_ELEMENT));
  /** Whether there is something to watch; the worker sleeps on it while there is not. */
  readonly #awake = new Int32Array(new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT));
  #suspendedSeenMs = 0;
  #worker: Worker | undefined;
  #timer: NodeJS.Timeout | undefined;

  constructor(loop: EventLoop, stallMs: number, report: (reason: unknown) => void) {
    this.#loop = loop;
    this.#report = report;
    this.stallMs = stallMs;
  }

  get stallMs(): number {
    return this.#figures[3]!;
  }

  set stallMs(ms: number) {
    this.#figures[3] = ms;
  }

  /** Starts the worker in a moment; where there is none to be had, nothing is watched. */
  start(): void {
    // A session of the inspector reaches the main thread only.
    if (isMainThread) this.#startIn(START_MS);
  }

  /** The worker ends by itself, which takes it 3 to 60 ms: the promise is for who wants to see that. */
  stop(): Promise<unknown> | undefined {
    clearTimeout(this.#timer);
    const worker = this.#worker;
    this.#worker = undefined;
    this.#loop.suspendedMs = undefined;
    // One that has just failed says so later, and must not be uncaught.
    worker?.removeAllListeners().on('error', () => undefined);
    const ended = worker?.terminate();
    // That has made it one that the process waits for.
    worker?.unref();
    return ended;
  }

  /** Work begins. */
  wake(): void {
    this.check();
    this.turns();
    // Its last tick was before it slept, and must look neither like a suspension nor like none to come.
    if (this.#figures[0] !== 0) this.#figures[0] = monotonicMs();
    Atomics.store(this.#awake, 0, 1);
    Atomics.notify(this.#awake, 0);
  }

  /** Nothing is open: the worker sees it at its next tick. */
  sleep(): void {
    Atomics.store(this.#awake, 0, 0);
  }

  /** Looks whether somebody else inspects the process: then nobody is held. To be called now and then. */
  check(): void {
    // Not imported: a Node.js that was built without it could not load this file.
    const inspector = process.getBuiltinModule('node:inspector') as typeof Inspector | undefined;
    this.#figures[2] = inspector !== undefined && inspector.url() === undefined ? 0 : 1;
  }

  /** The loop has turned: for how long the process was suspended before is of no interest any more. */
  turns(): void {
    this.#suspendedSeenMs = this.#figures[1]!;
  }

  #startIn(ms: number): void {
    this.#timer = setTimeout(() => {
      try {
        this.check();
        this.#worker = this.#startWorker();
        this.#loop.suspendedMs = stretchMs => this.#takeSuspended(stretchMs);
      } catch (error) {
        this.#fail(error);
      }
    }, ms).unref();
  }

  #startWorker(): Worker {
    const workerData: WatcherData = {
      share: SHARE,
      loop: this.#loop.shared,
      figures: this.#figures,
      awake: this.#awake,
      windowMs: WINDOW_MS,
      soonMs: SOON_MS,
      tickMs: TICK_MS,
      lateMs: LATE_MS,
    };
    this.#figures[0] = 0;
    // Bundlers that keep names wrap inner functions in a helper of this name.
    const source = `const __name = fn => fn; (${watchMainThread.toString()})();`;
    const worker = new Worker(source, {
      eval: true,
      workerData,
      name: 'nestjs-async-context',
      // What the application preloads (`--require`, NODE_OPTIONS) is not for this thread.
      execArgv: [],
      env: {},
      resourceLimits: { maxOldGenerationSizeMb: 32, maxYoungGenerationSizeMb: 4 },
    });
    worker.unref();
    worker.once('error', error => this.#fail(error));
    worker.once('exit', () => this.#fail(new OwnError('its worker thread exited')));
    return worker;
  }

  #fail(reason: unknown): void {
    this.#worker?.removeAllListeners().on('error', () => undefined);
    this.#worker = undefined;
    this.#loop.suspendedMs = undefined;
    this.#report(reason);
    this.#startIn(RESTART_MS);
  }

  /** What of the last stretch was no fault of anybody's: SIGSTOP, a laptop that sleeps, a cgroup out of quota. */
  #takeSuspended(stretchMs: number): number {
    const [tickedMs = 0, suspendedMs = 0] = this.#figures;
    const tickAgeMs = tickedMs === 0 ? 0 : monotonicMs() - tickedMs;
    const knownMs = suspendedMs - this.#suspendedSeenMs;
    this.#suspendedSeenMs = suspendedMs;
    // The worker has not run either, and will say so at its next tick, after this.
    const unknownMs = tickAgeMs > LATE_MS ? tickAgeMs - TICK_MS : 0;
    this.#suspendedSeenMs += unknownMs;
    return Math.min(stretchMs, knownMs + unknownMs);
  }
}

/** The one clock that both threads read. */
function monotonicMs(): number {
  const [seconds, nanoseconds] = process.hrtime();
  return seconds * 1_000 + nanoseconds / 1_000_000;
}
