import type { ContextService } from '../../context/context.service';
import type { CallerBy } from '../caller/caller-by';
import type { CostLimitStore } from './cost-limit-store';
import type { CostPrices } from './cost-prices';

/** A number of points, or a function that knows it, of a plan for one. It may be asynchronous. */
export type CostLimitPoints = number | ((context: ContextService) => number | Promise<number>);

/** How much a caller may cost: a bucket of points that is refilled at a steady pace. */
export interface CostLimitOptions {
  /** The most points that a caller can have, and has at first; by a function `Infinity` is no limit. */
  readonly burst: CostLimitPoints;
  /** Points that come back each second. */
  readonly restorePerSecond: CostLimitPoints;
  /**
   * Who has a bucket: each user of the context (by `user.id`), each address (`request.ip`, which is what the
   * application's `trust proxy` makes of it), each value of a key of the context, or of a function. For whom it
   * gives nothing, the address is taken, in buckets of their own.
   */
  readonly by: CallerBy;
  /**
   * Points for what a request uses; what is left out has its default.
   * @default { query: 1, row: 0.01, databaseMs: 0.1, blockedMs: 1, remoteQuery: 1, cache: 0, http: 0, message: 0 }
   */
  readonly cost?: CostPrices;
  /**
   * The least points to reserve before the handler runs. It also lets a handler run more than once at a time for
   * one caller before its cost is known.
   * @default what 95 of the last 100 requests of the handler have cost at most
   */
  readonly estimate?: number;
  /**
   * What clients and the log call it, and which buckets are meant: policies of one name share them. Up to 64 of
   * `A-Z a-z 0-9 _ . -`.
   * @default the class, or the class and method, that it is declared on; `default` for that of the module
   */
  readonly name?: string;
  /**
   * Whether it only counts and logs whom it would refuse.
   * @default what `forRoot({ guards: { dryRun } })` says
   */
  readonly dryRun?: boolean;
  /**
   * After so many milliseconds what the request has cost by then is charged, and the rest later.
   * @default 60,000
   */
  readonly maxHoldMs?: number;
}

/** What all `@CostLimit()` of an application have in common. */
export interface CostLimitDefaults {
  /** For each handler that declares none, where `CostLimitGuard` is a guard of the application or of the class. */
  readonly default?: CostLimitOptions;
  /**
   * Where the buckets are.
   * @default new MemoryCostLimitStore()
   */
  readonly store?: CostLimitStore;
  /**
   * What happens while the store fails, or takes longer than `timeoutMs`: `'memory'` limits with buckets of this
   * process, `'admit'` lets everybody in, `'refuse'` answers 503.
   * @default 'memory'
   */
  readonly onStoreFailure?: 'memory' | 'admit' | 'refuse';
  /**
   * How long a request waits for the store, in milliseconds.
   * @default 100
   */
  readonly timeoutMs?: number;
}
