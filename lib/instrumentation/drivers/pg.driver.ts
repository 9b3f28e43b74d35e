import { contextStorage, oncePerProcess } from '../../context/context-storage';
import type { RequestContext } from '../../context/request-context';
import type {
  CheckoutHandle,
  DriverInstrumentation,
  QueryHandle,
  QueryReporter,
} from '../driver-instrumentation';
import { loadedCopies } from '../loaded-copies';
import { isReplaced, replaceMethod } from '../method-replacement';
import { giveToClient, type HandOver, type PoolQuery, takeFromPool } from './pg-hand-over';
import { isSubmittable, rowsOf, type Submittable, textOf, valuesOf, watchSubmittable } from './pg-query';

type Callback = (this: unknown, error: unknown, ...results: unknown[]) => unknown;
type QueryMethod = (this: PgClient, config: unknown, values?: unknown, callback?: unknown) => unknown;
type Release = (this: PgPool, client: object, ...rest: unknown[]) => unknown;
type PoolMethod = (this: PgPool, ...args: unknown[]) => unknown;

interface PgQuery extends Submittable {
  callback?: Callback | undefined;
  query_timeout?: number;
  rowMode?: string;
}

type QueryClass = new (config: unknown, values?: unknown, callback?: unknown) => PgQuery;

interface PgClient {
  /** The promise class that the application gave to the client. */
  readonly _Promise: PromiseConstructor;
  readonly connection?: unknown;
}

interface PgPool {
  /** The promise class that the application gave to the pool. */
  readonly Promise: PromiseConstructor;
  readonly options: { readonly max: number };
  readonly idleCount: number;
  readonly waitingCount: number;
  readonly ending: boolean;
  readonly Client?: { readonly prototype: object };
}

// Shared by all copies of this package: one may have replaced the pool and another the client.
const handOver = oncePerProcess<HandOver>('pg', () => ({ begun: undefined, ready: undefined }));

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
      const poolQuery = takeFromPool(handOver, this, config, callback);
      if (poolQuery !== undefined) {
        ({ handle } = poolQuery);
      } else {
        try {
          handle = reporter.begin(textOf(config), 'postgresql', query, valuesOf(config, values), this);
        } catch (error) {
          return refuse(this, Query, config, values, callback, error);
        }
      }
      const context = contextStorage.getStore();
      try {
        if (isSubmittable(config)) {
          watchSubmittable(config, handle, context);
          return original.call(this, config, values, callback);
        }
        const [own, result] = ownQuery(this, Query, config, values, callback, handle);
        if (result === undefined) watchCallback(own, handle, context, poolQuery?.hasCallback ?? true);
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
      const [config, values, callback] = args;
      const outer = handOver.begun;
      const isQuery = config !== null && config !== undefined && typeof config !== 'function';
      // What its client does not count (pg-native) would never end.
      handOver.begun =
        isQuery && isReplaced(this.Client?.prototype, 'query')
          ? {
              pool: this,
              config,
              values: valuesOf(config, values),
              below: query,
              hasCallback: typeof values === 'function' || Boolean(callback),
              handle: undefined,
              client: undefined,
            }
          : undefined;
      try {
        return original.apply(this, args);
      } finally {
        handOver.begun = outer;
      }
    };
  });
  const undoRelease = replaceMethod<Release>(prototype, '_release', original => {
    return function release(client, ...rest) {
      reporter.released(client);
      return original.call(this, client, ...rest);
    };
  });
  if (!isReplaced(prototype, '_release')) {
    reporter.warn('this version of pg-pool has no Pool#_release, so who holds its connections is not known');
  }
  const undoConnect = replaceMethod<PoolMethod>(prototype, 'connect', original => {
    return function connect(...args) {
      const [callback] = args;
      // A subclass may connect another pool first.
      const begun = handOver.begun?.pool === this ? handOver.begun : undefined;
      if (begun !== undefined) handOver.begun = undefined;
      const checkout = isReplaced(prototype, '_release', 'own')
        ? reporter.beginCheckout(this, this.options.max, begun?.below ?? connect)
        : undefined;
      if (typeof callback !== 'function') {
        // What the bare driver refuses is its own to refuse.
        if (checkout === undefined || callback || this.ending) return original.apply(this, args);
        return connectWithPromise(this, original, checkout);
      }
      if (begun !== undefined) {
        try {
          begun.handle = reporter.begin(
            textOf(begun.config),
            'postgresql',
            begun.below,
            begun.values,
            checkout,
          );
          begun.handle?.queued();
        } catch (error) {
          process.nextTick(callback as Callback, error);
          return undefined;
        }
      }
      if (!hasFree(this)) checkout?.queued();
      try {
        return original.call(this, bindToCaller(callback as Callback, begun, checkout));
      } catch (error) {
        begun?.handle?.end(0, true);
        checkout?.failed();
        throw error;
      }
    };
  });
  return [...undoQuery, ...undoRelease, ...undoConnect];
}

