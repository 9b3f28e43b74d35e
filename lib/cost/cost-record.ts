import type { TracedCallRecord } from './call-trace';
import type { RepeatFinding } from './repeat-finding';
import type { SlowRecord, StallRecord, TimeRecord } from './time-record';

/** Cost of the queries of one table. */
export interface TableCostRecord {
  /** Number of queries whose main table this is. */
  readonly count: number;
  /** Sum of their durations in milliseconds. */
  readonly durationMs: number;
  /** Rows returned or affected. */
  readonly rows: number;
}

/** Cost of the queries of one statement shape. */
export interface ShapeCostRecord {
  /** The statement with every literal and parameter removed. */
  readonly shape: string;
  /** The main table of the statement. */
  readonly table?: string;
  /** Number of runs of the shape. */
  readonly count: number;
  /** Sum of their durations in milliseconds. */
  readonly durationMs: number;
  /** Rows returned or affected. */
  readonly rows: number;
  /**
   * Where the application made the query (`orders.service.ts:47 loadItems`); known from the 5th repeat on, and for the
   * slowest shape and that with most rows. Below the 25th repeat, possibly taken from an earlier request of the handler.
   */
  readonly callSite?: string;
}

/** What a unit of work requested from its databases. */
export interface QueriesCostRecord {
  /** Queries sent, without transaction control. */
  readonly count: number;
  /** Failed queries. */
  readonly errors: number;
  /** Queries that change data or schema. */
  readonly writes: number;
  /** `BEGIN`, `COMMIT`, `ROLLBACK`, `SAVEPOINT`, `SET` and similar statements. */
  readonly transactions: number;
  /**
   * Sum of all query durations in milliseconds; parallel queries are each counted in full. Stretches of 50 ms or longer
   * in which other work blocked the event loop, or other processes used the CPU, are left out: no answer could be read.
   */
  readonly durationMs: number;
  /** Milliseconds that queries waited for a pool connection; not included in `durationMs`. */
  readonly waitMs: number;
  /** Milliseconds in which at least one query was running. */
  readonly busyMs: number;
  /** Rows returned or affected. */
  readonly rows: number;
  /** Bytes received, if the driver knows them; otherwise 0. */
  readonly bytes: number;
  /** Maximum number of queries running or waiting at once; 1 means that they ran sequentially. */
  readonly maxConcurrent: number;
  /** Queries made after the unit of work was closed; not included in `count`. */
  readonly late: number;
  /** Cost by main table, at most 100 tables. */
  readonly byTable: Readonly<Record<string, TableCostRecord>>;
  /** Cost by statement shape, most frequent first, at most 100 shapes. */
  readonly shapes: readonly ShapeCostRecord[];
  /** Queries whose shape was not kept because 100 others were. */
  readonly shapesDropped: number;
}

/** Cost of the calls to one target: a command, a host or a queue. */
export interface TargetCostRecord {
  readonly count: number;
  /** Failed calls. */
  readonly errors: number;
  /** Sum of their durations in milliseconds. */
  readonly durationMs: number;
  /** Bytes received, if the driver knows them; otherwise 0. */
  readonly bytes: number;
  /**
   * Where the application made the call (`shipping.service.ts:17 quotes`); known from the 5th call on, possibly taken
   * from an earlier request of the handler.
   */
  readonly callSite?: string;
}

/** Calls of a unit of work to caches, other services or brokers. */
export interface CallsCostRecord extends TargetCostRecord {
  /** Milliseconds in which at least one call was running. */
  readonly busyMs: number;
  /** Maximum number of calls running at once. */
  readonly maxConcurrent: number;
  /** Calls made after the unit of work was closed; not included in `count`. */
  readonly late: number;
  /** By command (`GET`), host (`api.example.com`), or queue, topic or subject; at most 50. */
  readonly byTarget: Readonly<Record<string, TargetCostRecord>>;
}

/** Cost that another service has reported. */
export interface RemoteTargetRecord {
  /** Responses that reported at least one query. */
  readonly calls: number;
  readonly queries: number;
  /** Rows returned or affected. */
  readonly rows: number;
  /** Sum of the query durations in milliseconds. */
  readonly durationMs: number;
}

/** Cost that the called services have reported in the headers of their responses. */
export interface RemoteCostRecord extends RemoteTargetRecord {
  /** By host (`orders.internal:8080`), at most 50. */
  readonly byTarget: Readonly<Record<string, RemoteTargetRecord>>;
}

/** What ran inside `contextService.uncounted(reason, fn)`. */
export interface UncountedCostRecord {
  /** The given reason. */
  readonly reason: string;
  readonly queries: number;
  readonly rows: number;
  /** Sum of the query durations in milliseconds. */
  readonly durationMs: number;
  readonly cache: number;
  readonly http: number;
  readonly messages: number;
}

/** A call of a unit of work after it was closed. */
export interface LateRecord {
  /** The shape of a query, or the dimension and target of a call (`http api.example.com`). */
  readonly what: string;
  readonly count: number;
}

