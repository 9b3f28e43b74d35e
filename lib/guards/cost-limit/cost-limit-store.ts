/** A request to the bucket of one caller. */
export interface CostLimitTake {
  /** Policy and caller: printable ASCII of at most 140 characters. */
  readonly key: string;
  /** Capacity of the bucket, in points; anything above it is lost. */
  readonly burst: number;
  /** Points restored per second. */
  readonly restorePerSecond: number;
  /** Minimum level required, or else nothing is taken; `-Infinity` takes in any case. */
  readonly need: number;
  /** Points to take; a negative number gives points back. */
  readonly take: number;
}

/** The result of a take. */
export interface CostLimitLevel {
  /** Whether the bucket had at least the required points, so that they were taken. */
  readonly admitted: boolean;
  /** Points now in the bucket; negative if it is in debt. */
  readonly level: number;
}

/**
 * Stores the buckets of `@CostLimit()`. An unknown bucket is full.
 *
 * It has one operation, which must be atomic: refill the bucket for the time since it was last accessed, up to
 * `burst`; if it then holds at least `need` points, take `take` points, even below zero; return the remaining level.
 * A level can be any number, including a fraction; no caller may see an intermediate state.
 *
 * @example
 * class NoLimit implements CostLimitStore {
 *   take({ burst }: CostLimitTake): CostLimitLevel {
 *     return { admitted: true, level: burst };
 *   }
 * }
 */
export interface CostLimitStore {
  /** An error, a rejection, or an answer after `timeoutMs` is a failure: see `onStoreFailure`. */
  take(take: CostLimitTake): CostLimitLevel | Promise<CostLimitLevel>;
  /** Called when the application closes. Clients that were passed in belong to the application. */
  close?(): void | Promise<void>;
}
