import type { TracedCallRecord } from './call-trace';
import type { RepeatFinding } from './repeat-finding';
import type { SlowRecord, StallRecord, TimeRecord } from './time-record';

/** What the queries of one table cost. */
export interface TableCostRecord {
  /** Queries whose main table this is. */
  readonly count: number;
  /** Sum of their durations, in milliseconds. */
  readonly durationMs: number;
  /** Rows that they returned or affected. */
  readonly rows: number;
}

/** What the queries of one statement shape cost. */
export interface ShapeCostRecord {
  /** The statement with every literal and parameter removed. */
  readonly shape: string;
  /** The main table of the statement. */
  readonly table?: string;
  /** How often the shape ran. */
  readonly count: number;
  /** Sum of the durations, in milliseconds. */
  readonly durationMs: number;
  /** Rows returned or affected. */
  readonly rows: number;
  /** Where the application made it (`orders.service.ts:47 loadItems`); known from the 5th repeat on, and below the 25th perhaps that of an earlier request of its handler. */
  readonly callSite?: string;
}

/** What a unit of work asked of its databases. */
export interface QueriesCostRecord {
  /** Queries sent; transaction control is not among them. */
  readonly count: number;
  /** Queries that failed. */
  readonly errors: number;
  /** Queries that change data or schema. */
  readonly writes: number;
  /** BEGIN, COMMIT, ROLLBACK, SAVEPOINT, SET and their like. */
  readonly transactions: number;
  /** Sum of the durations of all queries, in milliseconds; parallel queries count twice. */
  readonly durationMs: number;
  /** Milliseconds that queries waited for a connection of a pool; not part of `durationMs`. */
  readonly waitMs: number;
  /** Milliseconds in which at least one query was under way. */
  readonly busyMs: number;
  /** Rows returned or affected. */
  readonly rows: number;
  /** Bytes received, where the driver knows them; else 0. */
  readonly bytes: number;
  /** The most queries under way, or waiting, at once: 1 means that they ran one after the other. */
  readonly maxConcurrent: number;
  /** Queries made after the unit of work was closed; not part of `count`. */
  readonly late: number;
  /** Cost by main table, at most 100 tables. */
  readonly byTable: Readonly<Record<string, TableCostRecord>>;
  /** Cost by statement shape, most frequent first, at most 100 shapes. */
  readonly shapes: readonly ShapeCostRecord[];
  /** Queries whose shape was not kept, because 100 others were. */
  readonly shapesDropped: number;
}

/** What the calls of one command, host or queue cost. */
export interface TargetCostRecord {
  readonly count: number;
  /** Calls that failed. */
  readonly errors: number;
  /** Sum of their durations, in milliseconds. */
  readonly durationMs: number;
  /** Bytes received, where the driver knows them; else 0. */
  readonly bytes: number;
}

/** What a unit of work asked of caches, of other services or of brokers. */
export interface CallsCostRecord extends TargetCostRecord {
  /** Milliseconds in which at least one call was under way. */
  readonly busyMs: number;
  /** The most calls under way at once. */
  readonly maxConcurrent: number;
  /** Calls made after the unit of work was closed; not part of `count`. */
  readonly late: number;
  /** By command (`GET`), host (`api.example.com`), or queue, topic or subject; at most 50. */
  readonly byTarget: Readonly<Record<string, TargetCostRecord>>;
}

/** What another service has said of its cost. */
export interface RemoteTargetRecord {
  /** Answers that said something: those with at least one query. */
  readonly calls: number;
  readonly queries: number;
  /** Rows returned or affected. */
  readonly rows: number;
  /** Sum of the durations of the queries, in milliseconds. */
  readonly durationMs: number;
}

/** What the services that a unit of work asked have said of their cost, up to the heads of their answers. */
export interface RemoteCostRecord extends RemoteTargetRecord {
  /** By host (`orders.internal:8080`), at most 50. */
  readonly byTarget: Readonly<Record<string, RemoteTargetRecord>>;
}

/** What ran inside `contextService.uncounted(reason, fn)`. */
export interface UncountedCostRecord {
  /** The reason that was given. */
  readonly reason: string;
  readonly queries: number;
  readonly rows: number;
  /** Sum of the durations of the queries, in milliseconds. */
  readonly durationMs: number;
  readonly cache: number;
  readonly http: number;
  readonly messages: number;
}

