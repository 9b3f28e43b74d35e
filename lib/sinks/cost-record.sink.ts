import type { CostRecord } from '../cost/cost-record';

/**
 * A destination for cost records.
 *
 * Records arrive in batches, one batch at a time, after their responses. A sink may throw, reject or hang without
 * affecting the application. A rejected batch is offered again with increasing delays (`sinkQueue.retryDelayMs`), so a
 * sink may get a record twice; lost records are counted.
 *
 * @example
 * class CountingSink implements CostRecordSink {
 *   readonly name = 'counting';
 *   count = 0;
 *   write(records: readonly CostRecord[]): void {
 *     this.count += records.length;
 *   }
 * }
 */
export interface CostRecordSink {
  /** Names the sink in log lines. */
  readonly name: string;
  /**
   * For a sink that counts in memory, such as a metrics sink: it gets every record without a weight, including those
   * that `sinkQueue.sample` omits, and gets it immediately if the queue is full and the record would otherwise be lost.
   * A failed write is not repeated, because it would be counted twice.
   * @default false
   */
  readonly everyRecord?: boolean;
  /**
   * Writes a batch. If it returns a promise, the next batch comes when that has settled.
   *
   * @throws any error; a `SinkFailure` says what to do with the batch
   */
  write(records: readonly CostRecord[]): void | Promise<void>;
  /** Called once at shutdown, after the last batch. */
  close?(): void | Promise<void>;
}

/**
 * Optional properties of an error that `write()` throws.
 *
 * @example
 * throw Object.assign(new Error('schema refused'), { retryable: false });
 */
export interface SinkFailure {
  /**
   * `false` if the batch would be rejected again: it is dropped at once.
   * @default true
   */
  readonly retryable?: boolean;
  /**
   * How many records of the batch were written nevertheless. If the rest is to be offered again, these and the
   * rejected ones must be the first of the batch.
   * @default 0
   */
  readonly delivered?: number;
  /**
   * How many records of the batch were rejected for good and are dropped.
   * @default 0
   */
  readonly rejected?: number;
}
