import type { QueryHandle } from '../driver-instrumentation';

/** What a `pg` client can be given in place of a text: `pg.Query`, `pg-cursor`, `pg-query-stream`, … */
export interface Submittable {
  readonly text?: string;
  readonly cursor?: { readonly text?: string };
  submit: (...args: unknown[]) => unknown;
  callback?: unknown;
  handleDataRow?: (message: unknown) => unknown;
  handleCommandComplete?: (message: { text?: string }, ...rest: unknown[]) => unknown;
  handleReadyForQuery?: (...args: unknown[]) => unknown;
  handleError?: (...args: unknown[]) => unknown;
}

/** Whether a client was given a query object of the application's own. */
export function isSubmittable(config: unknown): config is Submittable {
  return typeof (config as Submittable | undefined)?.submit === 'function';
}

/** The text of whatever `query()` was given; `undefined` where there is none (a prepared name alone). */
export function textOf(config: unknown): string | undefined {
  if (typeof config === 'string') return config;
  const { text, cursor, name } = config as { text?: unknown; cursor?: { text?: unknown }; name?: unknown };
  if (typeof text === 'string') return text;
  if (typeof cursor?.text === 'string') return cursor.text;
  // A statement that this connection has prepared before may be called by its name alone.
  return typeof name === 'string' ? `EXECUTE "${name.replaceAll('"', '')}"` : undefined;
}

/** Rows that a result holds, or that its statement affected; several statements in one text give several. */
export function rowsOf(result: unknown): number {
  if (Array.isArray(result)) return result.reduce<number>((sum, one) => sum + rowsOf(one), 0);
  const { rowCount, rows } = (result ?? {}) as { rowCount?: number | null; rows?: readonly unknown[] };
  return rowCount ?? rows?.length ?? 0;
}

/** Ends the handle when a query object has been answered, counting the rows as they come. */
export function watchSubmittable(query: Submittable, handle: QueryHandle): void {
  let rows = 0;
  let affected = 0;
  before(query, 'handleDataRow', () => {
    rows += 1;
  });
  before(query, 'handleCommandComplete', message => {
    affected += affectedRows((message as { text?: string }).text);
  });
  before(query, 'handleReadyForQuery', () => handle.end(rows || affected));
  before(query, 'handleError', () => handle.end(rows, true));
}

type Handler = 'handleDataRow' | 'handleCommandComplete' | 'handleReadyForQuery' | 'handleError';

function before(query: Submittable, name: Handler, watch: (message: unknown) => void): void {
  const original = query[name] as ((...args: unknown[]) => unknown) | undefined;
  if (typeof original !== 'function') return;
  Object.defineProperty(query, name, {
    value(this: unknown, ...args: unknown[]) {
      watch(args[0]);
      return original.apply(this, args);
    },
    configurable: true,
    writable: true,
    enumerable: false,
  });
}

/** `INSERT 0 5`, `UPDATE 3`: https://www.postgresql.org/docs/current/protocol-message-formats.html */
function affectedRows(tag: string | undefined): number {
  const match = /^(?:INSERT \d+|UPDATE|DELETE|MERGE|COPY) (\d+)$/.exec(tag ?? '');
  return match === null ? 0 : Number(match[1]);
}
