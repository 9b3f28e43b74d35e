import type { TracedCallRecord } from './call-trace';
import type { RepeatFinding } from './repeat-finding';

/**
 * Live counters of one unit of work.
 *
 * @example
 * if ((context.cost?.queries ?? 0) > 50) return this.fromCache();
 */
export interface RequestCost {
  /** Queries sent so far, without transaction control. */
  readonly queries: number;
  /** Failed queries. */
  readonly errors: number;
  /** Queries that change data or schema. */
  readonly writes: number;
  /** `BEGIN`, `COMMIT`, `ROLLBACK`, `SAVEPOINT`, `SET` and similar statements. */
  readonly transactions: number;
  /** Rows returned or affected. */
  readonly rows: number;
  /** Sum of the durations of finished queries, in milliseconds. */
  readonly durationMs: number;
  /** Milliseconds in which at least one query was running, up to the last moment without any. */
  readonly busyMs: number;
  /** Milliseconds that queries have waited for a pool connection. */
  readonly waitMs: number;
  /** Bytes received, if the driver knows them. */
  readonly bytes: number;
  /** Cache commands. */
  readonly cache: number;
  /** Outbound HTTP requests. */
  readonly http: number;
  /** Published messages. */
  readonly messages: number;
  /** Queries that called services made for it, as far as they have reported them. */
  readonly remoteQueries: number;
  /** Rows of these queries. */
  readonly remoteRows: number;
  /** Runs so far of the one shape whose values came from the rows of an earlier result: a proven N+1. */
  readonly repeats: number;
  /** Milliseconds that it has blocked the event loop, counting blocks of 50 ms or longer. */
  readonly loopBlockMs: number;
  /** Maximum number of queries running at once. */
  readonly maxConcurrent: number;
  /** Queries made after the unit of work was closed. */
  readonly late: number;
  /**
   * Repeated queries so far: N+1s with their parents, duplicates, fan-outs, look-ups.
   *
   * @example
   * expect(context.cost?.findings()).toEqual([]);
   */
  findings(): readonly RepeatFinding[];
  /**
   * Calls of providers so far, by class and method, most self time first; empty without
   * `forRoot({ providerCalls: true })`. A running call is counted up to now.
   *
   * @example
   * const [slowest] = context.cost?.providerCalls() ?? [];
   */
  providerCalls(): readonly TracedCallRecord[];
}
