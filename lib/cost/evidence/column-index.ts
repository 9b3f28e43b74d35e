import type { KeptResult, KeptResults } from './kept-results';
import { visitValues } from './nested-values';
import { type Key, keyOf } from './value-key';

/** A column of the results of a statement; of one of JSON or arrays, the values under one key of it. */
export interface SourceColumn {
  readonly name: string;
  readonly inner: string | undefined;
}

/** Rows of one result have numbers from `result * ROWS` on. */
export const ROWS = 256;

/** Whether a cell holds several values. */
export function isNested(cell: unknown): cell is object {
  return (
    typeof cell === 'object' && cell !== null && !(cell instanceof Date) && !(cell instanceof Uint8Array)
  );
}

/** The cell of a row. */
export function cellOf(row: unknown, name: string, position: number): unknown {
  return Array.isArray(row) ? row[position] : (row as Readonly<Record<string, unknown>>)[name];
}

/** Where each value of a column stands first: made for the few columns that values have been found in. */
export class ColumnIndex {
  readonly #column: SourceColumn;
  readonly #results: KeptResults;
  readonly #places = new Map<Key, number>();
  #indexed = 0;

  constructor(column: SourceColumn, results: KeptResults) {
    this.#column = column;
    this.#results = results;
  }

  /** Whether it has one of them twice. */
  hasRepeats = false;

  /** How many values the column has. */
  get size(): number {
    return this.#places.size;
  }

  /** Where a value stands first: `result * ROWS + row`. */
  get(key: Key): number | undefined {
    const { list } = this.#results;
    while (this.#indexed < list.length) this.#add(list[this.#indexed] as KeptResult, this.#indexed++);
    return this.#places.get(key);
  }

  #add(result: KeptResult, number: number): void {
    const { name, inner } = this.#column;
    const position = this.#results.namesOf(result).indexOf(name);
    if (position < 0) return;
    for (let row = 0; row < result.rows.length; row++) {
      const cell = cellOf(result.rows[row], name, position);
      const place = number * ROWS + row;
      if (!isNested(cell)) this.#note(cell, place);
      else {
        visitValues(cell, (value, key) => {
          if ((key ?? '') === (inner ?? '')) this.#note(value, place);
          return true;
        });
      }
    }
  }

  #note(cell: unknown, place: number): void {
    const key = keyOf(cell);
    if (key === undefined) return;
    if (this.#places.has(key)) this.hasRepeats = true;
    else this.#places.set(key, place);
  }
}
