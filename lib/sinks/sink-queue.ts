import { AsyncResource } from 'node:async_hooks';
import * as timers from '../kernel/real-timers';
import type { CostRecord } from '../cost/cost-record';
import type { CostRecordSink } from './cost-record.sink';
import type { HookErrors } from '../reporting/hook-error-reporter';
import { makeRecords, recordOf, type RecordMaking } from './record-batch';
import type { SinkStats } from '../record/process-figures';
import { SinkWriter } from './sink-writer';

/** How much waits, how much is written at once, how often, and how a failed write is done again. */
export const SINK_QUEUE_DEFAULTS = Object.freeze({
  capacity: 2_048,
  batchSize: 512,
  intervalMs: 5_000,
  retryDelayMs: 500,
  maxRetryDelayMs: 10_000,
  retryForMs: 300_000,
});

/** How long the sinks may take at shutdown: the grace period of most platforms is 10 s and more. */
const CLOSE_WITHIN_MS = 5_000;
/** What of this is for writing; the rest is for closing the sinks. */
const WRITING_SHARE = 0.8;

type Limits = typeof SINK_QUEUE_DEFAULTS;

interface SinkQueueSettings<Closed> extends Partial<Readonly<Record<keyof Limits, number | undefined>>> {
  readonly sinks: readonly CostRecordSink[];
  readonly toRecord: (closed: Closed) => CostRecord;
  /** The weight of its record, 0 for none; without it each has a record. Never throws. */
  readonly weigh?: ((closed: Closed) => number) | undefined;
  readonly hookErrors: HookErrors;
}

/**
 * The one bounded queue in front of all sinks.
 *
 * It holds closed units of work and makes the record of one when its batch is written, so that
 * what ends, or comes, shortly after the response is still in it. Each sink has a backlog of its
 * own behind it, of the same capacity, so that one that hangs loses its own records only.
 *
 * @example
 * const queue = new SinkQueue<RequestContext>({ sinks, toRecord: buildCostRecord, hookErrors });
 * queue.offer(context);
 * await queue.close();
 */
export class SinkQueue<Closed> {
  readonly #writers: readonly SinkWriter[];
  readonly #making: RecordMaking<Closed>;
  readonly #limits: Readonly<Record<keyof Limits, number>>;
  readonly #weigh: ((closed: Closed) => number) | undefined;
  // Made at start-up: a timer started in a request would keep it, and sinks would run in its context.
  readonly #outside = new AsyncResource('nestjs-async-context.sinks', { requireManualDestroy: true });
  #waiting: Closed[] = [];
  /** Of those that wait, where there is a choice. */
  #weights: number[] = [];
  #sampledOut = 0;
  #timer: NodeJS.Timeout | undefined;
  #isDispatchDue = false;
  #closing: Promise<void> | undefined;

