import { type ChargeRedirect, currentRedirect, runAgain } from '../../context/charge-redirect';
import { contextStorage } from '../../context/context-storage';
import { oncePerProcess } from '../../kernel/once-per-process';
import type { Captured } from '../../context/context-store';
import { runAndNote } from '../../context/thrown-context';
import { PooledQuery } from '../../detectors/pools/pooled-query';
import type { StackBoundary } from '../../cost/query-handle';

type Callback = (this: unknown, error: unknown, ...results: unknown[]) => unknown;

/** On a `client.query()` of ours that no other tool has wrapped, above or below. */
const PLAIN = Symbol.for('nestjs-async-context.plain-query');

export interface PooledClient {
  query?: { [PLAIN]?: unknown };
  release?: (this: unknown, ...args: unknown[]) => unknown;
}

/** How a pool tells its client which query is counted already. */
export interface HandOver {
  /** Set while `pool.query()` runs, for the `pool.connect()` that it calls. */
  begun: PoolQuery | undefined;
  /** Set while a client is given to it, for the `client.query()` that it calls. */
  ready: PoolQuery | undefined;
  /** The pool whose `connect()` runs. */
  connecting: object | undefined;
  /** By client, once there is one: its own `query()` may do something asynchronous before it sends what it was given. */
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

/** A `pool.query()`: counted where the application called it, sent by a client later on. */
export class PoolQuery extends PooledQuery {
  client: PooledClient | undefined = undefined;
  captured: Captured = undefined;
  redirect: ChargeRedirect | undefined = undefined;
  /** What pg-pool has `connect()` call. */
  #send: Callback | undefined = undefined;

  /** @param hasCallback without one, the callback that the pool gives its client only settles a promise */
  constructor(
    readonly pool: object,
    readonly config: unknown,
    readonly values: unknown,
    readonly stackBoundary: StackBoundary,
    readonly hasCallback: boolean,
  ) {
    super();
  }

  /** The callback for `connect()`: it is called in the context of who gave the connection back. */
  waitFor(send: Callback): Callback {
    this.captured = contextStorage.capture();
    this.redirect = currentRedirect();
    this.#send = send;
    return (error, client, release) => this.#resume(error, client as PooledClient, release);
  }

  #resume(error: unknown, client: PooledClient, release: unknown): unknown {
    if (error) {
      this.failed();
      return this.#runInContext(() => this.#send?.(error, client, release));
    }
    this.acquired(client);
    // What follows is pg's own until the query is sent: it needs no context, and `run()` costs 150 to 430 ns.
    if (isPlain(client)) return this.#give(client, release, false);
    endOnRelease(this, client);
    return this.#runInContext(() => this.#give(client, release, true));
  }

  #give(client: PooledClient, release: unknown, mayBeLate: boolean): unknown {
    this.client = client;
    handOver.ready = this;
    try {
      return this.#send?.(undefined, client, release);
    } finally {
      if (handOver.ready === this) {
        handOver.ready = undefined;
        if (mayBeLate && this.client !== undefined) (handOver.deferred ??= new WeakMap()).set(client, this);
      }
    }
  }

  #runInContext(call: () => unknown): unknown {
    return runAndNote(this.captured, () => runAgain(this.redirect, call));
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

/** Whether a class of clients counts its queries, and no other tool has wrapped them. */
export function isPlain(client: PooledClient | undefined): boolean {
  const query = client?.query;
  // A tool may copy all that is on a function to the one that it puts around it, as dd-trace does.
  return query !== undefined && query[PLAIN] === query;
}

/** Says of a `client.query()` of ours that it calls the driver's own: while a client has no other, pools hand over at once. */
export function markPlain(query: object): void {
  Object.defineProperty(query, PLAIN, { value: query });
}

/** Whoever has a `query()` of its own, a subclass or one client, may answer, or throw, without having sent anything. */
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
