import type { ShapeCost } from '../shape-cost';
import { cellOf, isNested, type SourceColumn } from './column-index';
import type { KeptResult } from './kept-results';
import { visitValues } from './nested-values';
import { type Key, keyOf } from './value-key';

/** A value that is looked for, in both forms that a driver may give it. */
interface Wanted {
  readonly key: Key;
  readonly text: string;
}

/** A column that some of the values stand in. */
export interface FoundColumn {
  readonly column: SourceColumn;
  /** How many of them. */
  readonly found: number;
}

/** The columns of a statement's results that hold some of the values: a plain scan, 5 to 10 ns a cell. */
export function columnsWith(keys: readonly Key[], { trail }: ShapeCost): FoundColumn[] {
  if (trail === undefined) return [];
  const { results } = trail;
  const wanted = keys.map(key => ({ key, text: String(key) }));
  // A column of dates or of bytes is read only where such a value is looked for.
  const wantsObjects = wanted.some(({ key }) => typeof key === 'string');
  const all = (1 << wanted.length) - 1;
  const found = new Map<string, number>();
  const nested = new Map<string, SourceColumn>();
  for (const result of results.list) {
    const names = results.namesOf(result);
    const [first] = result.rows;
    for (let position = 0; position < names.length; position++) {
      const name = names[position] as string;
      const cell = cellOf(first, name, position);
      if (typeof cell === 'boolean') continue;
      if (typeof cell === 'object' && cell !== null) {
        if (isNested(cell)) {
          scanNested(result, name, position, wanted, found, nested);
          continue;
        }
        if (!wantsObjects) continue;
      }
      const mask = found.get(name) ?? 0;
      if (mask === all) continue;
      const here = scan(result, name, position, wanted);
      if (here !== 0) found.set(name, mask | here);
    }
  }
  return [...found].map(([name, mask]) => ({
    column: nested.get(name) ?? { name, inner: undefined },
    found: countBits(mask),
  }));
}

function scan({ rows }: KeptResult, name: string, position: number, wanted: readonly Wanted[]): number {
  let mask = 0;
  const isArray = Array.isArray(rows[0]);
  for (let row = 0; row < rows.length; row++) {
    const cell = isArray
      ? (rows[row] as readonly unknown[])[position]
      : (rows[row] as Readonly<Record<string, unknown>>)[name];
    // Most columns are of texts and numbers that are compared as they are.
    const key = typeof cell === 'string' || typeof cell === 'number' ? cell : keyOf(cell);
    if (key === undefined) continue;
    for (let i = 0; i < wanted.length; i++) {
      const { key: one, text } = wanted[i] as Wanted;
      if (key === one || key === text) mask |= 1 << i;
    }
  }
  return mask;
}

/** The values of arrays and of JSON, by the key that they stand under. */
function scanNested(
  { rows }: KeptResult,
  name: string,
  position: number,
  wanted: readonly Wanted[],
  found: Map<string, number>,
  nested: Map<string, SourceColumn>,
): void {
  for (const row of rows) {
    visitValues(cellOf(row, name, position), (value, inner) => {
      const key = keyOf(value);
      const i = key === undefined ? -1 : wanted.findIndex(one => one.key === key);
      if (i < 0) return true;
      const path = `${name}\0${inner ?? ''}`;
      nested.set(path, { name, inner });
      found.set(path, (found.get(path) ?? 0) | (1 << i));
      return true;
    });
  }
}

function countBits(mask: number): number {
  let bits = 0;
  for (let rest = mask; rest !== 0; rest &= rest - 1) bits += 1;
  return bits;
}
