import { contextStorage } from '../../context/context-storage';
import type { RequestContext } from '../../context/request-context';
import type { DriverInstrumentation, QueryHandle, QueryReporter } from '../driver-instrumentation';
import { loadedCopies } from '../loaded-copies';
import { replaceMethod } from '../method-replacement';
import { isSubmittable, rowsOf, type Submittable, textOf, watchSubmittable } from './pg-query';

type Callback = (this: unknown, error: unknown, ...results: unknown[]) => unknown;
type QueryMethod = (this: PgClient, config: unknown, values?: unknown, callback?: unknown) => unknown;
type PoolMethod = (this: object, ...args: unknown[]) => unknown;

interface PgQuery extends Submittable {
  callback?: Callback | undefined;
  query_timeout?: number;
}

type QueryClass = new (config: unknown, values?: unknown, callback?: unknown) => PgQuery;

interface PgClient {
  /** The promise class that the application gave to the client. */
  readonly _Promise: PromiseConstructor;
  readonly connection?: unknown;
}

/** A `pool.query()`: counted where the application called it, sent by a client later on. */
interface PoolQuery {
  readonly text: string | undefined;
  readonly below: PoolMethod;
  handle?: QueryHandle | undefined;
}

// Both are set and unset around a synchronous call, so that nothing else can come between.
let poolQuery: PoolQuery | undefined;
let handedOver: PoolQuery | undefined;

/**
 * Counts the queries of `pg` (`Client` and `Pool`), and so of all that is built on it: TypeORM,
 * Drizzle, Knex, MikroORM, Prisma's `adapter-pg`, …
 *
 * A query is counted where the application makes it, also when it then waits for the pool.
 *
 * @example
 * AsyncContextModule.forRoot({ instrumentations: [pgInstrumentation()] });
 */
export function pgInstrumentation(): DriverInstrumentation {
  return {
    name: 'pg',
    install(reporter) {
      const undo = [
        ...loadedCopies('pg', 'lib/client.js').flatMap(copy => coverClient(copy, reporter)),
        ...loadedCopies('pg-pool', 'index.js').flatMap(copy => coverPool(copy, reporter)),
      ];
      return undo.length === 0 ? undefined : () => undo.forEach(takeBack => takeBack());
    },
  };
}

function coverClient(client: unknown, reporter: QueryReporter): (() => void)[] {
  const { prototype, Query } = client as { prototype: object; Query?: QueryClass };
  if (Query === undefined) {
    reporter.warn('this version of pg has no Client.Query, so its queries are not counted');
    return [];
  }
  return replaceMethod<QueryMethod>(prototype, 'query', original => {
    return function query(config, values, callback) {
      // The bare driver's own error.
      if (config === null || config === undefined) return original.call(this, config, values, callback);
      let handle: QueryHandle | undefined;
      if (handedOver !== undefined) {
        ({ handle } = handedOver);
        handedOver = undefined;
      } else {
        try {
          handle = reporter.begin(textOf(config), 'postgresql', query);
        } catch (error) {
          return refuse(this, Query, config, values, callback, error);
        }
      }
      const context = contextStorage.getStore();
      if (context === undefined) return original.call(this, config, values, callback);
      if (isSubmittable(config) && handle !== undefined) watchSubmittable(config, handle);
      try {
        if (isSubmittable(config)) return original.call(this, config, values, callback);
        const [own, result] = ownQuery(this, Query, config, values, callback, handle);
        if (result === undefined) watchCallback(own, handle, context);
        original.call(this, own);
        return result;
      } catch (error) {
        handle?.end(0, true);
        throw error;
      }
    };
  });
}

function coverPool(pool: unknown, reporter: QueryReporter): (() => void)[] {
  const { prototype } = pool as { prototype: object };
  const undoQuery = replaceMethod<PoolMethod>(prototype, 'query', original => {
    return function query(...args) {
      const [config] = args;
      if (config === null || config === undefined || typeof config === 'function')
        return original.apply(this, args);
      const outer = poolQuery;
      poolQuery = { text: textOf(config), below: query };
      try {
        return original.apply(this, args);
      } finally {
        poolQuery = outer;
      }
    };
  });
  const undoConnect = replaceMethod<PoolMethod>(prototype, 'connect', original => {
    return function connect(...args) {
      const [callback] = args;
      const begun = poolQuery;
      poolQuery = undefined;
      if (typeof callback !== 'function') return original.apply(this, args);
      if (begun !== undefined) {
        try {
          begun.handle = reporter.begin(begun.text, 'postgresql', begun.below);
        } catch (error) {
          process.nextTick(callback as Callback, error);
          return undefined;
        }
      }
      return original.call(this, bindToCaller(callback as Callback, begun));
    };
  });
  return [...undoQuery, ...undoConnect];
}

/**
 * Without this, the callback of a request that waited for the pool runs in the context of the
 * request that released the connection, and its queries are charged to that one.
 *
 * `run()` in a closure of our own costs 25 ns; `AsyncResource.bind()` cost 1.7 to 6 µs.
 */
function bindToCaller(callback: Callback, begun: PoolQuery | undefined): Callback {
  const context = contextStorage.getStore();
  const connected: Callback = (error, ...rest) => {
    if (error) begun?.handle?.end(0, true);
    else handedOver = begun;
    try {
      return callback.call(undefined, error, ...rest);
    } finally {
      handedOver = undefined;
    }
  };
  return context === undefined
    ? (...args) => contextStorage.exit(() => connected(...args))
    : (...args) => contextStorage.run(context, () => connected(...args));
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
  const query = new Query(config, values, callback);
  const timeout = (config as { query_timeout?: number }).query_timeout;
  if (timeout !== undefined) query.query_timeout = timeout;
  if (query.callback) return [query, undefined];
  const result = new client._Promise<unknown>((resolve, reject) => {
    query.callback = (error, value) => {
      handle?.end(error ? 0 : rowsOf(value), Boolean(error));
      if (error) reject(error as Error);
      else resolve(value);
    };
  }).catch((error: Error) => {
    // As in pg: a stack that leads to the application instead of to `TCP.onStreamRead`.
    Error.captureStackTrace(error);
    throw error;
  });
  return [query, result];
}

/** The bare driver calls back in the context of the connection: in none, or in that of whoever opened it. */
function watchCallback(query: PgQuery, handle: QueryHandle | undefined, context: RequestContext): void {
  const { callback } = query;
  if (typeof callback !== 'function') throw new TypeError('callback is not a function');
  query.callback = function (...args) {
    const [error, result] = args;
    handle?.end(error ? 0 : rowsOf(result), Boolean(error));
    return contextStorage.run(context, () => callback.apply(this, args));
  };
}

/** Gives an error to the caller as the driver gives its own: never as a throw. */
function refuse(
  client: PgClient,
  Query: QueryClass,
  config: unknown,
  values: unknown,
  callback: unknown,
  error: unknown,
): unknown {
  if (isSubmittable(config)) {
    config.callback ??= typeof values === 'function' ? values : callback;
    process.nextTick(() => config.handleError?.(error, client.connection));
    return config;
  }
  const [query, result] = ownQuery(client, Query, config, values, callback);
  process.nextTick(() => query.callback?.call(query, error));
  return result;
}
