import { type Columns, MAX_ROWS_OF_RESULT, MAX_ROWS_OF_SHAPE } from '../cost/evidence/kept-results';
import type { QueryHandle } from '../cost/query-handle';

/** One more than are kept says that there are more. */
const MOST_AT_ONCE = MAX_ROWS_OF_RESULT + 1;
const MOST = MAX_ROWS_OF_SHAPE + 1;

/**
 * Shows rows that a driver hands over one by one, and keeps none of.
 *
 * Those that one piece of the socket has brought are shown together, as soon as the driver has read it: before a
 * stream hands them on, and so before what is asked for them. Rows that were shown alone would be links of a chain.
 */
export class RowBursts {
  readonly #handle: QueryHandle;
  readonly #columnsOf: (result: number) => Columns | undefined;
  #left = MOST;
  #rows: unknown[] | undefined = undefined;
  #columns: Columns | undefined = undefined;
  #result: number | undefined = undefined;

  /** @param columnsOf asked once, for rows that are arrays */
  constructor(handle: QueryHandle, columnsOf: (result: number) => Columns | undefined) {
    this.#handle = handle;
    this.#columnsOf = columnsOf;
  }

  /**
   * Adds a row, before the application gets it.
   *
   * @param result which statement of the text it is of: the first one that has rows is shown, whose names the text tells
   */
  add(row: unknown, result: number): void {
    if (this.#left === 0) return;
    this.#result ??= result;
    if (result !== this.#result) return;
    this.#left -= 1;
    if (this.#rows !== undefined) {
      if (this.#rows.length < MOST_AT_ONCE) this.#rows.push(row);
      return;
    }
    if (Array.isArray(row) && (this.#columns ??= this.#columnsOf(result)) === undefined) return;
    this.#rows = [row];
    process.nextTick(show, this);
  }

  /** Shows what has come since the last time. */
  show(): void {
    const rows = this.#rows;
    this.#rows = undefined;
    if (rows !== undefined) this.#handle.returned(rows, this.#columns);
  }
}

function show(bursts: RowBursts): void {
  bursts.show();
}
