import { contextStorage } from '../../context/context-storage';
import type { RequestContext } from '../../context/request-context';
import type { QueryReporter } from '../../instrumentation/driver-instrumentation';
import { replaceMethod } from '../../kernel/method-replacement';
import { handOver } from './pg-hand-over';

/** On what waits in a pool: its `connect()` was ours. */
const ASKED = Symbol.for('nestjs-async-context.asked');

interface Waiting {
  [ASKED]?: true;
}

/** On a pool in which nothing has waited since: what waited before had no `connect()` of ours to come by. */
const EMPTIED = Symbol('emptied');

/** A pool, and what waits in it. */
export interface Asked {
  readonly [EMPTIED]?: object;
  readonly _pendingQueue?: Waiting[];
}

type NewClient = (this: Asked, waiting: Waiting) => unknown;
type Pulse = (this: Asked) => unknown;

/** Marks what a `connect()` has added to the queue of a pool, which had so many before. */
export function markAsked({ _pendingQueue: queue = [] }: Asked, before: number): void {
  const last = queue.length > before ? queue.at(-1) : undefined;
  if (last !== undefined) last[ASKED] = true;
}

/**
 * Finds the pools whose `connect()` goes past ours: a wrapper on a subclass, or on one pool, has kept the method
 * that was there before. A pool opens a connection before anybody can wait for one, so such a wrapper is covered
 * before a query can be charged to another request. What still comes past runs outside of any request: it is
 * charged to nobody, rather than to whoever gave the connection back.
 *
 * @param cover covers what a class, or a pool, has of its own; whether there was anything
 */
export function findBypasses(
  prototype: object,
  reporter: QueryReporter,
  cover: (at: object) => boolean,
): (() => void)[] {
  let isSaid = false;
  const emptied = {};
  const look = (pool: Asked): Waiting | undefined => {
    const next = pool._pendingQueue?.[0];
    if (next === undefined && pool[EMPTIED] !== emptied)
      Object.defineProperty(pool, EMPTIED, { value: emptied, configurable: true });
    return next;
  };
  const coverAll = (pool: object): boolean => {
    let isFound = false;
    for (let at: object | null = pool; at !== null; at = Object.getPrototypeOf(at) as object | null) {
      isFound = cover(at) || isFound;
      if (at === prototype) break;
    }
    return isFound;
  };
  return [
    ...replaceMethod<NewClient>(prototype, 'newClient', original => {
      return function newClient(waiting) {
        look(this);
        if (handOver.connecting !== this && waiting[ASKED] === undefined) coverAll(this);
        return original.call(this, waiting);
      };
    }),
    ...replaceMethod<Pulse>(prototype, '_pulseQueue', original => {
      return function pulseQueue() {
        const next = look(this);
        if (next === undefined || next[ASKED] === true) return original.call(this);
        if (!coverAll(this) && !isSaid && this[EMPTIED] === emptied) {
          isSaid = true;
          reporter.warn(BYPASSED);
        }
        return contextStorage.run(undefined as unknown as RequestContext, () => original.call(this));
      };
    }),
  ];
}

const BYPASSED =
  'some code calls a `connect` of pg-pool that it saved before nestjs-async-context was set up, so queries that ' +
  'wait for the pool are not attributed to any request: have it call `pool.connect()`';
