import type { CostRecord } from '../cost/cost-record';
import type { CostRecordSink } from './cost-record.sink';

/**
 * Keeps the newest records in memory, for tests and small tools.
 *
 * @example
 * const sink = new MemorySink();
 * AsyncContextModule.forRoot({ sinks: [sink], sinkQueue: { intervalMs: 10 } });
 */
export class MemorySink implements CostRecordSink {
  readonly name = 'memory';
  readonly #capacity: number;
  #records: CostRecord[] = [];

  /** @param options `capacity`: the maximum number of records; 1,000 by default */
  constructor(options: { readonly capacity?: number } = {}) {
    this.#capacity = options.capacity ?? 1_000;
  }

  /** The kept records, oldest first. */
  get records(): readonly CostRecord[] {
    return this.#records;
  }

  write(records: readonly CostRecord[]): void {
    const all = [...this.#records, ...records];
    // Not slice(-capacity): slice(-0) keeps everything.
    this.#records = all.slice(Math.max(0, all.length - this.#capacity));
  }

  /** Removes all records. */
  clear(): void {
    this.#records = [];
  }
}
