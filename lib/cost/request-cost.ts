import type { TracedCallRecord } from './call-trace';
import type { RepeatFinding } from './repeat-finding';

/**
 * Live counters of one unit of work.
 *
 * @example
 * if ((context.cost?.queries ?? 0) > 50) return this.fromCache();
 */
export interface RequestCost {
  /** Queries sent so far; transaction control is not among them. */
  readonly queries: number;
  /** Queries that failed. */
  readonly errors: number;
  /** Queries that change data or schema. */
  readonly writes: number;
  /** BEGIN, COMMIT, ROLLBACK, SAVEPOINT, SET and their like. */
  readonly transactions: number;
  /** Rows returned or affected. */
  readonly rows: number;
  /** Sum of the durations of the queries that have ended, in milliseconds. */
  readonly durationMs: number;
  /** Milliseconds in which at least one query was under way, up to the last moment without any. */
  readonly busyMs: number;
  /** Milliseconds that queries have waited for a connection of a pool. */
  readonly waitMs: number;
  /** Bytes received, where the driver knows them. */
  readonly bytes: number;
  /** Commands to a cache. */
  readonly cache: number;
  /** Outbound HTTP requests. */
  readonly http: number;
  /** Messages published. */
  readonly messages: number;
  /** Queries that the services that were asked have made for it, as far as they have said so. */
  readonly remoteQueries: number;
  /** Rows of these queries. */
  readonly remoteRows: number;
  /** Runs of the one shape whose values came from the rows of an earlier result, so far: an N+1 that is proven. */
  readonly repeats: number;
  /** Milliseconds in which it has blocked the event loop, in stretches of 50 ms and longer. */
  readonly loopBlockMs: number;
  /** The most queries under way at once. */
  readonly maxConcurrent: number;
  /** Queries made after the unit of work was closed. */
  readonly late: number;
  /**
   * Queries that repeat, so far: N+1 with its parent, duplicates, fan-outs, look-ups.
   *
   * @example
   * expect(context.cost?.findings()).toEqual([]);
   */
  findings(): readonly RepeatFinding[];
  /**
   * Calls of providers by class and method, so far, most self time first; empty without
   * `forRoot({ providerCalls: true })`. A call under way counts up to now.
   *
   * @example
   * const [slowest] = context.cost?.providerCalls() ?? [];
   */
  providerCalls(): readonly TracedCallRecord[];
}
