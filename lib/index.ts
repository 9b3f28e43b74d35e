export { AsyncContextModule } from './module/async-context.module';
export type {
  AsyncContextAsyncOptions,
  AsyncContextOptions,
  AsyncContextOptionsFactory,
} from './module/options';
export type { RequestIdOptions } from './context/request-id';
export type { FindingsOptions } from './cost/findings-options';
export type { SinkQueueOptions } from './sinks/sink-queue-options';
export type { DeadlineOptions } from './units/deadline-options';
export type { PropagateOptions } from './propagation/http/propagate-options';
export { AsyncContextError, type AsyncContextErrorCode } from './kernel/errors';

export { ContextService, type ContextSeed } from './context/context.service';
export type { MeasuredQuery } from './cost/measured-query';
export type { Carrier } from './context/carrier';
export {
  type ContextKey,
  type ContextKeyOptions,
  createContextKey,
  type SchemaResult,
  type ValueSchema,
} from './context/context-key';
export type { LogFields, LogValue } from './context/own-log-fields';
export type { ContextKind, ContextUser } from './context/request-context';
export { ContextLogger, type ContextLoggerOptions } from './reporting/context-logger';
export { type ContextLogFields, contextLogFields } from './reporting/log-fields';
export type { LogFieldNames } from './reporting/log-field-names';
export { RunInContext } from './entry/run-in-context.decorator';

export { ResourceMonitor, type ResourceLeak } from './detectors/resources/resource-monitor';
export type { ResourceMonitorOptions } from './detectors/resources/resource-monitor-options';
export type { ResourceType } from './context/request-context';

export { QueryBudget } from './budget/query-budget.decorator';
export type {
  BudgetBreach,
  BudgetDefaults,
  BudgetDimensions,
  BudgetExemption,
  BudgetFunction,
  BudgetLimits,
  HardLimits,
  HttpMethod,
  IgnoredRepeat,
} from './budget/budget';
export { QueryBudgetExceededError } from './budget/query-budget-exceeded.error';

export type { BreakerOptions } from './guards/breaker/breaker-options';
export type { GuardOptions } from './guards/guard-options';
export type { OverloadOptions, RequestPriority } from './guards/overload/overload-options';
export type { CallerBy } from './guards/caller/caller-by';
export type { ConcurrencyOptions } from './guards/concurrency/concurrency';
export { Concurrency } from './guards/concurrency/concurrency.decorator';
export { ConcurrencyGuard } from './guards/concurrency/concurrency.guard';
export { UserGuard } from './guards/user/user.guard';
export { Public, RequireUser, type RequireUserOptions } from './guards/user/require-user.decorator';
export { CurrentUser, RequestId } from './guards/user/parameters';
export { CostLimit } from './guards/cost-limit/cost-limit.decorator';
export { CostLimitGuard } from './guards/cost-limit/cost-limit.guard';
export type {
  CostLimitDefaults,
  CostLimitOptions,
  CostLimitPoints,
} from './guards/cost-limit/cost-limit-options';
export type { CostLimitLevel, CostLimitStore, CostLimitTake } from './guards/cost-limit/cost-limit-store';
export type { CostPrices } from './guards/cost-limit/cost-prices';
export {
  type MemoryCostLimitOptions,
  MemoryCostLimitStore,
} from './guards/cost-limit/memory-cost-limit.store';
export {
  type IoredisScripts,
  type NodeRedisScripts,
  type RedisCostLimitOptions,
  RedisCostLimitStore,
} from './guards/cost-limit/redis-cost-limit.store';

export { type ProviderInstrument, traceProviders } from './module/trace-providers';

export type { CallDimension } from './cost/call-ledger';
export type { TracedCallRecord } from './cost/call-trace';
export type { RepeatFinding, RepeatParent } from './cost/repeat-finding';
export type { RequestCost } from './cost/request-cost';
export type {
  BreachRecord,
  CallsCostRecord,
  CostRecord,
  LateRecord,
  QueriesCostRecord,
  RemoteCostRecord,
  RefusedRecord,
  RemoteTargetRecord,
  ShapeCostRecord,
  TableCostRecord,
  TargetCostRecord,
  UncountedCostRecord,
} from './cost/cost-record';
export {
  type Attribution,
  type DriverAttribution,
  type EventLoopDelay,
  type OverloadState,
  ProcessFigures,
  type RefusalCount,
  type SinkStats,
} from './record/process-figures';
export type { SlowRecord, StallRecord, TimePart, TimeRecord } from './cost/time-record';
export type { SqlDialect, Statement, StatementKind } from './sql/statement';

export type { HeldStatement, LeaseState, PoolHolder, PoolWait } from './cost/pool-wait';

export type { DriverInstrumentation, QueryReporter } from './instrumentation/driver-instrumentation';
export type { StackBoundary, CallHandle, AcquisitionHandle, QueryHandle } from './cost/query-handle';
export {
  amqplibInstrumentation,
  betterSqlite3Instrumentation,
  bullmqInstrumentation,
  dataloaderInstrumentation,
  defaultInstrumentations,
  dynamodbInstrumentation,
  elasticsearchInstrumentation,
  httpInstrumentation,
  ioredisInstrumentation,
  kafkajsInstrumentation,
  mariadbInstrumentation,
  mongodbInstrumentation,
  mssqlInstrumentation,
  mysql2Instrumentation,
  natsInstrumentation,
  nodeSqliteInstrumentation,
  pgInstrumentation,
  pgliteInstrumentation,
  postgresInstrumentation,
  redisInstrumentation,
  tarnInstrumentation,
} from './drivers/drivers';

export type { CostRecordSink, SinkFailure } from './sinks/cost-record.sink';
export type { AttachedSink, SinkApplication } from './sinks/attached-sink';
export type { ObservedUnit, ObservingSink } from './sinks/observing-sink';
export { MemorySink } from './sinks/memory.sink';
export type { NdjsonFileOptions } from './sinks/files/ndjson-file-options';
export { NdjsonFileSink } from './sinks/ndjson-file.sink';
