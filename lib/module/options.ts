import type {
  DynamicModule,
  ForwardReference,
  InjectionToken,
  OptionalFactoryDependency,
  Type,
} from '@nestjs/common';
import type { BudgetBreach, BudgetDefaults, BudgetLimits } from '../budget/budget';
import type { ContextService } from '../context/context.service';
import type { LogFields } from '../context/own-log-fields';
import type { ContextUser } from '../context/request-context';
import type { RequestIdOptions } from '../context/request-id';
import type { CostRecord } from '../cost/cost-record';
import type { FindingsOptions } from '../cost/findings-options';
import type { ResourceMonitorOptions } from '../detectors/resources/resource-monitor-options';
import type { OverloadOptions } from '../guards/overload/overload-options';
import type { DeadlineOptions } from '../units/deadline-options';
import type { GuardOptions } from '../guards/guard-options';
import type { DriverInstrumentation } from '../instrumentation/driver-instrumentation';
import type { PropagateOptions } from '../propagation/http/propagate-options';
import type { CostRecordSink } from '../sinks/cost-record.sink';
import type { SinkQueueOptions } from '../sinks/sink-queue-options';

/**
 * Options of `AsyncContextModule.forRoot()`. Each may be left out.
 *
 * @example
 * AsyncContextModule.forRoot({
 *   requestId: { trust: true },
 *   budget: { default: { queries: 100 }, byMethod: { POST: { writes: 20 } } },
 *   sinks: [new NdjsonFileSink({ path: 'cost.ndjson' })],
 * });
 */
