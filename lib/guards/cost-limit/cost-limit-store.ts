/** What is asked of the bucket of one caller. */
export interface CostLimitTake {
  /** Policy and caller: printable ASCII of at most 140 characters. */
  readonly key: string;
  /** The most that the bucket holds, in points; what is above it is lost. */
  readonly burst: number;
  /** Points that come back each second. */
  readonly restorePerSecond: number;
  /** The least points that must be in it, or nothing is taken; `-Infinity` takes anyway. */
  readonly need: number;
  /** Points to take; below 0 they are given back. */
  readonly take: number;
}

/** What came of it. */
export interface CostLimitLevel {
  /** Whether there were as many points as were needed, and so were taken. */
  readonly admitted: boolean;
  /** Points that are in the bucket now; below 0 it is in debt. */
  readonly level: number;
}

/**
 * Where the buckets of `@CostLimit()` are kept. A bucket that is not known is full.
 *
 * It has one operation, which must be atomic: refill the bucket for the time since it was last asked, to at most
 * `burst`; if at least `need` points are in it, take `take` of them, also below zero; say how many are left.
 * A level may be any number, and a fraction; nobody may see one between the steps.
 *
 * @example
 * class NoLimit implements CostLimitStore {
 *   take({ burst }: CostLimitTake): CostLimitLevel {
 *     return { admitted: true, level: burst };
 *   }
 * }
 */
export interface CostLimitStore {
  /** What it throws, or rejects with, and an answer after `timeoutMs`, are a failure: see `onStoreFailure`. */
  take(take: CostLimitTake): CostLimitLevel | Promise<CostLimitLevel>;
  /** Called when the application is closed. Clients that were handed in are those of the application. */
  close?(): void | Promise<void>;
}
