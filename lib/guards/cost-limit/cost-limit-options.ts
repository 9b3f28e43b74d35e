import type { ContextService } from '../../context/context.service';
import type { CallerBy } from '../caller/caller-by';
import type { CostLimitStore } from './cost-limit-store';
import type { CostPrices } from './cost-prices';

/** A number of points, or a function that returns it, for example by plan. The function may be asynchronous. */
export type CostLimitPoints = number | ((context: ContextService) => number | Promise<number>);

/** Limits the cost of a caller: a bucket of points that is refilled at a steady rate. */
export interface CostLimitOptions {
  /** Capacity of the bucket, and its initial level; a function may return `Infinity` for no limit. */
  readonly burst: CostLimitPoints;
  /** Points restored per second. */
  readonly restorePerSecond: CostLimitPoints;
  /**
   * What identifies a caller, and so a bucket: the user (by `user.id`), the address (`request.ip`, as determined by the
   * application's `trust proxy`), the value of a context key, or the result of a function. Callers that it does not
   * identify get buckets by address, separate from the others.
   */
  readonly by: CallerBy;
  /**
   * Price in points of what a request uses; omitted prices have their defaults.
   * @default { query: 1, row: 0.01, databaseMs: 0.1, blockedMs: 1, remoteQuery: 1, cache: 0, http: 0, message: 0 }
   */
  readonly cost?: CostPrices;
  /**
   * Minimum number of points to reserve before the handler runs. It also allows a caller to run several requests at
   * once before the cost of the handler is known.
   * @default the 95th percentile of the last 100 requests of the handler
   */
  readonly estimate?: number;
  /**
   * Name of the policy for clients and the log; policies with the same name share their buckets. Up to 64 characters of
   * `A-Z a-z 0-9 _ . -`.
   * @default the class, or class and method, that it is declared on; `default` for the limit of the module
   */
  readonly name?: string;
  /**
   * Whether to only count and log what would be refused.
   * @default `forRoot({ guards: { dryRun } })`
   */
  readonly dryRun?: boolean;
  /**
   * Milliseconds after which a request that is still running is charged for its cost so far, and for the rest later.
   * @default 60,000
   */
  readonly maxHoldMs?: number;
}

/** Options that all `@CostLimit()` of an application share. */
export interface CostLimitDefaults {
  /** For handlers that declare none, if `CostLimitGuard` is a guard of the application or of the class. */
  readonly default?: CostLimitOptions;
  /**
   * Where the buckets are stored.
   * @default new MemoryCostLimitStore()
   */
  readonly store?: CostLimitStore;
  /**
   * What happens while the store fails or takes longer than `timeoutMs`: `'memory'` limits with buckets in this
   * process, `'admit'` lets everyone in, `'refuse'` responds with 503.
   * @default 'memory'
   */
  readonly onStoreFailure?: 'memory' | 'admit' | 'refuse';
  /**
   * Milliseconds that a request waits for the store.
   * @default 100
   */
  readonly timeoutMs?: number;
}
