import { performance } from 'node:perf_hooks';
import type { Charge } from './query-charge';
import { DATABASE, POOL, type TimeAccount } from './time-account';

/** BEGIN, COMMIT and their like: no query, but the unit of work waits for them all the same. */
export class TransactionCharge implements Charge {
  readonly #time: TimeAccount;
  #waitsFor: number | undefined = DATABASE;

  constructor(time: TimeAccount) {
    this.#time = time;
    time.begin(DATABASE, performance.now());
  }

  queued(): void {
    this.#change(DATABASE, POOL);
  }

  sent(): void {
    this.#change(POOL, DATABASE);
  }

  received(): void {
    // It has no rows.
  }

  ran(): void {
    // It has no values.
  }

  returned(): void {
    // As above.
  }

  returnedOne(): void {
    // As above.
  }

  returnedUnread(): void {
    // As above.
  }

  end(): void {
    if (this.#waitsFor !== undefined) this.#time.end(this.#waitsFor, performance.now());
    this.#waitsFor = undefined;
  }

  #change(from: number, to: number): void {
    if (this.#waitsFor !== from) return;
    this.#waitsFor = to;
    this.#time.change(from, to, performance.now());
  }
}