/** What a unit of work asked for after it was closed. */
export interface LateRecord {
  /** The shape of a query, or the dimension and target of a call (`http api.example.com`). */
  readonly what: string;
  readonly count: number;
}

/** One dimension of one budget that a unit of work exceeded. */
export interface BreachRecord {
  /** `queries`, `rows`, `durationMs`, `writes`, `repeats`, `cache`, `http`, `messages`, `loopBlockMs`, `remoteQueries`, `remoteRows` or `perTable.<table>`. */
  readonly dimension: string;
  /** What was used, in the unit of the dimension. */
  readonly used: number;
  /** What was allowed, in the unit of the dimension. */
  readonly limit: number;
  /** Where the limit was declared: `@QueryBudget on OrdersController`, `forRoot({ budget })`, … */
  readonly from: string;
  /** Set where it was a hard limit, which has stopped the unit of work. */
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
  /** The id that was answered in `x-request-id`. */
  readonly requestId: string;
  /**
   * Its distributed trace, 32 hexadecimal digits; absent when none came in and nobody asked for one: no log
   * line, no other service, no job.
   */
  readonly traceId?: string;
  /** Its own span in that trace, 16 hexadecimal digits; absent where `traceId` is. */
  readonly spanId?: string;
  /** Span of whoever asked for it; absent when nobody did, or when OpenTelemetry knows it. */
  readonly parentSpanId?: string;
  /** Id of the unit of work that started this one. */
  readonly parentRequestId?: string;
  /**
   * Handler of the unit of work that awaited this one and whose record has this cost in it, too: a command or
   * a query of `@nestjs/cqrs`. Sums over records leave those out that have it. Both have one `requestId`.
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
  /** HTTP status; absent when the client left before any was sent. */
  readonly status?: number;
  /** Whether the client left before the response was finished. */
  readonly aborted: boolean;
  /** Class name of the error that the handler ended with. */
  readonly error?: string;
  /** Errors that nobody awaited, until the record was written; absent when there were none. */
  readonly unhandledErrors?: number;
  /** When the unit of work began. */
  readonly startedAt: string;
  /** How long the unit of work took. */
  readonly durationMs: number;
  /** `String(user.id)` when the user has an id. */
  readonly userId?: string;
  /** Whose handler it is: named by the exemption that was in force, else by its budget. */
  readonly owner?: string;
  /** Where the time went; the parts add up to `durationMs`. */
  readonly time: TimeRecord;
  /** Why it was slow; absent for what was faster than `slowAfterMs`, and for jobs. */
  readonly slow?: SlowRecord;
  /** Milliseconds in which it blocked the event loop, in stretches of 50 ms and longer; absent when it did not. */
  readonly blockedMs?: number;
  /** Who else blocked the event loop meanwhile, the longest first, at most 5; absent when nobody did. */
  readonly stalls?: readonly StallRecord[];
  readonly queries: QueriesCostRecord;
  /** Commands to caches; absent when there were none. */
  readonly cache?: CallsCostRecord;
  /** Outbound HTTP requests; absent when there were none. */
  readonly http?: CallsCostRecord;
  /** Messages published; absent when there were none. */
  readonly messages?: CallsCostRecord;
  /** What other services have said of their cost, and of those that they asked; absent when none has. */
  readonly remote?: RemoteCostRecord;
  /** Queries that repeat: duplicates, N+1, fan-outs; absent when there are none. */
  readonly findings?: readonly RepeatFinding[];
  /** What was declared not to count, at most 20 reasons; absent when nothing was. */
  readonly uncounted?: readonly UncountedCostRecord[];
  /** What it asked for after it was closed, most frequent first, at most 20; absent when nothing. */
  readonly late?: readonly LateRecord[];
  /** Calls of providers, most self time first, at most 20; absent unless traced, or when there were none. */
  readonly providerCalls?: readonly TracedCallRecord[];
  readonly breaches: readonly BreachRecord[];
  /** Which guard of this package has refused it, and why; absent where none has. */
  readonly refused?: RefusedRecord;
  /** How many units of work it stands for where `sinkQueue.sample` leaves others out (10 of 0.1); absent means 1. */
  readonly weight?: number;
}
