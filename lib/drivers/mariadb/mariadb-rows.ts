import type { Columns } from '../../cost/evidence/kept-results';
import type { QueryHandle } from '../../cost/query-handle';
import { rowsOf } from '../affected-rows';

/** What the driver says of a column: its name is a method. */
export interface Column {
  name(): string;
}

/**
 * Ends the handle with a result that the application has not seen yet.
 *
 * @param meta what is known of its columns, where the driver gives that beside the rows and not with them
 */
export function endWith(handle: QueryHandle, result: unknown, meta?: unknown): void {
  if (Array.isArray(result) && result.length > 0) showRows(handle, result, meta ?? metaOf(result));
  handle.end(rowsOf(result));
}

/** The same for `[rows, columns]`, which `metaAsArray` asks for. */
export function endWithPair(handle: QueryHandle, pair: unknown): void {
  const [result, meta] = Array.isArray(pair) ? (pair as readonly unknown[]) : [];
  endWith(handle, result, meta);
}

/** A column whose name is read when it is asked for, which is seldom: the driver finds it in the bytes of its packet. */
class NamedColumn {
  constructor(readonly column: Column) {}

  get name(): string {
    return this.column.name();
  }
}

/** The columns of rows that are arrays. */
export function namesOf(columns: readonly Column[]): Columns {
  return columns.map(column => new NamedColumn(column));
}

/**
 * Of several statements in one text, or of a procedure, the first one that has rows is shown: the names of the text are
 * those of that one, and the rows of others would be taken for its own.
 */
function showRows(handle: QueryHandle, result: readonly unknown[], meta: unknown): void {
  if (isOfRows(meta)) {
    handle.returned(result, Array.isArray(result[0]) ? namesOf(meta) : undefined);
    return;
  }
  for (const [i, one] of result.entries()) {
    const columns: unknown =
      (Array.isArray(meta) ? (meta as readonly unknown[])[i] : undefined) ?? metaOf(one);
    if (!isOfRows(columns) || !Array.isArray(one)) continue;
    if (one.length > 0) showRows(handle, one, columns);
    return;
  }
}

function metaOf(rows: unknown): unknown {
  return Array.isArray(rows) ? (rows as { meta?: unknown }).meta : undefined;
}

/** Whether it tells the columns of rows, rather than those of several results, or nothing. */
function isOfRows(meta: unknown): meta is readonly Column[] {
  return Array.isArray(meta) && typeof (meta[0] as Partial<Column> | undefined | null)?.name === 'function';
}