/** One dimension of one budget that a unit of work exceeded. */
export interface BreachRecord {
  /** `queries`, `rows`, `durationMs`, `writes`, `repeats`, `cache`, `http`, `messages`, `loopBlockMs`, `remoteQueries`, `remoteRows` or `perTable.<table>`. */
  readonly dimension: string;
  /** The value, in the unit of the dimension. */
  readonly used: number;
  /** The limit, in the unit of the dimension. */
  readonly limit: number;
  /** Where the limit was declared: `@QueryBudget on OrdersController`, `forRoot({ budget })`, … */
  readonly from: string;
  /** Set if it was a hard limit, which has stopped the unit of work. */
  readonly hard?: true;
}

/** Which guard has refused a unit of work. */
export interface RefusedRecord {
  /** `user`, `cost-limit`, `concurrency` or `breaker`. */
  readonly by: string;
  /** `no-user`, `not-allowed`, `spent`, … */
  readonly reason: string;
}

/**
 * The immutable summary of one unit of work, written once, after it closed.
 *
 * Durations are milliseconds, times are ISO 8601 in UTC. It holds no parameter value, no
 * literal, no header and no body.
 *
 * @example
 * class ConsoleSink implements CostRecordSink {
 *   readonly name = 'console';
 *   write(records: readonly CostRecord[]): void {
 *     for (const record of records) console.log(record.handler, record.queries.count);
 *   }
 * }
 */
export interface CostRecord {
  /** Version of this schema. */
  readonly v: 1;
  /** The id that was returned in `x-request-id`. */
  readonly requestId: string;
  /**
   * Id of its distributed trace, 32 hexadecimal digits; absent if none came in and none was needed for a log line,
   * another service or a job.
   */
  readonly traceId?: string;
  /** Its own span in that trace, 16 hexadecimal digits; absent if `traceId` is. */
  readonly spanId?: string;
  /** Span of the caller; absent without a caller, or if OpenTelemetry records the caller. */
  readonly parentSpanId?: string;
  /** Id of the unit of work that started this one. */
  readonly parentRequestId?: string;
  /**
   * Handler of the unit of work that awaited this one and whose record includes this cost: for a command or a query
   * of `@nestjs/cqrs`. Exclude records with this field from sums. Both records have the same `requestId`.
   */
  readonly within?: string;
  /** `http`, `graphql`, `rpc`, `websocket` or `job`. */
  readonly kind: string;
  /** Class and method that Nest chose: `OrdersController.list`. */
  readonly handler?: string;
  /** Method and pattern (`GET /orders/:id`), never the raw URL. */
  readonly route?: string;
  /** HTTP method. */
  readonly method?: string;
  /** HTTP status; absent if the client disconnected before any was sent. */
  readonly status?: number;
  /** Whether the client disconnected before the response was complete. */
  readonly aborted: boolean;
  /** Class name of the error that the handler ended with. */
  readonly error?: string;
  /** Unhandled errors until the record was written; absent if there were none. */
  readonly unhandledErrors?: number;
  /** When the unit of work began. */
  readonly startedAt: string;
  /** Duration of the unit of work. */
  readonly durationMs: number;
  /** `String(user.id)` if the user has an id. */
  readonly userId?: string;
  /** Owner of the handler: from the exemption in force, otherwise from its budget. */
  readonly owner?: string;
  /** Where the time went; the parts add up to `durationMs`. */
  readonly time: TimeRecord;
  /** Why it was slow; absent if it was faster than `slowAfterMs`, and for jobs. */
  readonly slow?: SlowRecord;
  /** Milliseconds that it blocked the event loop, counting blocks of 50 ms or longer; absent if it did not. */
  readonly blockedMs?: number;
  /** Other work that blocked the event loop in the meantime, longest first, at most 5; absent if there was none. */
  readonly stalls?: readonly StallRecord[];
  readonly queries: QueriesCostRecord;
  /** Cache commands; absent if there were none. */
  readonly cache?: CallsCostRecord;
  /** Outbound HTTP requests; absent if there were none. */
  readonly http?: CallsCostRecord;
  /** Published messages; absent if there were none. */
  readonly messages?: CallsCostRecord;
  /** Cost that other services have reported, including services that they called; absent if none has. */
  readonly remote?: RemoteCostRecord;
  /** Repeated queries: duplicates, N+1s, fan-outs; absent if there are none. */
  readonly findings?: readonly RepeatFinding[];
  /** Work declared as uncounted, at most 20 reasons; absent if there was none. */
  readonly uncounted?: readonly UncountedCostRecord[];
  /** Calls after it was closed, most frequent first, at most 20; absent if there were none. */
  readonly late?: readonly LateRecord[];
  /** Calls of providers, most self time first, at most 20; absent if not traced, or if there were none. */
  readonly providerCalls?: readonly TracedCallRecord[];
  readonly breaches: readonly BreachRecord[];
  /** The guard of this package that refused it, and why; absent if none did. */
  readonly refused?: RefusedRecord;
  /** Number of units of work that it stands for if `sinkQueue.sample` omits others (10 for 0.1); absent means 1. */
  readonly weight?: number;
}
