/** What a held connection is doing. */
export type LeaseState = 'running' | 'idle' | 'idle in transaction';

/** From when on an application wants to hear of its pools; 0 is never. */
export interface PoolLimits {
  readonly poolWaitMs: number;
  readonly connectionLeakMs: number;
}

/** What some connections of a pool are doing. */
export interface HeldStatement {
  /** `'idle'` is between two statements, `'idle in transaction'` the same in an open transaction. */
  readonly state: LeaseState;
  /** The running or last statement; `undefined` before the first one. */
  readonly shape: string | undefined;
  /** Number of connections in this state. */
  readonly connections: number;
}

/** A holder of pool connections. */
export interface PoolHolder {
  /** `OrdersController.list`, or `outside of any unit of work`. */
  readonly handler: string;
  readonly connections: number;
  /** How many of them belong to units of work that are closed. */
  readonly closed: number;
  /** Milliseconds since its newest and its oldest connection were acquired. */
  readonly minHeldMs: number;
  readonly maxHeldMs: number;
  /** Most connections first, at most 5. */
  readonly statements: readonly HeldStatement[];
}

/**
 * A wait for a connection that was longer than `poolWaitMs`, and the holders of the pool at that moment.
 *
 * @example
 * import type { PoolWait } from 'nestjs-async-context';
 *
 * export const describe = ({ driver, waitedMs, holders }: PoolWait): string =>
 *   `${waitedMs} ms for ${driver}, held by ${holders.map(({ handler }) => handler).join(', ')}`;
 */
export interface PoolWait {
  /** Name of the driver's package. */
  readonly driver: string;
  /** Waiting time in milliseconds, without `stalledMs`; so far, while the wait lasts. */
  waitedMs: number;
  /**
   * Milliseconds of the wait in which something blocked the event loop or other processes used the CPU, for 50 ms or
   * longer at a time; absent if there were none.
   */
  stalledMs?: number;
  /** What blocked it longest: `AuthController.login at auth.service.ts:20 hash`; absent if unknown. */
  stalledBy?: string;
  /** Maximum number of connections of the pool. */
  readonly size: number;
  /** Connections in use. */
  readonly held: number;
  /** Waiting calls, including this one. */
  readonly waiting: number;
  /** Connections that the waiting unit of work held itself, with no statement running on them. */
  readonly own: number;
  /** Waiting calls of the same unit of work, including this one. */
  readonly ownWaiting: number;
  /** Most connections first, at most 10. */
  readonly holders: readonly PoolHolder[];
}
