/** What a connection is busy with, while it is held. */
export type LeaseState = 'running' | 'idle' | 'idle in transaction';

/** From when on an application wants to hear of its pools; 0 is never. */
export interface PoolLimits {
  readonly poolWaitMs: number;
  readonly connectionLeakMs: number;
}

/** What connections of a pool are busy with. */
export interface HeldStatement {
  /** `'idle'` is between two statements, `'idle in transaction'` the same while a transaction is open. */
  readonly state: LeaseState;
  /** The statement that runs, or ran last; `undefined` before the first. */
  readonly shape: string | undefined;
  /** Connections that are in it. */
  readonly connections: number;
}

/** Who held connections of a pool. */
export interface PoolHolder {
  /** `OrdersController.list`, or `outside of any unit of work`. */
  readonly handler: string;
  readonly connections: number;
  /** How many of them were of units of work that are closed. */
  readonly closed: number;
  /** Milliseconds since the youngest and the oldest of them was acquired. */
  readonly minHeldMs: number;
  readonly maxHeldMs: number;
  /** Most connections first, at most 5. */
  readonly statements: readonly HeldStatement[];
}

/**
 * A wait for a connection that was longer than `poolWaitMs`, and who held the pool at that moment.
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
  /** Milliseconds that were waited; so far, while the wait lasts. */
  waitedMs: number;
  /** The most connections that the pool may have. */
  readonly size: number;
  /** Connections that were checked out. */
  readonly held: number;
  /** Calls that waited, this one among them. */
  readonly waiting: number;
  /** Connections that the waiting unit of work held itself, with no statement running on them. */
  readonly own: number;
  /** Of the calls that waited, those of the same unit of work, this one among them. */
  readonly ownWaiting: number;
  /** Most connections first, at most 10. */
  readonly holders: readonly PoolHolder[];
}
