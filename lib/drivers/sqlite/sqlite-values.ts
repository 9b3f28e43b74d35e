import { isPlain } from '../../cost/evidence/nested-values';
import { MAX_ROWS_OF_RESULT } from '../../cost/evidence/kept-results';
import { hashText } from '../../sql/parameter-hash';
import type { QueryHandle } from '../../cost/query-handle';
import { replaceMethod } from '../../kernel/method-replacement';
import { placeOf } from './sqlite-place';

type Bind = (this: Statement, ...values: unknown[]) => unknown;

/** On a statement of `better-sqlite3`: what `bind()` has given it for good. */
const BOUND = Symbol('nestjs-async-context.bound');

interface Statement {
  [BOUND]?: readonly unknown[];
  readonly source?: string;
  readonly sourceSQL?: string;
  columns?(): readonly { readonly name: string }[];
}

/** Texts of one database whose columns are known. */
const MAX_TEXTS = 1_000;
const PREFIX = /^[:@$?]/;
/** What is known by another name, or by a number: `{ ':id': 5 }`, `{ 1: 5 }`. */
const RENAMED = /^[:@$?\d]/;

/** `columns()` takes a microsecond a column. By a hash of the text, which may have values in it. */
const known = new WeakMap<object, Map<number, readonly string[]>>();

/** Has a statement know what was bound to it. */
export function noteBound(prototype: object): (() => void)[] {
  return replaceMethod<Bind>(prototype, 'bind', original => {
    return function bind(...values) {
      const result = original.apply(this, values);
      Object.defineProperty(this, BOUND, { value: values, configurable: true });
      return result;
    };
  });
}

/**
 * What a statement is given, as the places in its text name it: `?` by its number, `:id`, `@id` and `$id` by what
 * follows. In a call it may stand one by one, in arrays, in an object, and all of these at once.
 */
export function valuesOf(statement: object, args: readonly unknown[]): unknown {
  const given = args.length === 0 ? ((statement as Statement)[BOUND] ?? args) : args;
  try {
    if (given.length === 1) return valuesOfOne(given);
    return given.some(isObject) ? mixed(given) : given;
  } catch {
    // A proxy of the application's; the driver will meet it as well.
    return given;
  }
}

function valuesOfOne(given: readonly unknown[]): unknown {
  const [only] = given;
  if (Array.isArray(only)) return only;
  return isPlain(only) ? named(only) : given;
}

function mixed(given: readonly unknown[]): unknown {
  const values: Record<string, unknown> = {};
  let number = 0;
  for (const value of given) {
    if (Array.isArray(value)) for (const one of value) values[number++] = one;
    else if (!isPlain(value)) values[number++] = value;
    else if (!copyNamed(values, value)) return given;
  }
  return values;
}

function isObject(value: unknown): boolean {
  return typeof value === 'object' && value !== null;
}

/** Objects by the names of their columns, as opposed to `raw()` and `pluck()`. */
export function isNamed(row: unknown): boolean {
  return typeof row === 'object' && row !== null && !Array.isArray(row) && !(row instanceof Uint8Array);
}

/** A row of `raw()` as it is, and one of `pluck()`, which is a value, as one of one column. */
export function asCells(row: unknown): readonly unknown[] {
  return Array.isArray(row) ? row : [row];
}

/** Shows rows that have come at once, of which there is one at least. */
export function showRows(handle: QueryHandle, statement: object, rows: readonly unknown[]): void {
  const [first] = rows;
  if (isNamed(first)) return handle.returned(rows);
  const columns = columnsOf(statement, first);
  if (columns === undefined) return undefined;
  const cells = Array.isArray(first) ? rows : rows.slice(0, MAX_ROWS_OF_RESULT + 1).map(asCells);
  return handle.returned(cells, columns);
}

/** The names of the columns that a statement returns; `undefined` where the driver does not tell them. */
export function columnsOf(statement: object, row: unknown): readonly string[] | undefined {
  const { source, sourceSQL = source } = statement as Statement;
  const hash = sourceSQL === undefined ? undefined : hashText(sourceSQL);
  const database = placeOf(statement);
  if (hash === undefined || database === undefined) return readColumns(statement);
  let columns = known.get(database);
  if (columns === undefined) known.set(database, (columns = new Map()));
  const found = columns.get(hash);
  // A table that has been altered since has more of them.
  if (found !== undefined && (!Array.isArray(row) || row.length === found.length)) return found;
  if (columns.size >= MAX_TEXTS) columns.clear();
  const read = readColumns(statement);
  if (read !== undefined) columns.set(hash, read);
  return read;
}

function readColumns(statement: Statement): readonly string[] | undefined {
  try {
    return statement.columns?.().map(({ name }) => name);
  } catch {
    // The database is in a function of the application's, or closed.
    return undefined;
  }
}

/** By names without their prefix, which `node:sqlite` takes as well, and by numbers that begin with 0. */
function named(values: object): object {
  const names = Object.keys(values);
  if (!names.some(name => RENAMED.test(name))) return values;
  const copy = {};
  return copyNamed(copy, values) ? copy : values;
}

/** Whether all of it can be copied: a getter is the driver's to call. */
function copyNamed(target: Record<string, unknown>, values: object): boolean {
  for (const name of Object.keys(values)) {
    const property = Object.getOwnPropertyDescriptor(values, name);
    if (property === undefined || property.get !== undefined) return false;
    const bare = name.replace(PREFIX, '');
    const number = Number(bare);
    target[Number.isInteger(number) ? number - 1 : bare] = property.value;
  }
  return true;
}
