import { performance } from 'node:perf_hooks';
import type { CostLedger } from './cost-ledger';
import { type Columns, MAX_ROWS_OF_RESULT } from './evidence/kept-results';
import type { ReadsValues } from './evidence/operation-values';
import { isWide } from './evidence/wide-rows';
import type { ShapeCost, TableCost } from './shape-cost';
import type { ReadsRows } from './unread-rows';

/** Runs before anything is looked at. */
const MIN_RUNS = 3;

/** One more than are looked at says that there are more. */
const MOST_ROWS = MAX_ROWS_OF_RESULT + 1;
/** Of rows that may be of a megabyte each, no more are held at a time: of those that are shown only keys are kept. */
const MOST_WIDE_ROWS = 8;

/** What was begun and is to be ended; it says meanwhile what it waits for. */
export interface Charge {
  queued(): void;
  sent(nowMs?: number): void;
  received(rows: number): void;
  /** Says what is asked, and of which database: kept by reference while the unit of work is open. */
  ran(text: string | ReadsValues, parameters: unknown, target?: object): void;
  returned(rows: readonly unknown[], columns?: Columns): void;
  returnedOne(row: unknown, columns?: Columns): void;
  returnedUnread(count: number, keep: () => ReadsRows, mayWait: boolean): void;
  end(rows: number, failed?: boolean, bytes?: number): void;
}

/** A query that was begun and has not ended; it stays with its unit of work whatever runs when it ends. */
export class QueryCharge implements Charge {
  readonly #ledger: CostLedger;
  readonly #shape: ShapeCost;
  readonly #table: TableCost | undefined;
  #sinceMs: number;
  #isQueued = false;
  #hasEnded = false;
  /** Of what comes row by row: how many have come, and those that are yet to be shown. */
  #came = 0;
  #wide = 0;
  #rows: unknown[] | undefined = undefined;
  #columns: Columns | undefined = undefined;

  constructor(
    ledger: CostLedger,
    shape: ShapeCost,
    table: TableCost | undefined,
    nowMs: number,
    isQueued: boolean,
  ) {
    this.#ledger = ledger;
    this.#shape = shape;
    this.#table = table;
    this.#sinceMs = nowMs;
    this.#isQueued = isQueued;
  }

  /** Says, right after the begin, that the query waits for a connection: until `sent()` it only waits. */
  queued(): void {
    if (this.#isQueued || this.#hasEnded) return;
    this.#isQueued = true;
    this.#ledger.queue(this.#sinceMs);
  }

  /** Says that a query that was queued has its connection. */
  sent(nowMs = performance.now()): void {
    if (!this.#isQueued || this.#hasEnded) return;
    this.#isQueued = false;
    this.#ledger.send(nowMs - this.#sinceMs, nowMs);
    this.#sinceMs = nowMs;
  }

  /** Says that rows have come, while there are more: what runs now may run for them. */
  received(rows: number): void {
    if (!this.#hasEnded) this.#ledger.note(this.#shape, rows);
  }

  ran(text: string | ReadsValues, parameters: unknown, target?: object): void {
    // Whatever it asks for may be in what has been left unread so far.
    if (this.#shape.count >= MIN_RUNS) this.#ledger.unread?.read();
    this.#ledger.follow()?.ran(this.#shape, text, parameters, target);
  }

  /** Shows rows that have come; the driver gives them to the application later. */
  returned(rows: readonly unknown[], columns?: Columns): void {
    if (!this.#hasEnded) this.#ledger.evidence?.answered(this.#shape, rows, columns, this);
  }

  /** Keeps a row that came alone, until the next statement runs, maybe for it: rows are looked at in lots. */
  returnedOne(row: unknown, columns?: Columns): void {
    const ledger = this.#ledger;
    if (this.#came === MOST_ROWS || this.#hasEnded || ledger.evidence === undefined || ledger.isClosed)
      return;
    this.#came += 1;
    if (columns !== this.#columns) ledger.showRows();
    if (this.#rows === undefined) {
      this.#rows = [row];
      this.#columns = columns;
      (ledger.reading ??= []).push(this);
    } else {
      this.#rows.push(row);
    }
    if (isWideRow(row) && (this.#wide += 1) % MOST_WIDE_ROWS === 0) ledger.showRows();
  }

  /** Shows the rows that came alone. */
  showRows(): void {
    const rows = this.#rows;
    this.#rows = undefined;
    if (rows !== undefined) this.#ledger.evidence?.answered(this.#shape, rows, this.#columns, this);
  }

  /** The same for rows that are bytes still. */
  returnedUnread(count: number, keep: () => ReadsRows, mayWait: boolean): void {
    if (!this.#hasEnded && count > 0) this.#ledger.noteUnread(this.#shape, count, keep, mayWait);
  }

  /** Ends the query; only the first call counts. `rows` are those returned or affected. */
  end(rows: number, failed = false, bytes = 0): void {
    if (this.#hasEnded) return;
    if (this.#rows !== undefined) this.#ledger.showRows();
    this.#hasEnded = true;
    const nowMs = performance.now();
    const ledger = this.#ledger;
    if (this.#isQueued) ledger.giveUp(nowMs - this.#sinceMs, nowMs);
    else ledger.finish(nowMs);
    const ranMs = this.#isQueued ? 0 : ledger.heardMs(this.#sinceMs, nowMs);
    ledger.settle(this.#shape, this.#table, ranMs, rows, failed, bytes);
  }
}

/** In the middle of the driver, and of the application's own loop: what a getter or a proxy throws is not theirs. */
function isWideRow(row: unknown): boolean {
  try {
    return isWide(row);
  } catch {
    return true;
  }
}
