import type { ContextService } from '../context/context.service';
import type { CostRecord } from '../cost/cost-record';

/** Dimensions that can be limited in a unit of work; omitted ones are unlimited. */
export interface BudgetDimensions {
  /** Number of queries, without transaction control. */
  readonly queries?: number;
  /** Rows returned or affected by all queries. */
  readonly rows?: number;
  /** Milliseconds of database time: the sum of all query durations, without waiting for a pool connection. */
  readonly durationMs?: number;
  /** Number of queries that change data or schema. */
  readonly writes?: number;
  /**
   * Runs of one statement shape for the rows of an earlier result, that is, of a proven N+1; 0 allows none. It is
   * known when the last run is made.
   */
  readonly repeats?: number;
  /** Number of cache commands. */
  readonly cache?: number;
  /** Number of outbound HTTP requests. */
  readonly http?: number;
  /** Number of messages published to a broker or a queue. */
  readonly messages?: number;
  /** Milliseconds that it blocks the event loop, counting blocks of 50 ms or longer. */
  readonly loopBlockMs?: number;
  /** Queries that called services made for it; known when they have responded. */
  readonly remoteQueries?: number;
  /** Rows of these queries. */
  readonly remoteRows?: number;
  /** Queries by main table. `orders` also matches `public.orders`. */
  readonly perTable?: Readonly<Record<string, number>>;
}

/**
 * Limits that stop a unit of work, regardless of `onExceeded`. The query that exceeds a limit is not sent and is
 * rejected with `QueryBudgetExceededError`, as are all later ones; transactions that commit after that are rolled back.
 * A call to a cache, another service or a broker is not sent if it exceeds the limit of its own dimension and its
 * driver allows rejecting it.
 *
 * @example
 * const hard: HardLimits = { queries: 1_000, durationMs: 5_000, deadlineMs: 10_000, status: 503 };
 */
export interface HardLimits extends BudgetDimensions {
  /**
   * Milliseconds of wall time since the unit of work began. After that, database queries are rejected,
   * `contextService.signal` aborts; before that, the remaining time is sent to the services that are called.
   * @default no deadline
   */
  readonly deadlineMs?: number;
  /**
   * HTTP status, from 400 to 599, of the response if the error of a hard limit ends the request.
   * @default 503
   */
  readonly status?: number;
}

/**
 * The maximum cost of a handler in one unit of work; omitted dimensions are unlimited.
 *
 * @example
 * const limits: BudgetLimits = { queries: 100, rows: 10_000, durationMs: 500, perTable: { orders: 5 } };
 */
export interface BudgetLimits extends BudgetDimensions {
  /**
   * Limits that stop the unit of work.
   * @default none
   */
  readonly hard?: HardLimits;
  /**
   * Owner of the handler, at most 100 characters: for the breach report, the record and the labels of metrics.
   * @default none
   */
  readonly owner?: string;
}

/**
 * Returns the limits of one unit of work, synchronously: for example for its plan or its tenant.
 *
 * @example
 * const byTenant: BudgetFunction = context => (context.get('tenant') === 'internal' ? { queries: 1_000 } : 100);
 */
export type BudgetFunction = (context: ContextService) => number | BudgetLimits;

/** Higher limits for a while, with a ticket and an end date. */
export interface BudgetExemption extends BudgetLimits {
  /** Where the debt is tracked: a URL or a ticket number. */
  readonly issue: string;
  /**
   * Who pays it off: the owner while the exemption applies.
   * @default the owner of the handler
   */
  readonly owner?: string;
  /** Last day on which the exemption applies, `YYYY-MM-DD` in UTC. */
  readonly until: string;
}

/** A statement shape whose repeats are accepted for a while. */
export interface IgnoredRepeat {
  /** The shape as the log shows it, even if the log has truncated it with `…`. */
  readonly shape: string;
  /** Why the repeats are acceptable. */
  readonly reason: string;
  /** Last day on which they are ignored, `YYYY-MM-DD` in UTC. */
  readonly until: string;
}

/** Argument of `onExceeded`: one dimension of one budget that a unit of work has exceeded. */
export interface BudgetBreach {
  /** The name in `BudgetLimits`: `queries`, `rows`, …, `perTable.<table>`. */
  readonly dimension: string;
  /** What was used, in the unit of the dimension. */
  readonly used: number;
  /** What was allowed, in the unit of the dimension. */
  readonly limit: number;
  /** Where the limit was declared. */
  readonly from: string;
  /** Set if it was a hard limit, which has stopped the unit of work. */
  readonly hard?: true;
  /** Groups breaches of the same handler and dimensions; stable across processes and releases. */
  readonly fingerprint: string;
  /** Everything else about the unit of work. */
  readonly record: CostRecord;
}

/** HTTP methods that a default budget can be set for. */
export type HttpMethod = 'GET' | 'HEAD' | 'POST' | 'PUT' | 'PATCH' | 'DELETE' | 'OPTIONS';

/** Default budgets, in general and by HTTP method. */
export interface BudgetDefaults {
  /** For every handler that declares none. */
  readonly default?: BudgetLimits;
  /** For handlers that declare none, by HTTP method of the request. */
  readonly byMethod?: Partial<Readonly<Record<HttpMethod, BudgetLimits>>>;
}
