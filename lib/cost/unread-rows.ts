import { MAX_ROWS_OF_RESULT } from './evidence/kept-results';

/** A row that nobody has read yet: its columns are filled in when somebody looks. */
export type UnreadRow = Record<string, unknown>;

/** Fills in the rows that it is given, which may be fewer than there are, and says what columns they have. */
export type ReadsRows = (rows: readonly UnreadRow[]) => Iterable<string>;

interface Unread {
  readonly rows: readonly UnreadRow[];
  readonly columns: string[];
  readonly read: ReadsRows;
}

/**
 * Rows that came as bytes, and that are read only once something repeats: to read 20 of them takes longer than all
 * the rest of what is counted of a query, and hardly any are ever compared.
 */
export class UnreadRows {
  #list: Unread[] = [];

  /**
   * Rows that stand for the first of so many, and their columns: empty, both, until they are read.
   *
   * @param mayWait whether what they are read from may be kept until then
   */
  add(count: number, read: ReadsRows, mayWait: boolean): Pick<Unread, 'rows' | 'columns'> {
    // One more than is kept of a result says that there are more.
    const rows: UnreadRow[] = [];
    for (let i = 0; i < count && i <= MAX_ROWS_OF_RESULT; i++) rows.push({});
    const unread: Unread = { rows, columns: [], read };
    if (mayWait) this.#list.push(unread);
    else readOne(unread);
    return unread;
  }

  /** Reads those that have waited. */
  read(): void {
    if (this.#list.length === 0) return;
    const list = this.#list;
    this.#list = [];
    for (const unread of list) readOne(unread);
  }
}

/** Bytes that cannot be read are rows of which nothing is known. */
function readOne({ rows, columns, read }: Unread): void {
  try {
    columns.push(...read(rows));
  } catch {
    columns.length = 0;
  }
}
