import type { ShapeCost } from '../shape-cost';
import { copyKeys, isWide, MAX_COPIED_ROWS } from './wide-rows';

/** Names of columns, or what a driver says of them. */
export type Columns = readonly (string | { readonly name: string })[];

/** Rows that a statement returned: objects, or arrays where there are columns to tell their parts by. */
export interface KeptResult {
  readonly shape: ShapeCost;
  readonly rows: readonly unknown[];
  readonly columns: Columns | undefined;
  /** Whether the rows are copies of some of their columns. */
  readonly isCopied: boolean;
  /** When it came, by the clock of its unit of work. */
  readonly at: number;
  /** What it is a part of the result of, where its rows come in several lots. */
  readonly query: object | undefined;
  /** Its columns, once somebody has asked: those of another text of the shape, or of its second statement, may differ. */
  names: readonly string[] | undefined;
}

/** By reference, the first rows of a result: a longer loop is found by those. */
export const MAX_ROWS_OF_RESULT = 200;
/** The first of a statement, and never the last: an N+1 of 60 would push its own parent out. */
export const MAX_ROWS_OF_SHAPE = 600;
export const MAX_RESULTS_OF_SHAPE = 64;
export const MAX_ROWS_OF_UNIT = 2_000;
/** Some 80 MB, if rows are of 400 bytes and nobody else holds them. */
export const MAX_ROWS_OF_PROCESS = 200_000;

const NONE: readonly KeptResult[] = [];

/** Rows that are kept in the process, by all units of work that are open. */
let keptInProcess = 0;

/** How many rows the process keeps. */
export function rowsKept(): number {
  return keptInProcess;
}

/** What a unit of work keeps of its results, in the order in which they came. */
export class ResultsOfUnit {
  /** Time is the number of results so far. */
  clock = 0;
  /** Whether there were more rows than are kept. */
  isCut = false;
  #kept: KeptResult[] = [];
  #rows = 0;
  #taken = 0;

  add(shape: ShapeCost, rows: readonly unknown[], columns: Columns | undefined, query?: object): void {
    const { length } = rows;
    const at = (this.clock += 1);
    const most = this.#roomFor(shape, length);
    if (most < length) this.isCut = shape.hasMoreRows = true;
    if (most === 0) return;
    shape.keptResults += 1;
    shape.keptRows += most;
    this.#rows += most;
    keptInProcess += most;
    // The first row and the last one stand for all: one in between may be wider, where both have NULL.
    if (!isWide(rows[0]) && (length === 1 || !isWide(rows[length - 1]))) {
      const slice = most === length && length === 1 ? [rows[0]] : rows.slice(0, most);
      this.#kept.push({ shape, rows: slice, columns, isCopied: false, at, query, names: undefined });
    } else {
      if (most > MAX_COPIED_ROWS) this.isCut = shape.hasMoreRows = true;
      const copies = copyKeys(rows, most, columns);
      this.#kept.push({ shape, ...copies, isCopied: true, at, query, names: undefined });
    }
  }

  /** Those that have come since it was asked last. */
  takeNew(): readonly KeptResult[] {
    if (this.#taken === this.#kept.length) return NONE;
    const fresh = this.#kept.slice(this.#taken);
    this.#taken = this.#kept.length;
    return fresh;
  }

  release(): void {
    keptInProcess -= this.#rows;
    this.#rows = 0;
    this.#kept = [];
  }

  #roomFor({ keptResults, keptRows }: ShapeCost, rows: number): number {
    if (keptResults >= MAX_RESULTS_OF_SHAPE) return 0;
    const ofShape = Math.min(rows, MAX_ROWS_OF_RESULT, MAX_ROWS_OF_SHAPE - keptRows);
    return Math.max(0, Math.min(ofShape, MAX_ROWS_OF_UNIT - this.#rows, MAX_ROWS_OF_PROCESS - keptInProcess));
  }
}

/** The results of one statement, as far as they are kept. */
export class KeptResults {
  readonly list: KeptResult[] = [];
  readonly #shape: ShapeCost;
  /** By result: which query it is of, from 0 on. */
  readonly #queries: number[] = [];

  constructor(shape: ShapeCost) {
    this.#shape = shape;
  }

  /** Whether there were more rows than are kept. */
  get isCut(): boolean {
    return this.#shape.hasMoreRows;
  }

  add(result: KeptResult): void {
    const last = this.list.at(-1);
    const isMore = result.query !== undefined && last?.query === result.query;
    this.#queries.push((this.#queries.at(-1) ?? -1) + (isMore ? 0 : 1));
    this.list.push(result);
  }

  /** Which query a result is of: rows that come in lots are those of one. */
  queryOf(result: number): number {
    return this.#queries[result] ?? result;
  }

  /** The names of the columns of a result. */
  namesOf(result: KeptResult): readonly string[] {
    return (result.names ??= columnsOf(result));
  }
}

function columnsOf({ rows, columns }: KeptResult): readonly string[] {
  if (columns !== undefined)
    return columns.map(column => (typeof column === 'string' ? column : column.name));
  return Object.keys(rows[0] as object);
}
