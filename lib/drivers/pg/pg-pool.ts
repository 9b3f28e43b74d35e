import { currentRedirect, runAgain } from '../../context/charge-redirect';
import { contextStorage } from '../../context/context-storage';
import { runAndNote } from '../../context/thrown-context';
import type { OwnQueryReporter } from '../../instrumentation/driver-instrumentation';
import type { AcquisitionHandle } from '../../cost/query-handle';
import { isReplaced, replaceMethod, replaceMethods } from '../../kernel/method-replacement';
import { takeBack } from '../../kernel/take-back';
import { type Asked, findBypasses, markAsked } from './pg-bypass';
import { isHeldByStopped } from '../../instrumentation/stopped-holder';
import { rollBack } from './pg-rollback';
import { handOver, isPlain, type PooledClient, PoolQuery } from './pg-hand-over';
import { textOf, valuesOf } from './pg-query';

type Callback = (this: unknown, error: unknown, ...results: unknown[]) => unknown;
type PoolMethod = (this: PgPool, ...args: unknown[]) => unknown;
type Release = (this: PgPool, client: object, listener: unknown, failure?: unknown) => unknown;

interface PgPool extends Asked {
  /** The promise class that the application gave to the pool. */
  readonly Promise: PromiseConstructor;
  readonly options: { readonly max: number };
  readonly idleCount: number;
  readonly waitingCount: number;
  readonly ending: boolean;
  readonly Client?: { readonly prototype: PooledClient };
}

/** Counts a query where the application makes it, and says who waits for a client, and who holds one. */
export function coverPool(pool: unknown, reporter: OwnQueryReporter): (() => void)[] {
  const { prototype } = pool as { prototype: object };
  const undo = replaceMethod<Release>(prototype, '_release', original => {
    return function release(client, listener, failure) {
      const isStopped = isHeldByStopped(client);
      reporter.released(client);
      // One that has failed is closed, and its transaction with it.
      if (!isStopped || failure) return original.call(this, client, listener, failure);
      rollBack(client, reporter, error => void original.call(this, client, listener, error));
      return undefined;
    };
  });
  if (!isReplaced(prototype, '_release')) {
    reporter.warn(
      'this version of pg-pool has no Pool#_release, so the holders of its connections are unknown',
    );
  }
  undo.push(...coverMethods(prototype, reporter));
  undo.push(
    ...findBypasses(prototype, reporter, at => {
      const more = coverMethods(at, reporter);
      undo.push(...more);
      return more.length > 0;
    }),
  );
  return undo.length === 0 ? [] : [() => takeBack(undo)];
}

/**
 * Covers the methods of a class, or of one pool, that it has of its own: a wrapper that was put on `pg.Pool`, as
 * dd-trace does, may have kept the methods that the class above had before this package.
 */
export function coverMethods(prototype: object, reporter: OwnQueryReporter): (() => void)[] {
  const knowsRelease = isReplaced(prototype, '_release');
  return [
    ...replaceMethods<PoolMethod>([prototype], 'query', original => {
      return function query(...args) {
        const [config, values, callback] = args;
        const outer = handOver.begun;
        const isQuery = config !== null && config !== undefined && typeof config !== 'function';
        const hasCallback = typeof values === 'function' || Boolean(callback);
        // What its client does not count (pg-native) would never end.
        handOver.begun =
          isQuery && (isPlain(this.Client?.prototype) || isReplaced(this.Client?.prototype, 'query'))
            ? new PoolQuery(this, config, valuesOf(config, values), query, hasCallback)
            : undefined;
        try {
          return original.apply(this, args);
        } finally {
          handOver.begun = outer;
        }
      };
    }),
    ...replaceMethods<PoolMethod>([prototype], 'connect', original => {
      return function connect(...args) {
        const outer = handOver.connecting;
        handOver.connecting = this;
        const queued = this._pendingQueue?.length ?? 0;
        try {
          return askForClient(this, original, args, reporter, knowsRelease, connect);
        } finally {
          handOver.connecting = outer;
          markAsked(this, queued);
        }
      };
    }),
  ];
}

function askForClient(
  pool: PgPool,
  original: PoolMethod,
  args: unknown[],
  reporter: OwnQueryReporter,
  knowsRelease: boolean,
  connect: PoolMethod,
): unknown {
  const [callback] = args;
  // A subclass may connect another pool first.
  const begun = handOver.begun?.pool === pool ? handOver.begun : undefined;
  if (begun !== undefined) handOver.begun = undefined;
  if (begun !== undefined && typeof callback === 'function')
    return askForQuery(pool, original, callback as Callback, begun, reporter, knowsRelease);
  const acquisition = knowsRelease ? reporter.beginAcquisition(pool, pool.options.max, connect) : undefined;
  if (typeof callback !== 'function') {
    // What the bare driver refuses is its own to refuse.
    if (acquisition === undefined || callback || pool.ending) return original.apply(pool, args);
    return connectWithPromise(pool, original, acquisition);
  }
  if (!hasFree(pool)) acquisition?.queued();
  try {
    return original.call(pool, bindToCaller(callback as Callback, acquisition));
  } catch (error) {
    acquisition?.failed();
    throw error;
  }
}

function askForQuery(
  pool: PgPool,
  connect: PoolMethod,
  callback: Callback,
  query: PoolQuery,
  reporter: OwnQueryReporter,
  knowsRelease: boolean,
): unknown {
  const { config, stackBoundary, values } = query;
  const text = textOf(config);
  try {
    if (knowsRelease) {
      reporter.beginPooled(
        query,
        pool,
        pool.options.max,
        hasFree(pool),
        text,
        'postgresql',
        stackBoundary,
        values,
      );
    } else {
      query.handle = reporter.begin(text, 'postgresql', stackBoundary, values, pool);
    }
  } catch (error) {
    process.nextTick(callback, error);
    return undefined;
  }
  try {
    return connect.call(pool, query.waitFor(callback));
  } catch (error) {
    query.failed();
    throw error;
  }
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
function connectWithPromise(
  pool: PgPool,
  connect: PoolMethod,
  acquisition: AcquisitionHandle,
): Promise<unknown> {
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
  if (!hasFree(pool)) acquisition.queued();
  try {
    connect.call(pool, (error: unknown, client: object) => {
      if (error) acquisition.failed();
      else acquisition.acquired(client);
      if (error) reject(error);
      else resolve(client);
    });
  } catch (error) {
    acquisition.failed();
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
function bindToCaller(callback: Callback, acquisition: AcquisitionHandle | undefined): Callback {
  const captured = contextStorage.capture();
  const redirect = currentRedirect();
  return function (...args) {
    const [error, client] = args;
    if (error) acquisition?.failed();
    else acquisition?.acquired(client as object);
    return runAndNote(captured, () => runAgain(redirect, () => callback.apply(this, args)));
  };
}
