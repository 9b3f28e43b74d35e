import type { Columns } from '../../cost/evidence/kept-results';
import type { QueryHandle } from '../../cost/query-handle';

/** What a command has read, by result: `undefined` in place of the columns of one without rows. */
export interface Parsed {
  readonly _fields?: readonly (readonly { readonly name: string }[] | undefined)[];
}

/**
 * Shows what a command gives to its callback.
 *
 * Of several statements in one text, or of a procedure, that is the rows of the first one that has some: the names of
 * the text are those of that one, and the rows of others would be taken for its own.
 */
export function showRows(handle: QueryHandle, result: unknown, command: Parsed | undefined): void {
  const fields = command?._fields;
  if (!Array.isArray(result) || !Array.isArray(fields)) return;
  const first = fields.findIndex(one => one !== undefined);
  const rows: unknown = fields.length === 1 ? result : result[first];
  if (first < 0 || !Array.isArray(rows) || rows.length === 0) return;
  handle.returned(rows, Array.isArray(rows[0]) ? columnsOf(command, first) : undefined);
}

/** The names of the columns alone: what the driver says of them keeps the packet that it came in. */
export function columnsOf(command: Parsed | undefined, result: number): Columns | undefined {
  return command?._fields?.[result]?.map(({ name }) => name);
}
