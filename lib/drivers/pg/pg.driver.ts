import { type ChargeRedirect, currentRedirect, runAgain } from '../../context/charge-redirect';
import { contextStorage } from '../../context/context-storage';
import type { Captured } from '../../context/context-store';
import { runAndNote } from '../../context/thrown-context';
import { undoOf } from '../../budget/refused-commit';
import { inContext } from '../../instrumentation/caller-context';
import type {
  DriverInstrumentation,
  OwnQueryReporter,
  QueryReporter,
} from '../../instrumentation/driver-instrumentation';
import type { QueryHandle } from '../../cost/query-handle';
import { giveModules } from '../../kernel/given-modules';
import { loadedCopies } from '../../kernel/loaded-copies';
import { replaceMethod } from '../../kernel/method-replacement';
import { takingBack } from '../../kernel/take-back';
import { countedQueryOf } from './pg-counted-query';
import { markPlain, takeFromPool } from './pg-hand-over';
import { coverMethods, coverPool } from './pg-pool';
import {
  endOf,
  isSubmittable,
  type PgQuery,
  type QueryClass,
  textOf,
  valuesOf,
  watchSubmittable,
} from './pg-query';

type Callback = (this: unknown, error: unknown, ...results: unknown[]) => unknown;
type QueryMethod = (this: PgClient, config: unknown, values?: unknown, callback?: unknown) => unknown;

interface PgClient {
  /** The promise class that the application gave to the client. */
  readonly _Promise: PromiseConstructor;
  readonly connection?: unknown;
}

/**
 * Counts the queries of `pg` (`Client` and `Pool`), and so of all that is built on it: TypeORM,
 * Drizzle, Knex, MikroORM, Prisma's `adapter-pg`, …
 *
 * A query is counted where the application makes it, also when it then waits for the pool.
 *
 * @param modules the package as the application has imported it; only a bundle needs it
 * @throws AsyncContextError `ASYNC_CONTEXT_INVALID_OPTION` for another module
 *
 * @example
 * AsyncContextModule.forRoot({ instrumentations: [pgInstrumentation()] });
 */
export function pgInstrumentation(...modules: readonly object[]): DriverInstrumentation {
  giveModules('pg', modules);
  return {
    name: 'pg',
    install(given) {
      const reporter = given as OwnQueryReporter;
      const undo = [
        ...loadedCopies('pg', 'lib/client.js').flatMap(copy => coverClient(copy, reporter)),
        ...loadedCopies('pg-pool', 'index.js').flatMap(copy => coverPool(copy, reporter)),
        ...loadedCopies('pg', 'lib/index.js').flatMap(copy => coverBoundPool(copy, reporter)),
      ];
      return takingBack(undo);
    },
  };
}

/** Each copy of `pg` has a pool of its own, whose methods are those of pg-pool unless somebody has wrapped them. */
function coverBoundPool(copy: unknown, reporter: OwnQueryReporter): (() => void)[] {
  const { Pool } = copy as { Pool?: { prototype?: object } };
  return Pool?.prototype === undefined ? [] : coverMethods(Pool.prototype, reporter);
}

function coverClient(client: unknown, reporter: QueryReporter): (() => void)[] {
  const { prototype, Query } = client as { prototype: object; Query?: QueryClass };
  if (Query !== undefined) return coverQueries(prototype, Query, reporter);
  reporter.warn('this version of pg has no Client.Query, so its queries are not counted');
  return [];
}

function coverQueries(prototype: object, Query: QueryClass, reporter: QueryReporter): (() => void)[] {
  const Counted = countedQueryOf(Query);
  return replaceMethod<QueryMethod>(prototype, 'query', original => {
    const isOwn = isDriversOwn(original);
    function query(this: PgClient, config: unknown, values?: unknown, callback?: unknown): unknown {
      // The bare driver's own error.
      if (config === null || config === undefined) return original.call(this, config, values, callback);
      let handle: QueryHandle | undefined;
      const poolQuery = takeFromPool(this, config, callback);
      if (poolQuery !== undefined) {
        ({ handle } = poolQuery);
      } else {
        try {
          handle = reporter.begin(textOf(config), 'postgresql', query, valuesOf(config, values), this);
        } catch (error) {
          return refuse(this, Query, config, values, callback, error, original);
        }
      }
      const captured = poolQuery === undefined ? contextStorage.capture() : poolQuery.captured;
      const redirect = poolQuery === undefined ? currentRedirect() : poolQuery.redirect;
      const isOfApplication = poolQuery?.hasCallback ?? true;
      try {
        if (isSubmittable(config)) {
          watchSubmittable(config, handle, captured);
          return original.call(this, config, values, callback);
        }
        if (!isOwn) {
          const [own, result] = ownQuery(this, Query, config, values, callback, handle);
          if (result === undefined) watchCallback(own, handle, captured, redirect, isOfApplication);
          original.call(this, own);
          return result;
        }
        const own = makeQuery(Counted, config, values, callback);
        if (handle !== undefined) own.countBy(handle);
        const result = own.callback ? undefined : promiseOf(this, own);
        if (result === undefined && isOfApplication) watchCallback(own, undefined, captured, redirect, true);
        original.call(this, own);
        return result;
      } catch (error) {
        handle?.end(0, true);
        throw error;
      }
    }
    if (isOwn) markPlain(query);
    return query;
  });
}

