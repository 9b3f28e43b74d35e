import { oneLine } from '../../kernel/one-line';
import { withoutValues } from '../../sql/value-like';
import type { SourceColumn } from './column-index';

/** In place of a name that is none. */
const UNKNOWN = '?';
/** As long as PostgreSQL, MySQL and SQL Server have names, at most. */
const MAX_LENGTH = 128;
const WORD = /^[\p{L}_$][\p{L}\p{N}_$ -]*$/u;

/** A column as a finding may name it: of rows that are made of data, its name may be a value. */
export function toldName(name: string): string {
  return name.length > MAX_LENGTH ? UNKNOWN : oneLine(withoutValues(name, UNKNOWN));
}

/** The same for what lies in a column of JSON or arrays, whose keys are data more often: `carts.?`. */
export function toldPath({ name, inner }: SourceColumn): string {
  if (inner === undefined) return toldName(name);
  return `${toldName(name)}.${WORD.test(inner) ? toldName(inner) : UNKNOWN}`;
}
