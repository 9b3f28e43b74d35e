import type { CostRecord } from '../cost/cost-record';

/**
 * Where cost records go.
 *
 * Records arrive in batches, one batch at a time, after the responses they speak of. A sink may
 * throw, reject or hang: the application never notices. A batch that was refused is offered again,
 * later and later (`sinkQueue.retryDelayMs`), so a sink may get a record twice; what is lost is counted.
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
   * For a sink that counts in memory, such as one of metrics: it gets every record, also what
   * `sinkQueue.sample` leaves out, without a weight, and at once where another sink would lose it to a
   * full queue. It is called again for nothing, because it would count that twice.
   * @default false
   */
  readonly everyRecord?: boolean;
  /**
   * Takes a batch. The promise, if one is returned, says when the next batch may come.
   *
   * @throws whatever it likes; a `SinkFailure` says what is to become of the batch
   */
  write(records: readonly CostRecord[]): void | Promise<void>;
  /** Called once at shutdown, after the last batch. */
  close?(): void | Promise<void>;
}

/**
 * What the error of a `write()` may say about the batch.
 *
 * @example
 * throw Object.assign(new Error('schema refused'), { retryable: false });
 */
export interface SinkFailure {
  /**
   * `false` when the batch would be refused again: it is dropped at once.
   * @default true
   */
  readonly retryable?: boolean;
  /**
   * How many records of the batch were taken all the same. Where the rest is to be offered again, these
   * and those that were rejected are the first ones.
   * @default 0
   */
  readonly delivered?: number;
  /**
   * How many records of the batch are refused for good, and dropped.
   * @default 0
   */
  readonly rejected?: number;
}
