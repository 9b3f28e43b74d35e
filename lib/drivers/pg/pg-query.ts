import { currentRedirect, runAgain } from '../../context/charge-redirect';
import type { Columns } from '../../cost/evidence/kept-results';
import type { Captured } from '../../context/context-store';
import { runAndNote } from '../../context/thrown-context';
import type { QueryHandle } from '../../cost/query-handle';

/** What a `pg` client can be given in place of a text: `pg.Query`, `pg-cursor`, `pg-query-stream`, … */
export interface Submittable {
  submit: (...args: unknown[]) => unknown;
  callback?: unknown;
  handleError?: (...args: unknown[]) => unknown;
}

/** The driver's own query, as far as this package needs it. */
export interface PgQuery extends Submittable {
  callback?: ((this: unknown, error: unknown, ...results: unknown[]) => unknown) | undefined;
  query_timeout?: number;
  rowMode?: string;
  readonly _results?: unknown;
  readonly _canceledDueToError?: unknown;
  handleReadyForQuery(connection: unknown): unknown;
  handleError(error: unknown, connection: unknown): unknown;
}

export interface QueryClass {
  new (config: unknown, values?: unknown, callback?: unknown): PgQuery;
  readonly prototype: PgQuery;
}

type Handler =
  'handleDataRow' | 'handlePortalSuspended' | 'handleCommandComplete' | 'handleReadyForQuery' | 'handleError';
type AnyFunction = (this: unknown, ...args: unknown[]) => unknown;

/** Whether a client was given a query object of the application's own. */
export function isSubmittable(config: unknown): config is Submittable {
  return typeof (config as Submittable | undefined)?.submit === 'function';
}

/** The text of whatever `query()` was given; `undefined` where there is none. Never throws. */
export function textOf(config: unknown): string | undefined {
  if (typeof config === 'string') return config;
  if (typeof config !== 'object') return undefined;
  try {
    const { text, cursor, name } = config as { text?: unknown; cursor?: { text?: unknown }; name?: unknown };
    if (typeof text === 'string') return text;
    if (typeof cursor?.text === 'string') return cursor.text;
    // A statement that this connection has prepared before may be called by its name alone.
    return typeof name === 'string' ? `EXECUTE "${name.replaceAll('"', '')}"` : undefined;
  } catch {
    // A getter of the application's; the driver will meet it as well.
    return undefined;
  }
}

/** The parameters of whatever `query()` was given, to be compared with others. Never throws. */
export function valuesOf(config: unknown, values: unknown): unknown {
  if (Array.isArray(values) || typeof config !== 'object') return values;
  try {
    const { values: own, cursor } = config as { values?: unknown; cursor?: { values?: unknown } };
    return own ?? cursor?.values;
  } catch {
    return undefined;
  }
}

interface PgResult {
  readonly rows?: readonly unknown[];
  readonly fields?: Columns;
}

/** Ends the handle with a result that nobody else has seen yet. */
export function endWith(handle: QueryHandle, result: unknown): void {
  const { rows, fields } = (result ?? {}) as PgResult;
  if (Array.isArray(rows)) handle.returned(rows, fields);
  handle.end(rowsOf(result));
}

/** The same for what a callback is given. */
export function endOf(handle: QueryHandle | undefined, error: unknown, result: unknown): void {
  if (error) handle?.end(0, true);
  else if (handle !== undefined) endWith(handle, result);
}

/** Rows that a result holds, or that its statement affected; several statements in one text give several. */
export function rowsOf(result: unknown): number {
  if (Array.isArray(result)) return result.reduce<number>((sum, one) => sum + rowsOf(one), 0);
  const { rowCount, rows } = (result ?? {}) as { rowCount?: number | null; rows?: readonly unknown[] };
  return rowCount ?? rows?.length ?? 0;
}

/**
 * Ends the handle when a query object has been answered, and counts the rows as they come.
 *
 * Its events run in the context of its query, as a callback does. The object is as it was before
 * once it has been answered.
 */
export function watchSubmittable(
  query: Submittable,
  handle: QueryHandle | undefined,
  captured: Captured,
): void {
  let rows = 0;
  let rowsOfStatement = 0;
  const undo: (() => void)[] = [];
  const end = (failed: boolean): void => {
    for (const takeBack of undo) takeBack();
    handle?.end(rows + rowsOfStatement, failed);
  };
  const watch = (name: Handler, see: (message: unknown) => void): void => {
    undo.push(before(query, name, captured, see));
  };
  watch('handleDataRow', () => {
    rowsOfStatement += 1;
  });
  watch('handlePortalSuspended', () => {
    showRows(query, handle);
    handle?.received(rowsOfStatement);
  });
  watch('handleCommandComplete', message => {
    // The tag of a cursor's last portal counts the rows of that portal alone.
    rows += Math.max(rowsOfStatement, rowsOfTag((message as { text?: string }).text));
    rowsOfStatement = 0;
  });
  // A row that a type parser refuses is an error that pg holds back until the end.
  watch('handleReadyForQuery', () => {
    showRows(query, handle);
    end(Boolean((query as { _canceledDueToError?: unknown })._canceledDueToError));
  });
  watch('handleError', () => end(true));
}

/** The rows at hand: those that a cursor, also one of a stream, has read since the last time, or all of a query. */
function showRows(query: Submittable, handle: QueryHandle | undefined): void {
  const { cursor = query, _results } = query as { cursor?: object; _results?: PgResult };
  const { _rows, _result } = cursor as { _rows?: readonly unknown[]; _result?: PgResult };
  const rows = _rows ?? _results?.rows;
  if (Array.isArray(rows)) handle?.returned(rows, _result?.fields);
}

/** Looks at a call before the object gets it, and gives back what takes that back. */
function before(
  query: Submittable,
  name: Handler,
  captured: Captured,
  see: (message: unknown) => void,
): () => void {
  const object = query as unknown as Record<Handler, unknown>;
  const original = object[name];
  if (typeof original !== 'function') return () => undefined;
  const own = Object.getOwnPropertyDescriptor(query, name);
  const redirect = currentRedirect();
  const value: AnyFunction = function (...args) {
    see(args[0]);
    return runAndNote(captured, () => runAgain(redirect, () => (original as AnyFunction).apply(this, args)));
  };
  Object.defineProperty(query, name, {
    value,
    configurable: true,
    writable: true,
    enumerable: own?.enumerable ?? false,
  });
  return () => {
    if (object[name] !== value) return;
    if (own === undefined) delete object[name];
    else Object.defineProperty(query, name, own);
  };
}

/** `SELECT 2`, `INSERT 0 5`: https://www.postgresql.org/docs/current/protocol-message-formats.html */
function rowsOfTag(tag: string | undefined): number {
  const match = / (\d+)$/.exec(tag ?? '');
  return match === null ? 0 : Number(match[1]);
}
