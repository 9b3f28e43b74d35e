import { outlineOf } from '../kernel/error-outline';
import { number, type ReportLine } from '../reporting/report-text';
import { isThenable, settled, whenSettled } from '../kernel/thenable';
import type { CostRecord } from '../cost/cost-record';
import type { HookErrors } from '../reporting/hook-error-reporter';
import type { SinkStats } from '../record/process-figures';
import type { CostRecordSink, SinkFailure } from './cost-record.sink';
import { readFailure, SinkRetry, type SinkRetrySettings } from './sink-retry';

/** Nobody answers at the address, or not from here. */
const UNREACHABLE: ReadonlySet<string> = new Set([
  'ECONNREFUSED',
  'ECONNRESET',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'ENOTFOUND',
  'ETIMEDOUT',
]);

const ignore = (): void => undefined;

/** Size, pace and patience of one writer. */
export interface SinkWriterSettings extends SinkRetrySettings {
  readonly capacity: number;
  readonly batchSize: number;
  readonly hookErrors: HookErrors;
}

/** Writes to one sink, one batch at a time, so that a sink that fails or hangs stands alone. */
export class SinkWriter {
  /** Whether sampling and a full queue keep nothing from this sink. */
  readonly everyRecord: boolean;
  readonly #sink: CostRecordSink;
  readonly #settings: SinkWriterSettings;
  readonly #retry: SinkRetry;
  #waiting: CostRecord[] = [];
  #inFlight = 0;
  #delivered = 0;
  #dropped = 0;
  #idle: Promise<void> = Promise.resolve();
  #isDraining = false;
  #isClosed = false;

  constructor(sink: CostRecordSink, settings: SinkWriterSettings) {
    this.#sink = sink;
    this.everyRecord = sink.everyRecord === true;
    this.#settings = settings;
    this.#retry = new SinkRetry(settings);
  }

  /** Resolves when all that was pushed so far is delivered or dropped; a sink that hangs keeps it waiting. */
  get idle(): Promise<void> {
    return this.#idle;
  }

  /** How many records it would take now. */
  get room(): number {
    if (this.#isClosed) return 0;
    return Math.max(0, this.#settings.capacity - this.#waiting.length - this.#inFlight);
  }

  get stats(): Omit<SinkStats, 'sampledOut'> {
    const queued = this.#waiting.length + this.#inFlight;
    const produced = this.#delivered + this.#dropped + queued;
    return { sink: this.#sink.name, produced, delivered: this.#delivered, dropped: this.#dropped, queued };
  }

  /** Takes what there is room for; the rest, the newest, is dropped. */
  push(records: readonly CostRecord[]): void {
    const { room } = this;
    for (const record of room < records.length ? records.slice(0, room) : records) this.#waiting.push(record);
    if (room < records.length) this.overflow(records.slice(room));
    if (!this.#isDraining && this.#waiting.length > 0) this.#idle = this.#drain();
  }

  /** What is over the capacity is lost, but to a sink that counts: to that it is said at once. */
  overflow(records: readonly CostRecord[]): void {
    if (this.#isClosed) {
      this.drop(records.length);
      return;
    }
    if (!this.everyRecord) {
      this.lose(records.length);
      return;
    }
    try {
      const result: unknown = this.#sink.write(Object.freeze(records));
      this.#delivered += records.length;
      if (isThenable(result)) whenSettled(result, ignore, error => this.#report(error));
    } catch (error) {
      this.drop(records.length);
      this.#report(error);
    }
  }

  /** Counts records that never came this far. */
  drop(count: number): void {
    this.#dropped += count;
  }

  /** Counts records that found the queue full, and says so. */
  lose(count: number): void {
    if (count === 0) return;
    this.#dropped += count;
    this.#settings.hookErrors.say(
      `queue of sink ${this.#sink.name}`,
      `it is full, ${this.#dropped} records lost so far`,
    );
  }

  /** Waits no longer than needed for what it still has to write. */
  hurry(): void {
    this.#retry.hurry();
  }

  /** Gives up what still waits, then closes the sink. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.drop(this.#waiting.length + this.#inFlight);
    this.#waiting = [];
    this.#inFlight = 0;
    this.#retry.hurry();
    try {
      await settled(this.#sink.close?.());
    } catch (error) {
      this.#settings.hookErrors.report(`sink ${this.#sink.name}, close()`, error);
    }
  }

  async #drain(): Promise<void> {
    this.#isDraining = true;
    while (this.#waiting.length > 0) {
      const batch = Object.freeze(this.#waiting.splice(0, this.#settings.batchSize));
      this.#inFlight = batch.length;
      await this.#deliver(batch);
      this.#inFlight = 0;
    }
    this.#isDraining = false;
  }

  /** Offers a batch until it is taken, or lost. */
  async #deliver(offered: readonly CostRecord[]): Promise<void> {
    const sinceMs = performance.now();
    for (let batch = offered; ; await this.#retry.pause()) {
      if (this.#isClosed) return;
      const failure = await this.#write(batch);
      if (this.#isClosed) return;
      const taken = failure?.delivered ?? batch.length;
      const rejected = failure?.rejected ?? 0;
      this.#delivered += taken;
      this.#dropped += rejected;
      this.#inFlight -= taken + rejected;
      if (taken > 0) this.#retry.succeeded();
      if (failure === undefined || taken + rejected === batch.length) return;
      batch = Object.freeze(batch.slice(taken + rejected));
      if (this.everyRecord || this.#retry.givesUp(failure, sinceMs)) {
        this.#dropped += batch.length;
        return;
      }
    }
  }

  async #write(batch: readonly CostRecord[]): Promise<Required<SinkFailure> | undefined> {
    try {
      await settled(this.#sink.write(batch));
      return undefined;
    } catch (reason) {
      this.#report(reason);
      return readFailure(reason, batch.length);
    }
  }

  #advise(reason: unknown): readonly ReportLine[] {
    const { queued, dropped } = this.stats;
    const { capacity, retryForMs } = this.#settings;
    const code = codeOf(reason);
    const { retryable } = readFailure(reason, 0);
    const cause =
      code !== undefined && UNREACHABLE.has(code)
        ? 'start what the sink writes to, or correct its address or its firewall'
        : 'correct what the error names (forRoot({ errorMessages: true }) logs its message)';
    const then = this.everyRecord
      ? 'a sink with everyRecord gets no record twice'
      : retryable
        ? `a batch is tried again for ${number(retryForMs / 1_000)} s, and at most ${number(capacity)} records wait`
        : 'the sink says that trying this batch again is of no use';
    return [
      ['records', `${number(queued)} not written yet, ${number(dropped)} lost so far; no request has failed`],
      ['fix', `${cause}; ${then}`],
    ];
  }

  #report(reason: unknown): void {
    this.#settings.hookErrors.report(`sink ${this.#sink.name}`, reason, () => this.#advise(reason));
  }
}

/** The code of an error, or of what caused it: `fetch()` has its own there. */
function codeOf(reason: unknown): string | undefined {
  const { code } = outlineOf(reason);
  if (code !== undefined) return code;
  try {
    const { cause } = (reason ?? {}) as { readonly cause?: unknown };
    return cause === undefined ? undefined : outlineOf(cause).code;
  } catch {
    // What the application throws may have a getter that throws.
    return undefined;
  }
}
