/** Size and timing of the queue in front of the sinks. */
export interface SinkQueueOptions {
  /**
   * Maximum number of waiting records; further records are dropped and counted.
   * @default 2048
   */
  readonly capacity?: number;
  /**
   * Maximum number of records per batch.
   * @default 512
   */
  readonly batchSize?: number;
  /**
   * Milliseconds after which a batch that is not full is written.
   * @default 5000
   */
  readonly intervalMs?: number;
  /**
   * Milliseconds until a rejected batch is offered again: at least half of this, at most this, and twice as long after
   * each further failure.
   * @default 500
   */
  readonly retryDelayMs?: number;
  /**
   * Maximum of these delays in milliseconds; never shorter than `retryDelayMs`.
   * @default 10000
   */
  readonly maxRetryDelayMs?: number;
  /**
   * Milliseconds after which a batch that is still rejected is dropped, so that it does not block those behind it
   * forever. 0 disables retries.
   * @default 300000
   */
  readonly retryForMs?: number;
  /**
   * Share of ordinary units of work that leave a record, from 0 to 1: those that are not slow and have no breach, no
   * error, no status of 500 or above and no block of the event loop. All others always leave one. `record.weight` is
   * the number of units of work that a record stands for.
   * @default 1
   */
  readonly sample?: number;
}
