import type { ContextService } from '../context/context.service';
import type { CostRecord } from '../cost/cost-record';

/** What a unit of work can be limited in; what is left out is not limited. */
export interface BudgetDimensions {
  /** Queries; transaction control is not among them. */
  readonly queries?: number;
  /** Rows returned or affected, of all queries. */
  readonly rows?: number;
  /** Milliseconds of database time: the sum of the durations of all queries, without their wait for a pool. */
  readonly durationMs?: number;
  /** Queries that change data or schema. */
  readonly writes?: number;
  /**
   * Runs of the one shape that grows with the rows of an earlier result: 0 says that there is to be
   * no N+1. It is known when the last run is made.
   */
  readonly repeats?: number;
  /** Commands to a cache. */
  readonly cache?: number;
  /** Outbound HTTP requests. */
  readonly http?: number;
  /** Messages published to a broker or a queue. */
  readonly messages?: number;
  /** Milliseconds in which it blocks the event loop, in stretches of 50 ms and longer. */
  readonly loopBlockMs?: number;
  /** Queries that the services that it asks make for it; known when they have answered. */
  readonly remoteQueries?: number;
  /** Rows of these queries. */
  readonly remoteRows?: number;
  /** Queries by main table. `orders` also means `public.orders`. */
  readonly perTable?: Readonly<Record<string, number>>;
}

/**
 * Limits that stop a unit of work, whatever `onExceeded` says. The query that crosses one is not sent and rejects
 * with `QueryBudgetExceededError`, as do all that follow; what is then committed is rolled back. A call to a cache,
 * to another service or to a broker is kept back where it crosses the limit of its own dimension and its driver
 * allows it.
 *
 * @example
 * const hard: HardLimits = { queries: 1_000, durationMs: 5_000, deadlineMs: 10_000, status: 503 };
 */
export interface HardLimits extends BudgetDimensions {
  /**
   * Milliseconds of wall time from the begin of the unit of work on. What it asks of a database after that is
   * rejected, `contextService.signal` aborts, and what is left goes to the services that it asks.
   * @default no deadline
   */
  readonly deadlineMs?: number;
  /**
   * Status, from 400 to 599, of the HTTP answer where the error of a hard limit ends the request.
   * @default 503
   */
  readonly status?: number;
}

/**
 * The most that a handler may cost in one unit of work; what is left out is not limited.
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
   * Whose handler it is, at most 100 characters: for the line of a breach, the record and the labels of metrics.
   * @default nobody's
   */
  readonly owner?: string;
}

/**
 * Gives the limits of one unit of work, at once: for its plan, or its tenant.
 *
 * @example
 * const byTenant: BudgetFunction = context => (context.get('tenant') === 'internal' ? { queries: 1_000 } : 100);
 */
export type BudgetFunction = (context: ContextService) => number | BudgetLimits;

/** A higher ceiling for a while, with a ticket and an end. */
export interface BudgetExemption extends BudgetLimits {
  /** Where the debt is written down: a URL or a ticket number. */
  readonly issue: string;
  /**
   * Who pays it off: the owner while the exemption counts.
   * @default whose handler it is
   */
  readonly owner?: string;
  /** Last day on which the exemption counts, `YYYY-MM-DD` in UTC. */
  readonly until: string;
}

/** A shape whose repeats are known and accepted for a while. */
export interface IgnoredRepeat {
  /** The shape as the log gives it, also when the log has cut it with `…`. */
  readonly shape: string;
  /** Why it may repeat. */
  readonly reason: string;
  /** Last day on which it is ignored, `YYYY-MM-DD` in UTC. */
  readonly until: string;
}

/** What `onExceeded` is called with: one dimension of one budget exceeded by one unit of work. */
export interface BudgetBreach {
  /** The name in `BudgetLimits`: `queries`, `rows`, …, `perTable.<table>`. */
  readonly dimension: string;
  /** What was used, in the unit of the dimension. */
  readonly used: number;
  /** What was allowed, in the unit of the dimension. */
  readonly limit: number;
  /** Where the limit was declared. */
  readonly from: string;
  /** Set where it was a hard limit, which has stopped the unit of work. */
  readonly hard?: true;
  /** Groups breaches of the same handler and dimensions; stable over processes and releases. */
  readonly fingerprint: string;
  /** Everything else about the unit of work. */
  readonly record: CostRecord;
}

/** HTTP methods that a default budget can be declared for. */
export type HttpMethod = 'GET' | 'HEAD' | 'POST' | 'PUT' | 'PATCH' | 'DELETE' | 'OPTIONS';

/** Budgets by default and by HTTP method. */
export interface BudgetDefaults {
  /** For each handler that declares none. */
  readonly default?: BudgetLimits;
  /** For handlers that declare none, by the method of the request. */
  readonly byMethod?: Partial<Readonly<Record<HttpMethod, BudgetLimits>>>;
}
