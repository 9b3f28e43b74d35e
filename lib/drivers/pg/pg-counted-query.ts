import type { QueryHandle } from '../../cost/query-handle';
import { endWith, type PgQuery, type QueryClass } from './pg-query';

/** A query of the driver that ends its own count, so that nothing is put around what it calls. */
export type CountedQuery = PgQuery & { countBy(handle: QueryHandle): void };
type CountedClass = new (config: unknown, values?: unknown, callback?: unknown) => CountedQuery;

/** What each `Query` of the driver has of it: an application may have several copies. */
const classes = new WeakMap<QueryClass, CountedClass>();

/** The class of counted queries of one copy of the driver. */
export function countedQueryOf(Query: QueryClass): CountedClass {
  let counted = classes.get(Query);
  if (counted === undefined) classes.set(Query, (counted = makeClass(Query)));
  return counted;
}

function makeClass(Query: QueryClass): CountedClass {
  class Counted extends (Query as new (config: unknown, values?: unknown, callback?: unknown) => PgQuery) {
    #handle: QueryHandle | undefined = undefined;

    countBy(handle: QueryHandle): void {
      this.#handle = handle;
    }

    override handleReadyForQuery(connection: unknown): unknown {
      const handle = this.#handle;
      if (handle !== undefined) {
        this.#handle = undefined;
        // A row that a type parser refuses is an error that pg holds back until the end.
        if (this._canceledDueToError) handle.end(0, true);
        else endWith(handle, this._results);
      }
      return super.handleReadyForQuery(connection);
    }

    override handleError(error: unknown, connection: unknown): unknown {
      const handle = this.#handle;
      this.#handle = undefined;
      handle?.end(0, true);
      return super.handleError(error, connection);
    }
  }
  // Whoever looks at what a client is at sees the driver's own.
  Object.defineProperty(Counted, 'name', { value: Query.name });
  return Counted;
}
