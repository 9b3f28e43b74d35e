import type { Below, QueryHandle, QueryReporter } from '../driver-instrumentation';
import { sharedName } from '../../context/protocol';

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
  below: Below,
  values: unknown,
  on: object,
): QueryHandle | undefined {
  const begun = params?.[BEGUN];
  if (begun !== undefined) return begun.handle;
  return text ? reporter.begin(text, 'mysql', below, values, on) : undefined;
}
