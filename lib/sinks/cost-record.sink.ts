import type { CostRecord } from '../cost/cost-record';

/**
 * Where cost records go.
 *
 * Records arrive in batches, one batch at a time, after the responses they speak of. A sink may
 * throw, reject or hang: the application never notices, and what is lost is counted.
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
  /** Takes a batch. The promise, if one is returned, says when the next batch may come. */
  write(records: readonly CostRecord[]): void | Promise<void>;
  /** Called once at shutdown, after the last batch. */
  close?(): void | Promise<void>;
}
