/** Size and pace of the queue in front of the sinks. */
export interface SinkQueueOptions {
  /**
   * Records that may wait; what comes on top is dropped and counted.
   * @default 2048
   */
  readonly capacity?: number;
  /**
   * Records written at once.
   * @default 512
   */
  readonly batchSize?: number;
  /**
   * Milliseconds after which a smaller batch is written.
   * @default 5000
   */
  readonly intervalMs?: number;
  /**
   * Milliseconds after which a batch that a sink has refused is offered again: at most so many, at least
   * half of it, and twice as many after each further failure.
   * @default 500
   */
  readonly retryDelayMs?: number;
  /**
   * The longest of these pauses, in milliseconds; never shorter than `retryDelayMs`.
   * @default 10000
   */
  readonly maxRetryDelayMs?: number;
  /**
   * Milliseconds after which a batch that is still refused is dropped, so that one which a sink can never
   * take does not hold up those behind it for good. 0 for no second try.
   * @default 300000
   */
  readonly retryForMs?: number;
  /**
   * The share of ordinary units of work that leave a record, from 0 to 1: those without a breach, an error,
   * a status of 500 and above or a block of the event loop that are not slow. All others leave one.
   * `record.weight` says how many it stands for.
   * @default 1
   */
  readonly sample?: number;
}