export interface AsyncContextOptions {
  /**
   * `false` turns off everything but the context and the guards: nothing is counted, watched, reported or recorded,
   * and no driver is touched. For unit tests, scripts, or to find out whether this package is the cause of something.
   * @default true
   */
  readonly enabled?: boolean;
  readonly requestId?: Partial<RequestIdOptions>;
  /** Says who the user of a request is when neither `setUser()` nor `request.user` does. */
  readonly user?: (request: unknown) => ContextUser | undefined;
  /** What a handler may cost that declares nothing itself; a number is short for `{ queries: number }`. */
  readonly budget?: number | BudgetLimits | BudgetDefaults;
  /**
   * What happens when a budget is exceeded: an error in the log after the response, the query that
   * crosses the limit rejected with `QueryBudgetExceededError` (for tests), or a call.
   * @default 'log'
   */
  readonly onExceeded?: 'log' | 'throw' | ((breach: BudgetBreach) => void);
  /**
   * Milliseconds in which the same breach of the same handler is logged once.
   * @default 60000
   */
  readonly breachWindowMs?: number;
  /**
   * Reports of all kinds that the process writes to the log in a minute, at least 2: breaches, slow
   * requests, stalls, late work, context loss, unhandled errors, waits for pools, leaks and hook errors. Half of it is
   * for errors alone. What is held back is counted, and said in one line a minute. Of several applications
   * in one process the largest holds.
   * @default 60
   */
  readonly reportsPerMinute?: number;
  /**
   * Milliseconds from which on a request is slow: a warning in the log, and `slow` in its record, say
   * where its time went. Jobs are never slow. 0 for none.
   * @default 1000
   */
  readonly slowAfterMs?: number;
  /**
   * Whether the response says in `Server-Timing` where the time of the request went: never, always, or
   * when the function says so. Everybody who gets the response can read it.
   * @default false
   */
  readonly serverTiming?: boolean | ((request: unknown) => boolean);
  /**
   * Milliseconds from which on a blocked event loop is a stall, at least 200: a worker thread finds out
   * who it was, and an error in the log says so. 0 for no such thread.
   * @default 250
   */
  readonly stallMs?: number;
  /**
   * Milliseconds after the application has begun to serve in which stalls are written at `debug` instead of as
   * errors: the first requests compile code and open connections. 0 for none.
   * @default 10_000
   */
  readonly warmUpMs?: number;
  /**
   * Milliseconds after the close from which on work of a unit of work is reported as late. 0 for never.
   * @default 1000
   */
  readonly lateAfterMs?: number;
  /**
   * What is said of queries that run outside of any request, job or message: one line a minute for all of them, one
   * in the life of the process (`'once'`), or none. `ignore` leaves out those that a package makes; where several
   * applications share a process, all have to. The count in `processFigures.attribution` is of all.
   * @default { log: true, ignore: [] }
   * @example
   * AsyncContextModule.forRoot({ lostContexts: { log: 'once', ignore: ['@vendure/core'] } });
   */
  readonly lostContexts?: { readonly log?: boolean | 'once'; readonly ignore?: readonly string[] };
  /**
   * Milliseconds of waiting for a connection of a pool after which a warning says who holds them; 0 is never.
   * @default 500
   */
  readonly poolWaitMs?: number;
  /**
   * Milliseconds after the end of a unit of work in which its connections must be released; 0 is never.
   * @default 10000
   */
  readonly connectionLeakMs?: number;
  /**
   * Whether an HTTP request that still waits gets the answer of its exception filters when an error
   * that nobody awaits has ended its work.
   * @default false
   */
  readonly answerUnhandledErrors?: boolean;
  /**
   * Clients whose calls are counted: every supported one that is installed (`'auto'`), the same without some of them
   * (`{ kafkajs: false }`), or a list, such as `[...defaultInstrumentations(), myInstrumentation()]`.
   * @default 'auto'
   */
  readonly instrumentations?: 'auto' | Readonly<Record<string, boolean>> | readonly DriverInstrumentation[];
  /**
   * Whether the calls of providers are counted by class and method; wants Nest's option
   * `instrument: traceProviders()` beside it.
   * @default false
   */
  readonly providerCalls?: boolean;
  /** Where cost records go. */
  readonly sinks?: readonly CostRecordSink[];
  readonly sinkQueue?: SinkQueueOptions;
  /**
   * Starts the `ResourceMonitor` with the application; `{}` takes its defaults.
   * @default it is not started
   */
  readonly resourceMonitor?: ResourceMonitorOptions;
  /**
   * Signs the user and the values that travel to other services and jobs; unsigned ones are then not
   * believed. At least 16 characters. Of several, the first signs and all are accepted.
   * @default nothing is signed, and no user travels
   */
  readonly carrierSecret?: string | readonly string[];
  /**
   * How old a signed carrier may be whose user and values are believed, in milliseconds; 0 for any age. A number
   * is for all ways that one comes; `jobs` is also for `contextService.resume()`. Two minutes more are allowed
   * for clocks that differ. Once it is given, a carrier that an older version signed, without a time, is not believed.
   * @default `{ http: 300_000, messages: 86_400_000, jobs: 2_592_000_000 }`: 5 minutes, a day, 30 days
   */
  readonly carrierMaxAgeMs?:
    number | { readonly http?: number; readonly messages?: number; readonly jobs?: number };
  /**
   * For whom carriers are signed: of several services with one secret, those of one name believe each other. Of
   * several names, the first is signed for and all are accepted; `''` stands for carriers without a name.
   * @default whoever has the secret
   */
  readonly carrierAudience?: string | readonly string[];
  /**
   * What of a user travels, as JSON; `undefined` for nothing.
   * @default `{ id }`
   */
  readonly carrierUser?: (user: ContextUser) => unknown;
  /**
   * Whether the user and the values of an unsigned carrier are believed: where nobody else can send to
   * this service, or while a secret is rolled out.
   * @default false
   */
  readonly trustUnsignedCarriers?: boolean;
  /**
   * Whether the user and the values of a unit of work stay after its close, for work that goes on: a bound
   * callback, a timer, what the handler did not await. They stay for as long as anything holds its context, such as
   * a connection that it has opened.
   * @default false
   */
  readonly keepAfterClose?: boolean;
  /**
   * Whether each unit of work writes one line to the log when it has closed: never, always, or when the
   * function says so of its record.
   * @default false
   */
  readonly canonicalLog?: boolean | ((record: CostRecord) => boolean);
  /**
   * Fields of your own for each log line of a unit of work, its reports and its canonical line, beside those of keys
   * with `log: true`. Called for each line, so keep it cheap; strings are cut at 200 characters, and a line has at most
   * 20 fields of yours. If it throws, the error is reported and the line is written without them.
   * @example
   * AsyncContextModule.forRoot({ logFields: context => ({ tenant: context.get<string>('tenant'), version: '1.4.2' }) });
   */
  readonly logFields?: (context: ContextService) => LogFields | undefined;
  /** What all guards of this package have in common. */
  readonly guards?: GuardOptions;
  /** Whose word is taken for how long a caller still waits. */
  readonly deadline?: DeadlineOptions;
  /**
   * When requests are refused in front of the framework because the process cannot keep up.
   * @default never
   */
  readonly overload?: OverloadOptions;
  /**
   * Whether a warning about a hook, a driver or a sink that failed says the text of its error, which may hold
   * values of a request: up to 300 characters. Its class, its code and its line are said anyway.
   * @default false
   */
  readonly errorMessages?: boolean;
  /** What the context travels with: HTTP to the hosts that are listed, messages and jobs of your own. */
  readonly propagate?: PropagateOptions;
  /**
   * How much the report about a unit of work says: a headline and at most eight lines, or all that is known. The
   * cost record has all of it in any case.
   * @default 'short'
   */
  readonly reports?: 'short' | 'full';
  /** What an N+1 is told by, and from when on it is worth a line. */
  readonly findings?: FindingsOptions;
}

/** Makes the options; what `useClass` and `useExisting` name. */
export interface AsyncContextOptionsFactory {
  createAsyncContextOptions(): AsyncContextOptions | Promise<AsyncContextOptions>;
}

/**
 * Options of `AsyncContextModule.forRootAsync()`: exactly one of the three `use…`.
 *
 * @example
 * AsyncContextModule.forRootAsync({
 *   imports: [ConfigModule],
 *   inject: [ConfigService],
 *   useFactory: (config: ConfigService) => ({ budget: config.get<number>('QUERY_BUDGET') }),
 * });
 */
export interface AsyncContextAsyncOptions {
  readonly imports?: (Type | DynamicModule | Promise<DynamicModule> | ForwardReference)[];
  readonly inject?: (InjectionToken | OptionalFactoryDependency)[];
  // The parameters are what `inject` names; only the application knows their types.
  readonly useFactory?: (...dependencies: never[]) => AsyncContextOptions | Promise<AsyncContextOptions>;
  readonly useClass?: Type<AsyncContextOptionsFactory>;
  readonly useExisting?: InjectionToken<AsyncContextOptionsFactory>;
}