  constructor({ sinks, toRecord, weigh, hookErrors, ...limits }: SinkQueueSettings<Closed>) {
    // Not a spread: `{ capacity: undefined }` would take the bound away.
    const names = Object.keys(SINK_QUEUE_DEFAULTS) as (keyof Limits)[];
    this.#limits = Object.fromEntries(
      names.map(name => [name, limits[name] ?? SINK_QUEUE_DEFAULTS[name]]),
    ) as Record<keyof Limits, number>;
    this.#weigh = weigh;
    this.#writers = sinks.map(sink => new SinkWriter(sink, { ...this.#limits, hookErrors }));
    this.#making = { toRecord, hookErrors, hasEvery: this.#writers.some(({ everyRecord }) => everyRecord) };
  }

  /** Queues a closed unit of work, or drops it when the queue is full. Never waits, never throws. */
  offer(closed: Closed): void {
    if (this.#writers.length === 0) return;
    const weight = this.#weigh === undefined ? 1 : this.#weigh(closed);
    if (weight === 0) {
      this.#sampledOut += 1;
      if (!this.#making.hasEvery) return;
    }
    if (this.#waiting.length >= this.#limits.capacity || this.#closing !== undefined) {
      this.#overflow(closed, weight);
      return;
    }
    this.#waiting.push(closed);
    if (this.#weigh !== undefined) this.#weights.push(weight);
    if (this.#waiting.length >= this.#limits.batchSize) this.#dispatchSoon();
    else this.#startTimer();
  }

  /** What became of the records, for each sink. */
  stats(): readonly SinkStats[] {
    const leftOut = this.#weights.filter(weight => weight === 0).length;
    return this.#writers.map(({ stats, everyRecord }) => {
      const waiting = this.#waiting.length - (everyRecord ? 0 : leftOut);
      return {
        ...stats,
        produced: stats.produced + waiting,
        queued: stats.queued + waiting,
        sampledOut: everyRecord ? 0 : this.#sampledOut,
      };
    });
  }

  /**
   * Writes all that waits.
   *
   * @param timeoutMs how long a sink that hangs keeps the promise waiting, in milliseconds; for ever by default
   */
  async flush(timeoutMs?: number): Promise<void> {
    this.#outside.runInAsyncScope(() => this.#dispatch());
    const idle = Promise.all(this.#writers.map(writer => writer.idle));
    await (timeoutMs === undefined ? idle : atMost(timeoutMs, idle));
  }

  /**
   * Writes all that waits, then closes the sinks. What a sink has not taken in time is dropped.
   *
   * @param timeoutMs the most that it takes, in milliseconds; 5,000 by default. Four fifths are for
   * writing, the rest for `close()` of the sink. Only the first call decides.
   */
  close(timeoutMs: number = CLOSE_WITHIN_MS): Promise<void> {
    this.#closing ??= this.#outside.runInAsyncScope(() => this.#close(timeoutMs));
    return this.#closing;
  }

  async #close(timeoutMs: number): Promise<void> {
    const writingMs = timeoutMs * WRITING_SHARE;
    this.#dispatch();
    for (const writer of this.#writers) writer.hurry();
    // Each sink by itself: one that hangs must not take from the others the time to close.
    await Promise.all(
      this.#writers.map(async writer => {
        await atMost(writingMs, writer.idle);
        await atMost(timeoutMs - writingMs, writer.close());
      }),
    );
  }

  #startTimer(): void {
    this.#timer ??= this.#outside.runInAsyncScope(() =>
      setTimeout(() => this.#dispatch(), this.#limits.intervalMs).unref(),
    );
  }

  #dispatchSoon(): void {
    if (this.#isDispatchDue) return;
    this.#isDispatchDue = true;
    this.#outside.runInAsyncScope(() => setImmediate(() => this.#dispatch()));
  }

  #dispatch(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#isDispatchDue = false;
    const closed = this.#waiting;
    const weights = this.#weights;
    this.#waiting = [];
    this.#weights = [];
    const room = Math.max(0, ...this.#writers.map(({ everyRecord, room }) => (everyRecord ? 0 : room)));
    const batch = makeRecords(closed, weights, room, this.#making);
    for (const writer of this.#writers) {
      if (writer.everyRecord) {
        writer.drop(batch.failed);
        writer.push(batch.every);
      } else {
        writer.drop(batch.failedKept);
        writer.push(batch.kept);
        writer.lose(batch.unwanted);
      }
    }
  }

  /** There is no room, or it is too late. A sink that counts gets its record all the same. */
  #overflow(closed: Closed, weight: number): void {
    const isClosing = this.#closing !== undefined;
    const record = isClosing || !this.#making.hasEvery ? undefined : recordOf(closed, this.#making);
    for (const writer of this.#writers) {
      if (writer.everyRecord) {
        if (record === undefined) writer.drop(1);
        else this.#outside.runInAsyncScope(() => writer.overflow([record]));
      } else if (weight > 0) {
        if (isClosing) writer.drop(1);
        else writer.lose(1);
      }
    }
  }
}

/** In real time: the sinks are closed also where a test fakes the clock. */
async function atMost(ms: number, work: Promise<unknown>): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const timeout = new Promise<void>(resolve => {
    timer = timers.setTimeout(resolve, ms);
  });
  await Promise.race([work, timeout]);
  timers.clearTimeout(timer);
}
