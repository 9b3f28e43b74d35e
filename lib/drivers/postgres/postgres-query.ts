import { type Columns, MAX_ROWS_OF_RESULT } from '../../cost/evidence/kept-results';
import { ownValue } from '../../cost/evidence/nested-values';
import type { QueryHandle } from '../../cost/query-handle';

/** A query of Postgres.js before it is sent; what a fragment, `sql(name)` or `sql(values)` is as well. */
export interface PostgresQuery {
  readonly strings: readonly string[];
  readonly args: readonly unknown[];
  readonly handler: { readonly name: string };
  readonly isRaw?: boolean | 'values';
  executed: boolean;
  resolve: (result: unknown) => unknown;
  reject: (error: unknown) => unknown;
  forEachFn?: (...args: unknown[]) => unknown;
  cursorFn?: (...args: unknown[]) => unknown;
}

/** What is sent, as far as its shape and its values go. */
export interface Sent {
  readonly text: string;
  readonly parameters: readonly unknown[];
}

/** A fragment, a name, a list or a typed value. */
interface Part extends Partial<PostgresQuery> {
  readonly value?: unknown;
  readonly first?: unknown;
  readonly rest?: unknown;
}

/** Rows of one statement. */
interface Result extends Array<unknown> {
  readonly count?: number | null;
  readonly columns?: Columns;
}

const MAX_DEPTH = 5;
/** What the driver writes for an object is known by the last of these before it. */
const WORDS = /(?:^|[\s(])(insert|update|values|in|select|as|returning|\()(?=$|[\s(])/gi;
/** Longer cells are no keys. */
const MAX_RAW = 128;

/** The statement as it will be sent, as far as its shape goes, with its values in the order of their numbers. */
export function sentBy(query: PostgresQuery): Sent {
  // Those of `unsafe()` have their places in its text already.
  if (query.strings.length < 2) return { text: query.strings[0] ?? '', parameters: query.args };
  const parameters: unknown[] = [];
  return { text: textOf(query, parameters, 0), parameters };
}

/** Rows of a result, or of the results of several statements. */
export function rowsOf(result: unknown): number {
  const { count } = (result ?? {}) as { count?: number | null };
  if (typeof count === 'number') return count;
  return Array.isArray(result) ? result.reduce<number>((sum, one) => sum + countOf(one), 0) : 0;
}

/** Shows the rows of a result; of several statements in one text the most, since each has columns of its own. */
export function showRows(handle: QueryHandle, result: unknown, isRaw: PostgresQuery['isRaw']): void {
  const rows = isResult(result) ? result : longestOf(result);
  if (rows === undefined || rows.length === 0) return;
  const columns = Array.isArray(rows[0]) ? rows.columns : undefined;
  handle.returned(isRaw === true ? rows.slice(0, MAX_ROWS_OF_RESULT + 1).map(rowOfText) : rows, columns);
}

/** Every result has a count, if none has come yet; what holds several has none. */
function isResult(result: unknown): result is Result {
  return Array.isArray(result) && 'count' in result;
}

function longestOf(results: unknown): Result | undefined {
  if (!Array.isArray(results)) return undefined;
  return results.filter(isResult).reduce<Result | undefined>((longest, one) => {
    return longest === undefined || one.length > longest.length ? one : longest;
  }, undefined);
}

/** Of `raw()`, the cells are the bytes of a text, which may be pieces of a large buffer. */
export function rowOfText(row: unknown): unknown {
  return Array.isArray(row)
    ? row.map(cell => (cell instanceof Uint8Array && cell.length <= MAX_RAW ? String(cell) : undefined))
    : row;
}

function countOf(result: unknown): number {
  return (result as Result | null)?.count ?? 0;
}

function textOf({ strings, args }: PostgresQuery, parameters: unknown[], depth: number): string {
  let text = strings[0] ?? '';
  for (let i = 1; i < strings.length; i++) {
    text += part(args[i - 1], parameters, text, depth) + (strings[i] ?? '');
  }
  return text;
}

function part(arg: unknown, parameters: unknown[], before: string, depth: number): string {
  if (typeof arg !== 'object' || arg === null || depth >= MAX_DEPTH) return `$${parameters.push(arg)}`;
  const { strings, args, value, first, rest } = arg as Part;
  if (Array.isArray(strings) && Array.isArray(args)) {
    return textOf(arg as PostgresQuery, parameters, depth + 1);
  }
  if (Array.isArray(rest) && first !== undefined) return built(first, rest, parameters, before, depth);
  const name = arg.constructor?.name;
  if (name === 'Identifier' && typeof value === 'string') return value;
  return `$${parameters.push(name === 'Parameter' ? value : arg)}`;
}

/** What the driver makes of `sql('orders')`, `sql(['id', 'name'])`, `sql([1, 2])` and `sql(row)`. */
function built(
  first: unknown,
  rest: readonly unknown[],
  parameters: unknown[],
  before: string,
  depth: number,
): string {
  if (typeof first === 'string') return namesOf([first, ...rest]);
  const word = lastWordOf(before);
  if (typeof first !== 'object' || first === null || word === 'in') return `($${parameters.push(first)})`;
  if (word !== 'values' && word !== 'insert' && word !== 'update') {
    if (Array.isArray(first)) return namesOf(first);
    return columnsOf(first, rest)
      .map(name => `${valueOf(first, name, parameters, depth)} as ${quoted(name)}`)
      .join();
  }
  const rows = Array.isArray(first) && typeof first[0] === 'object' && first[0] !== null ? first : [first];
  const row = rows[0] as object;
  const columns = columnsOf(row, rest);
  if (word === 'update') {
    return columns.map(name => `${quoted(name)}=${valueOf(row, name, parameters, depth)}`).join();
  }
  const names = word === 'insert' ? `(${namesOf(columns)})values` : '';
  if (rows.length > 1) {
    // A batch, of which it is enough to know that it is one.
    const place = `($${parameters.push(first)})`;
    return `${names}${place},${place}`;
  }
  return `${names}(${columns.map(name => valueOf(row, name, parameters, depth)).join()})`;
}

function lastWordOf(before: string): string | undefined {
  return [...before.matchAll(WORDS)].at(-1)?.[1]?.toLowerCase();
}

function columnsOf(row: object, rest: readonly unknown[]): string[] {
  return rest.length > 0 ? rest.flat().map(String) : Object.keys(row);
}

/** A getter is the driver's to call. */
function valueOf(row: object, name: string, parameters: unknown[], depth: number): string {
  return part(ownValue(row, name), parameters, '', depth + 1);
}

function namesOf(names: readonly unknown[]): string {
  return names.map(name => quoted(String(name))).join();
}

function quoted(name: string): string {
  return `"${name.replaceAll('"', '').replaceAll('.', '"."')}"`;
}
