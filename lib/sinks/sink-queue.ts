import { AsyncResource } from 'node:async_hooks';
import type { CostRecord } from '../cost/cost-record';
import { boundRecord } from './bound-record';
import type { CostRecordSink } from './cost-record.sink';
import { type SinkStats, SinkWriter } from './sink-writer';

/** How much waits, how much is written at once, and how often. */
export const SINK_QUEUE_DEFAULTS = Object.freeze({ capacity: 2_048, batchSize: 512, intervalMs: 5_000 });

/** How long the sinks may take at shutdown: the grace period of most platforms is 10 s and more. */
const CLOSE_WITHIN_MS = 5_000;
/** What of this is for writing; the rest is for closing the sinks. */
const WRITING_SHARE = 0.8;

interface SinkQueueSettings<Closed> {
  readonly sinks: readonly CostRecordSink[];
  readonly capacity?: number;
  readonly batchSize?: number;
  readonly intervalMs?: number;
  readonly toRecord: (closed: Closed) => CostRecord;
  readonly report: (where: string, reason: unknown) => void;
}

/**
 * The one bounded queue in front of all sinks.
 *
 * It holds closed units of work and makes the record of one when its batch is written, so that
 * what ends, or comes, shortly after the response is still in it. Each sink has a backlog of its
 * own behind it, of the same capacity, so that one that hangs loses its own records only.
 *
 * @example
 * const queue = new SinkQueue<RequestContext>({ sinks, toRecord: buildCostRecord, report });
 * queue.offer(context);
 * await queue.close();
 */
export class SinkQueue<Closed> {
  readonly #writers: readonly SinkWriter[];
  readonly #capacity: number;
  readonly #batchSize: number;
  readonly #intervalMs: number;
  readonly #toRecord: (closed: Closed) => CostRecord;
  readonly #report: (where: string, reason: unknown) => void;
  // Made at start-up: a timer started in a request would keep it, and sinks would run in its context.
  readonly #outside = new AsyncResource('nestjs-async-context.sinks', { requireManualDestroy: true });
  #waiting: Closed[] = [];
  #timer: NodeJS.Timeout | undefined;
  #isDispatchDue = false;
  #closing: Promise<void> | undefined;

  constructor(settings: SinkQueueSettings<Closed>) {
    const { sinks, toRecord, report } = settings;
    // Not a spread: `{ capacity: undefined }` would take the bound away.
    const {
      capacity = SINK_QUEUE_DEFAULTS.capacity,
      batchSize = SINK_QUEUE_DEFAULTS.batchSize,
      intervalMs = SINK_QUEUE_DEFAULTS.intervalMs,
    } = settings;
    this.#capacity = capacity;
    this.#batchSize = batchSize;
    this.#intervalMs = intervalMs;
    this.#toRecord = toRecord;
    this.#report = report;
    this.#writers = sinks.map(sink => new SinkWriter(sink, capacity, batchSize, report));
  }

  /** Queues a closed unit of work, or drops it when the queue is full. Never waits, never throws. */
  offer(closed: Closed): void {
    if (this.#writers.length === 0) return;
    if (this.#waiting.length >= this.#capacity || this.#closing !== undefined) {
      for (const writer of this.#writers) writer.drop(1);
      return;
    }
    this.#waiting.push(closed);
    if (this.#waiting.length >= this.#batchSize) this.#dispatchSoon();
    else this.#startTimer();
  }

  /** What became of the records, for each sink. */
  stats(): readonly SinkStats[] {
    return this.#writers.map(({ stats }) => ({
      ...stats,
      produced: stats.produced + this.#waiting.length,
      queued: stats.queued + this.#waiting.length,
    }));
  }

  /** Writes all that waits; a sink that hangs keeps the promise waiting. */
  async flush(): Promise<void> {
    this.#outside.runInAsyncScope(() => this.#dispatch());
    await Promise.all(this.#writers.map(({ idle }) => idle));
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
      setTimeout(() => this.#dispatch(), this.#intervalMs).unref(),
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
    this.#waiting = [];
    const records = closed.flatMap(one => this.#recordOf(one));
    for (const writer of this.#writers) {
      writer.drop(closed.length - records.length);
      if (records.length > 0) writer.push(records);
    }
  }

  #recordOf(closed: Closed): CostRecord[] {
    try {
      return [boundRecord(this.#toRecord(closed))];
    } catch (error) {
      this.#report('making a cost record', error);
      return [];
    }
  }
}

async function atMost(ms: number, work: Promise<unknown>): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const timeout = new Promise<void>(resolve => {
    timer = setTimeout(resolve, ms);
  });
  await Promise.race([work, timeout]);
  clearTimeout(timer);
}
