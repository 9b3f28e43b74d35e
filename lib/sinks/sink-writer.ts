import type { CostRecord } from '../cost/cost-record';
import type { CostRecordSink } from './cost-record.sink';

/** What became of the records of one sink; produced = delivered + dropped + queued. */
export interface SinkStats {
  readonly sink: string;
  readonly produced: number;
  readonly delivered: number;
  readonly dropped: number;
  readonly queued: number;
}

type Report = (where: string, reason: unknown) => void;

/** Writes to one sink, one batch at a time, so that a sink that fails or hangs stands alone. */
export class SinkWriter {
  readonly #sink: CostRecordSink;
  readonly #capacity: number;
  readonly #batchSize: number;
  readonly #report: Report;
  #waiting: CostRecord[] = [];
  #inFlight = 0;
  #delivered = 0;
  #dropped = 0;
  #idle: Promise<void> = Promise.resolve();
  #isClosed = false;

  constructor(sink: CostRecordSink, capacity: number, batchSize: number, report: Report) {
    this.#sink = sink;
    this.#capacity = capacity;
    this.#batchSize = batchSize;
    this.#report = report;
  }

  /** Resolves when all that was pushed so far is delivered or dropped; a sink that hangs keeps it waiting. */
  get idle(): Promise<void> {
    return this.#idle;
  }

  get stats(): SinkStats {
    const queued = this.#waiting.length + this.#inFlight;
    const produced = this.#delivered + this.#dropped + queued;
    return { sink: this.#sink.name, produced, delivered: this.#delivered, dropped: this.#dropped, queued };
  }

  /** Takes what there is room for; the rest, the newest, is dropped. */
  push(records: readonly CostRecord[]): void {
    const room = this.#isClosed ? 0 : Math.max(0, this.#capacity - this.#waiting.length - this.#inFlight);
    this.#waiting.push(...records.slice(0, room));
    this.drop(records.length - Math.min(room, records.length));
    if (this.#inFlight === 0 && this.#waiting.length > 0) this.#idle = this.#drain();
  }

  /** Counts records that never came this far. */
  drop(count: number): void {
    this.#dropped += count;
  }

  /** Gives up what still waits, then closes the sink. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.drop(this.#waiting.length + this.#inFlight);
    this.#waiting = [];
    this.#inFlight = 0;
    try {
      await this.#sink.close?.();
    } catch (error) {
      this.#report(`sink ${this.#sink.name}, close()`, error);
    }
  }

  async #drain(): Promise<void> {
    while (this.#waiting.length > 0) {
      const batch = Object.freeze(this.#waiting.splice(0, this.#batchSize));
      this.#inFlight = batch.length;
      const written = await this.#write(batch);
      // Closed meanwhile: then the batch is counted as dropped already.
      if (this.#isClosed) return;
      this.#inFlight = 0;
      if (written) this.#delivered += batch.length;
      else this.#dropped += batch.length;
    }
  }

  async #write(batch: readonly CostRecord[]): Promise<boolean> {
    try {
      await this.#sink.write(batch);
      return true;
    } catch (error) {
      this.#report(`sink ${this.#sink.name}`, error);
      return false;
    }
  }
}
