import type { Columns, KeptResult } from './kept-results';
import { visitValues } from './nested-values';
import { type Key, keyOf } from './value-key';

/**
 * A slice of rows of a megabyte each would keep hundreds of them until the request ends: of such only the keys are
 * kept, as copies.
 */
const MAX_TEXT = 1_024;
const MAX_NESTED = 64;
/** A small buffer is often a piece of a large one. */
const MAX_MEMORY = 65_536;
export const MAX_COPIED_ROWS = 100;
const MAX_COPIED_COLUMNS = 16;

/** Whether a row holds what is too large to be kept by reference. */
export function isWide(row: unknown): boolean {
  if (typeof row !== 'object' || row === null) return isWideCell(row);
  if (Array.isArray(row)) return row.some(isWideCell);
  for (const name in row) if (isWideCell((row as Record<string, unknown>)[name])) return true;
  return false;
}

function isWideCell(cell: unknown): boolean {
  if (typeof cell === 'string') return cell.length > MAX_TEXT;
  if (typeof cell !== 'object' || cell === null || cell instanceof Date) return false;
  if (cell instanceof Uint8Array) return cell.length > MAX_TEXT || cell.buffer.byteLength > MAX_MEMORY;
  let values = 0;
  let characters = 0;
  visitValues(cell, value => {
    values += 1;
    characters += typeof value === 'string' ? value.length : 0;
    return values <= MAX_NESTED && characters <= MAX_TEXT;
  });
  return values > MAX_NESTED || characters > MAX_TEXT;
}

/** Copies what may be a key of the first rows, by column. */
export function copyKeys(
  rows: readonly unknown[],
  most: number,
  columns: Columns | undefined,
): Pick<KeptResult, 'rows' | 'columns'> {
  const names = columns?.map(column => (typeof column === 'string' ? column : column.name));
  const first = rows[0];
  const all = names ?? Object.keys(first as object);
  const cellOf = (row: unknown, i: number): unknown =>
    Array.isArray(row) ? row[i] : (row as Record<string, unknown>)[all[i] as string];
  const kept = all.map((_, i) => i).filter(i => rows.length > 0 && keyOf(cellOf(first, i)) !== undefined);
  const chosen = kept.slice(0, MAX_COPIED_COLUMNS);
  const copies: (Key | undefined)[][] = [];
  for (let at = 0; at < Math.min(most, MAX_COPIED_ROWS); at++) {
    copies.push(chosen.map(i => keyOf(cellOf(rows[at], i))));
  }
  return { rows: copies, columns: chosen.map(i => all[i] as string) };
}
