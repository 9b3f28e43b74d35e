import type { CostLedger } from './cost-ledger';
import type { ShapeCost, TableCost } from './shape-cost';

/** What was begun and is to be ended; it says meanwhile what it waits for. */
export interface Charge {
  queued(): void;
  sent(): void;
  received(rows: number): void;
  end(rows: number, failed?: boolean, bytes?: number): void;
}

/** A query that was begun and has not ended; it stays with its unit of work whatever runs when it ends. */
export class QueryCharge implements Charge {
  readonly #ledger: CostLedger;
  readonly #shape: ShapeCost;
  readonly #table: TableCost | undefined;
  #sinceMs: number;
  #phase: 'sent' | 'queued' | 'ended' = 'sent';

  constructor(ledger: CostLedger, shape: ShapeCost, table: TableCost | undefined, nowMs: number) {
    this.#ledger = ledger;
    this.#shape = shape;
    this.#table = table;
    this.#sinceMs = nowMs;
  }

  /** Says, right after the begin, that the query waits for a connection: until `sent()` it only waits. */
  queued(): void {
    if (this.#phase !== 'sent') return;
    this.#phase = 'queued';
    this.#ledger.queue(this.#sinceMs);
  }

  /** Says that a query that was queued has its connection. */
  sent(): void {
    if (this.#phase !== 'queued') return;
    const now = performance.now();
    this.#phase = 'sent';
    this.#ledger.send(now - this.#sinceMs, now);
    this.#sinceMs = now;
  }

  /** Says that rows have come, while there are more: what runs now may run for them. */
  received(rows: number): void {
    if (this.#phase !== 'ended') this.#ledger.note(this.#shape, rows);
  }

  /** Ends the query; only the first call counts. `rows` are those returned or affected. */
  end(rows: number, failed = false, bytes = 0): void {
    if (this.#phase === 'ended') return;
    const now = performance.now();
    const passedMs = now - this.#sinceMs;
    const hasWaited = this.#phase === 'queued';
    this.#phase = 'ended';
    if (hasWaited) this.#ledger.giveUp(passedMs, now);
    else this.#ledger.finish(now);
    this.#ledger.settle(this.#shape, this.#table, hasWaited ? 0 : passedMs, rows, failed, bytes);
  }
}
