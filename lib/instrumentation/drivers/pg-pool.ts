import { contextStorage, oncePerProcess } from '../../context/context-storage';
import type { RequestContext } from '../../context/request-context';
import type { CheckoutHandle, QueryReporter } from '../driver-instrumentation';
import { isReplaced, replaceMethod } from '../method-replacement';
import { giveToClient, type HandOver, type PoolQuery } from './pg-hand-over';
import { textOf, valuesOf } from './pg-query';

type Callback = (this: unknown, error: unknown, ...results: unknown[]) => unknown;
type PoolMethod = (this: PgPool, ...args: unknown[]) => unknown;
type Release = (this: PgPool, client: object, ...rest: unknown[]) => unknown;

interface PgPool {
  /** The promise class that the application gave to the pool. */
  readonly Promise: PromiseConstructor;
  readonly options: { readonly max: number };
  readonly idleCount: number;
  readonly waitingCount: number;
  readonly ending: boolean;
  readonly Client?: { readonly prototype: object };
}

/**
 * Which query of a pool its client is given. Shared by all copies of this package: one may have replaced
 * the pool and another the client.
 */
export const handOver = oncePerProcess<HandOver>('pg', () => ({ begun: undefined, ready: undefined }));

/** Counts a query where the application makes it, and says who waits for a client, and who holds one. */
export function coverPool(pool: unknown, reporter: QueryReporter): (() => void)[] {
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
  const knowsRelease = isReplaced(prototype, '_release');
  if (!knowsRelease) {
    reporter.warn('this version of pg-pool has no Pool#_release, so who holds its connections is not known');
  }
  const undoConnect = replaceMethod<PoolMethod>(prototype, 'connect', original => {
    return function connect(...args) {
      const [callback] = args;
      // A subclass may connect another pool first.
      const begun = handOver.begun?.pool === this ? handOver.begun : undefined;
      if (begun !== undefined) handOver.begun = undefined;
      const checkout = knowsRelease
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