/**
 * Whether a method is that of the driver, rather than one that a tracer has put around it, which may make a query of
 * its own from the fields of what it is given: @opentelemetry/instrumentation-pg does, when it adds comments. A
 * minified bundle has the name of the field, too.
 */
function isDriversOwn(method: QueryMethod): boolean {
  return Function.prototype.toString.call(method).includes('queryQueue.push(');
}

/**
 * The query object and the result that the bare `client.query()` would make of its arguments.
 *
 * Made here, because a callback handed to `query()` is written into the application's config
 * object, and `then()` on the promise it returns would hide an unhandled rejection.
 */
function ownQuery(
  client: PgClient,
  Query: QueryClass,
  config: unknown,
  values: unknown,
  callback: unknown,
  handle?: QueryHandle,
): [query: PgQuery, result: Promise<unknown> | undefined] {
  const query = makeQuery(Query, config, values, callback);
  return [query, query.callback ? undefined : promiseOf(client, query, handle)];
}

function makeQuery<Q extends PgQuery>(
  Query: new (config: unknown, values?: unknown, callback?: unknown) => Q,
  config: unknown,
  values: unknown,
  callback: unknown,
): Q {
  const query = new Query(config, values, callback);
  if (typeof config === 'string') return query;
  const { query_timeout: timeout, rowMode } = config as PgQuery;
  if (timeout !== undefined) query.query_timeout = timeout;
  // For a tracer below this one, which may make a query of its own from the fields of this one.
  if (rowMode !== undefined) query.rowMode = rowMode;
  return query;
}

/** The promise that the bare `client.query()` would return, settled by the callback of the query. */
function promiseOf(client: PgClient, query: PgQuery, handle?: QueryHandle): Promise<unknown> {
  return new client._Promise<unknown>((resolve, reject) => {
    query.callback = (error, value) => {
      endOf(handle, error, value);
      if (error) reject(error as Error);
      else resolve(value);
    };
  }).catch((error: Error) => {
    // As in pg: a stack that leads to the application instead of to `TCP.onStreamRead`.
    Error.captureStackTrace(error);
    throw error;
  });
}

/**
 * The bare driver calls back in the context of the connection: in none, or in that of whoever opened
 * it. Only the application's callbacks are brought back: on Node 24 a `run()` copies a map, 150 ns.
 */
function watchCallback(
  query: PgQuery,
  handle: QueryHandle | undefined,
  captured: Captured,
  redirect: ChargeRedirect | undefined,
  isOfApplication: boolean,
): void {
  const callback = callbackOf(query);
  query.callback = function (...args) {
    const [error, result] = args;
    endOf(handle, error, result);
    if (!isOfApplication) return callback.apply(this, args);
    return runAndNote(captured, () => runAgain(redirect, () => callback.apply(this, args)));
  };
}

/** @throws TypeError as the bare driver does */
function callbackOf({ callback }: PgQuery): Callback {
  if (typeof callback !== 'function') throw new TypeError('callback is not a function');
  return callback;
}

/** Gives an error to the caller as the driver gives its own: never as a throw. */
function refuse(
  client: PgClient,
  Query: QueryClass,
  config: unknown,
  values: unknown,
  callback: unknown,
  error: unknown,
  send: QueryMethod,
): unknown {
  // Before the caller is told, so that it gets a connection that is in no transaction any more.
  const tell = (give: () => void): void => {
    if (undoOf(error) !== 'instead') process.nextTick(give);
    else send.call(client, new Query('ROLLBACK', inContext(give)));
  };
  if (isSubmittable(config)) {
    if (!config.callback && (typeof values === 'function' || callback)) {
      config.callback = typeof values === 'function' ? values : callback;
    }
    tell(() => config.handleError?.(error, client.connection));
    return config;
  }
  const [query, result] = ownQuery(client, Query, config, values, callback);
  const give = callbackOf(query).bind(query);
  tell(() => give(error));
  return result;
}
