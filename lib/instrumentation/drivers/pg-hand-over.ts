import { oncePerProcess } from '../../context/context-storage';
import type { QueryHandle } from '../driver-instrumentation';
import { isReplaced } from '../method-replacement';

/** A `pool.query()`: counted where the application called it, sent by a client later on. */
export interface PoolQuery {
  readonly pool: object;
  readonly config: unknown;
  readonly values: unknown;
  readonly below: (...args: never[]) => unknown;
  /** Without one, the callback that the pool gives its client only settles a promise. */
  readonly hasCallback: boolean;
  handle: QueryHandle | undefined;
  client: PooledClient | undefined;
}

/** How a pool tells its client which query is counted already. */
export interface HandOver {
  /** Set while `pool.query()` runs, for the `pool.connect()` that it calls. */
  begun: PoolQuery | undefined;
  /** Set while a client is given to it, for the `client.query()` that it calls. */
  ready: PoolQuery | undefined;
  /** The pool whose `connect()` runs. */
  connecting: object | undefined;
  /** By client, once there is one: a subclass may do something asynchronous before it sends what it was given. */
  deferred?: WeakMap<object, PoolQuery>;
}

/**
 * Which query of a pool its client is given. Shared by all copies of this package: one may have replaced
 * the pool and another the client.
 */
export const handOver = oncePerProcess<HandOver>('pg', () => ({
  begun: undefined,
  ready: undefined,
  connecting: undefined,
}));

interface PooledClient {
  release?: (this: unknown, ...args: unknown[]) => unknown;
}

/** Gives the query of a pool to its client while `call` runs, which sends it. */
export function giveToClient(query: PoolQuery, client: PooledClient, call: () => unknown): unknown {
  query.client = client;
  handOver.ready = query;
  const isSubclass = !isReplaced(Object.getPrototypeOf(client) as object, 'query', 'own');
  if (isSubclass) endOnRelease(query, client);
  try {
    return call();
  } finally {
    if (handOver.ready === query) {
      handOver.ready = undefined;
      if (isSubclass && query.client !== undefined) {
        (handOver.deferred ??= new WeakMap()).set(client, query);
      }
    }
  }
}

/** The query of a pool that this call of `client.query()` sends. */
export function takeFromPool(client: object, config: unknown, callback: unknown): PoolQuery | undefined {
  const { ready, deferred } = handOver;
  if (ready !== undefined) {
    if (!isSame(ready, client, config, callback)) return undefined;
    handOver.ready = undefined;
    return ready;
  }
  const late = deferred?.get(client);
  if (late === undefined || !isSame(late, client, config, callback)) return undefined;
  deferred?.delete(client);
  return late;
}

/** A subclass may answer, or throw, without having sent anything. */
function endOnRelease(query: PoolQuery, client: PooledClient): void {
  const { release } = client;
  client.release = function (...args) {
    query.client = undefined;
    if (handOver.deferred?.get(client) === query) handOver.deferred.delete(client);
    // Only the first end counts: that of the query, if it was sent.
    query.handle?.end(0, Boolean(args[0]));
    return release?.apply(this, args);
  };
}

/**
 * A pool gives its query a callback and no other. A client that sends something of its own first (a
 * subclass that sets a tenant, a tracer) gives it none; one that rewrites the text keeps the callback.
 */
function isSame(query: PoolQuery, client: object, config: unknown, callback: unknown): boolean {
  return query.client === client && (config === query.config || typeof callback === 'function');
}
