import { MANY_ROWS } from '../../cost/evidence/operation-values';
import type { QueryReporter } from '../../instrumentation/driver-instrumentation';
import type { StackBoundary, QueryHandle } from '../../cost/query-handle';
import { sharedName } from '../../kernel/protocol';
import { isPlain } from '../../cost/evidence/nested-values';

/** Shared by all copies of this package: one may have replaced the pool and another the connection. */
export const BEGUN = Symbol.for(sharedName('mariadb-begun'));

/** What the application asks for: one object on its way from the pool to the connection and its queue. */
export interface Params {
  readonly sql?: string;
  readonly values?: unknown;
  /** The application's own, of the API with callbacks; of the other, there is a promise. */
  readonly callback?: unknown;
  readonly opts?: { readonly metaAsArray?: boolean };
  /** The query that the pool has begun for it, if a unit of work was running. */
  [BEGUN]?: { readonly handle: QueryHandle | undefined };
}

/** What both APIs are built on. */
export interface Connection {
  readonly opts: { readonly metaAsArray?: boolean };
  addCommand: unknown;
}

/** @throws QueryBudgetExceededError with `onExceeded: 'throw'`, if it was not begun yet */
export function beginOnce(
  params: Params | null | undefined,
  text: string | undefined,
  reporter: QueryReporter,
  stackBoundary: StackBoundary,
  values: unknown,
  on: object,
): QueryHandle | undefined {
  const begun = params?.[BEGUN];
  if (begun !== undefined) return begun.handle;
  return text ? reporter.begin(text, 'mysql', stackBoundary, parametersOf(values, text), on) : undefined;
}

const READS = /^[\s(]*SELECT\b/i;

/**
 * What stands for the places of a text: a list, or an object by their names. `MANY_ROWS` for the rows of a batch, which
 * are written at once, and so for no row of another statement; that a batch is one is not known until a pool has found
 * it a connection, but from its values.
 */
export function parametersOf(values: unknown, text: unknown): unknown {
  if (values === undefined || values === null || typeof text !== 'string') return values;
  try {
    if (!Array.isArray(values)) return isPlain(values) && !text.includes('?') ? values : [values];
    const list = values as readonly unknown[];
    const first = list[0];
    if (Array.isArray(first) || isPlain(first)) return isBatch(list, text) ? rowOf(list, text) : list;
    // One column: its values may be written without the brackets of each row.
    return list.length > 1 && hasOnePlace(text) ? MANY_ROWS : list;
  } catch {
    // A proxy of the application's; the driver will meet it as well.
    return values;
  }
}

function isBatch(rows: readonly unknown[], text: string): boolean {
  return rows.every(Array.isArray) ? !READS.test(text) : !text.includes('?') && rows.every(isPlain);
}

/** The only row of a batch, which is none then. `IN (?)` takes a list as well. */
function rowOf(rows: readonly unknown[], text: string): unknown {
  if (rows.length > 1) return MANY_ROWS;
  return hasOnePlace(text) ? rows : rows[0];
}

function hasOnePlace(text: string): boolean {
  const first = text.indexOf('?');
  return first >= 0 && !text.includes('?', first + 1);
}
