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
 * Options of `AsyncContextModule.forRoot()`. All of them are optional.
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
  /** Returns the user of a request when neither `setUser()` nor `request.user` provides one. */
  readonly user?: (request: unknown) => ContextUser | undefined;
  /** Limits for handlers that declare none; a number is short for `{ queries: number }`. */
  readonly budget?: number | BudgetLimits | BudgetDefaults;
  /**
   * What happens when a budget is exceeded: `'log'` logs an error after the response, `'throw'` rejects the query
   * that exceeds the limit with `QueryBudgetExceededError` (for tests), and a function is called with the breach.
   * @default 'log'
   */
  readonly onExceeded?: 'log' | 'throw' | ((breach: BudgetBreach) => void);
  /**
   * Milliseconds during which the same breach of the same handler is logged only once.
   * @default 60000
   */
  readonly breachWindowMs?: number;
  /**
   * Maximum number of reports of all kinds that the process logs per minute, at least 2: breaches, slow requests,
   * stalls, late work, lost contexts, unhandled errors, pool waits, leaks and hook errors. Half is reserved for
   * errors. Suppressed reports are counted and summarized in one line a minute. If several applications share a
   * process, the largest value applies.
   * @default 60
   */
  readonly reportsPerMinute?: number;
  /**
   * Duration in milliseconds from which a request is slow: a warning in the log, and `slow` in its record, say
   * where the time went. Jobs are never slow. 0 disables this.
   * @default 1000
   */
  readonly slowAfterMs?: number;
  /**
   * Whether the response reports in `Server-Timing` where the time of the request went: never, always, or if the
   * function returns true. Anyone who receives the response can read it.
   * @default false
   */
  readonly serverTiming?: boolean | ((request: unknown) => boolean);
  /**
   * Duration in milliseconds from which a blocked event loop is a stall, at least 200: a worker thread finds the
   * cause, and an error in the log names it. 0 disables the thread.
   * @default 250
   */
  readonly stallMs?: number;
  /**
   * Milliseconds after the application has started to serve during which stalls are logged at `debug` instead of
   * as errors, because the first requests compile code and open connections. 0 disables the warm-up.
   * @default 10_000
   */
  readonly warmUpMs?: number;
  /**
   * Milliseconds after the close of a unit of work from which further calls are reported as late. 0 disables this.
   * @default 1000
   */
  readonly lateAfterMs?: number;
  /**
   * How queries outside of any request, job or message are reported: one line per minute for all of them (`true`),
   * one line per process (`'once'`), or not at all (`false`). `ignore` excludes the queries of these packages; if
   * several applications share a process, all of them must ignore a package. `processFigures.attribution` counts
   * all of these queries.
   * @default { log: true, ignore: [] }
   * @example
   * AsyncContextModule.forRoot({ lostContexts: { log: 'once', ignore: ['@vendure/core'] } });
   */
  readonly lostContexts?: { readonly log?: boolean | 'once'; readonly ignore?: readonly string[] };
  /**
   * Milliseconds of waiting for a pool connection after which a warning names the holders; 0 disables this.
   * @default 500
   */
  readonly poolWaitMs?: number;
  /**
   * Milliseconds after the end of a unit of work by which its connections must be released; 0 disables this.
   * @default 10000
   */
  readonly connectionLeakMs?: number;
  /**
   * Whether the exception filters answer an HTTP request that is still open when an unhandled error has ended its
   * work.
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
   * Whether calls of providers are counted, by class and method. To cover all providers, set Nest's option
   * `instrument: traceProviders()` as well.
   * @default false
   */
  readonly providerCalls?: boolean;
  /** Where cost records are written. */
  readonly sinks?: readonly CostRecordSink[];
  readonly sinkQueue?: SinkQueueOptions;
  /**
   * Starts the `ResourceMonitor` with the application; `{}` uses its defaults.
   * @default it is not started
   */
  readonly resourceMonitor?: ResourceMonitorOptions;
  /**
   * Signs the user and the values that travel to other services and jobs; unsigned ones are then ignored. At least
   * 16 characters. In a list, the first secret signs and all are accepted.
   * @default nothing is signed, and no user travels
   */
  readonly carrierSecret?: string | readonly string[];
  /**
   * Maximum age in milliseconds of a signed carrier whose user and values are accepted; 0 accepts any age. A number
   * applies to HTTP, messages and jobs; `jobs` also applies to `contextService.resume()`. Two more minutes are
   * tolerated for clock differences. Once this is set, carriers without a timestamp, signed by older versions, are
   * rejected.
   * @default `{ http: 300_000, messages: 86_400_000, jobs: 2_592_000_000 }`: 5 minutes, a day, 30 days
   */
  readonly carrierMaxAgeMs?:
    number | { readonly http?: number; readonly messages?: number; readonly jobs?: number };
  /**
   * Audience that carriers are signed for: services that share a secret accept each other's carriers only with the
   * same name. In a list, the first name is used for signing and all are accepted; `''` stands for carriers without
   * a name.
   * @default every service that has the secret
   */
  readonly carrierAudience?: string | readonly string[];
  /**
   * Selects what is sent of a user, as JSON; `undefined` sends nothing.
   * @default `{ id }`
   */
  readonly carrierUser?: (user: ContextUser) => unknown;
  /**
   * Whether the user and the values of an unsigned carrier are accepted: for services that nobody else can reach, or
   * while a secret is being rolled out.
   * @default false
   */
  readonly trustUnsignedCarriers?: boolean;
  /**
   * Whether the user and the values of a unit of work stay available after its close, for work that continues: a
   * bound callback, a timer, a promise that the handler did not await. They are kept for as long as anything holds
   * the context, such as a connection that was opened in it.
   * @default false
   */
  readonly keepAfterClose?: boolean;
  /**
   * Whether each unit of work logs one line when it closes: never, always, or if the function returns true for its
   * record.
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
  /** Options that all guards of this package share. */
  readonly guards?: GuardOptions;
  /** Whether the deadline of a caller is accepted, and the header that carries it. */
  readonly deadline?: DeadlineOptions;
  /**
   * When requests are refused before they reach the framework because the process cannot keep up.
   * @default never
   */
  readonly overload?: OverloadOptions;
  /**
   * Whether the warning about a failed hook, driver or sink includes the error message, up to 300 characters; it may
   * contain values of a request. The class, the code and the line of the error are always included.
   * @default false
   */
  readonly errorMessages?: boolean;
  /** What carries the context to other services: HTTP requests to the listed hosts, messages and jobs. */
  readonly propagate?: PropagateOptions;
  /**
   * How detailed the report about a unit of work is: a headline and at most eight lines, or everything that is
   * known. The cost record always contains everything.
   * @default 'short'
   */
  readonly reports?: 'short' | 'full';
  /** How repeated queries are detected, and from which number on they are logged. */
  readonly findings?: FindingsOptions;
}

/** Creates the options; implemented by the class that `useClass` or `useExisting` names. */
export interface AsyncContextOptionsFactory {
  createAsyncContextOptions(): AsyncContextOptions | Promise<AsyncContextOptions>;
}

/**
 * Options of `AsyncContextModule.forRootAsync()`: exactly one of the three `use…` options is required.
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