/** Whether it gives a connection at once: it is then not measured how long it took. */
function hasFree({ idleCount, waitingCount }: PgPool): boolean {
  return idleCount > waitingCount;
}

/**
 * The promise that the bare `pool.connect()` would make, with a callback of our own.
 *
 * Made here, because `then()` on the promise it returns would hide an unhandled rejection.
 */
function connectWithPromise(pool: PgPool, connect: PoolMethod, checkout: CheckoutHandle): Promise<unknown> {
  let resolve: (client: unknown) => void;
  let reject: (error: unknown) => void;
  const result = new pool.Promise<unknown>((fulfil, refuse_) => {
    resolve = fulfil;
    reject = refuse_;
  }).catch((error: Error) => {
    // As in pg-pool: a stack that leads to the application instead of to `TCP.onStreamRead`.
    Error.captureStackTrace(error);
    throw error;
  });
  if (!hasFree(pool)) checkout.queued();
  try {
    connect.call(pool, (error: unknown, client: object) => {
      if (error) checkout.failed();
      else checkout.acquired(client);
      if (error) reject(error);
      else resolve(client);
    });
  } catch (error) {
    checkout.failed();
    throw error;
  }
  return result;
}

/**
 * Without this, the callback of a request that waited for the pool runs in the context of the
 * request that released the connection, and its queries are charged to that one.
 *
 * `run()` in a closure of our own costs 25 ns; `AsyncResource.bind()` cost 1.7 to 6 µs. `run()` with
 * no store, because `exit()` forgets on Node 20 and 22 that it has left once something inside it runs.
 */
function bindToCaller(
  callback: Callback,
  begun: PoolQuery | undefined,
  checkout: CheckoutHandle | undefined,
): Callback {
  const context = contextStorage.getStore() as RequestContext;
  return function (...args) {
    const call = (): unknown => callback.apply(this, args);
    const [error, client] = args;
    if (error) checkout?.failed();
    else checkout?.acquired(client as object);
    if (begun === undefined) return contextStorage.run(context, call);
    if (!error) begun.handle?.sent();
    if (!error) return contextStorage.run(context, giveToClient, handOver, begun, client as object, call);
    begun.handle?.end(0, true);
    return contextStorage.run(context, call);
  };
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
  const { query_timeout: timeout, rowMode } = config as PgQuery;
  if (timeout !== undefined) query.query_timeout = timeout;
  // For a tracer below this one, which may make a query of its own from the fields of this one:
  // @opentelemetry/instrumentation-pg does, when it adds comments.
  if (rowMode !== undefined) query.rowMode = rowMode;
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

/**
 * The bare driver calls back in the context of the connection: in none, or in that of whoever opened
 * it. Only the application's callbacks are brought back: on Node 24 a `run()` copies a map, 150 ns.
 */
function watchCallback(
  query: PgQuery,
  handle: QueryHandle | undefined,
  context: RequestContext | undefined,
  isOfApplication: boolean,
): void {
  const callback = callbackOf(query);
  query.callback = function (...args) {
    const [error, result] = args;
    handle?.end(error ? 0 : rowsOf(result), Boolean(error));
    if (!isOfApplication) return callback.apply(this, args);
    return contextStorage.run(context as RequestContext, () => callback.apply(this, args));
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
): unknown {
  if (isSubmittable(config)) {
    if (!config.callback && (typeof values === 'function' || callback)) {
      config.callback = typeof values === 'function' ? values : callback;
    }
    process.nextTick(() => config.handleError?.(error, client.connection));
    return config;
  }
  const [query, result] = ownQuery(client, Query, config, values, callback);
  process.nextTick(callbackOf(query).bind(query), error);
  return result;
}
