import type { CallDimension } from '../cost/call-ledger';
import type { GivenValues } from '../cost/evidence/operation-values';
import type { SqlDialect, Statement } from '../sql/statement';
import type {
  StackBoundary,
  CallHandle,
  AcquisitionHandle,
  OwnQueryHandle,
  QueryHandle,
} from '../cost/query-handle';
import type { PooledQuery } from '../detectors/pools/pooled-query';

/**
 * Receives the calls of a driver from its instrumentation.
 *
 * Call a `begin…()` method where the application makes the call, before it is sent, and pass the handle on to where
 * the call ends. If it returns `undefined`, there is nothing to end. Text and parameters are kept by reference until
 * the unit of work ends; nothing else is kept.
 */
export interface QueryReporter {
  /**
   * Counts a statement towards the current unit of work.
   *
   * `parameters` are compared with those of other runs, by hash, to find duplicates; without them, a text with
   * placeholders is compared with none.
   *
   * `on` is the connection that it is sent on, or the checkout that it waits for, so that reports on pool waits can
   * name the statement. The wait is then that of the query: call `queued()` on both handles.
   *
   * @throws QueryBudgetExceededError with `onExceeded: 'throw'`: do not send the query, and pass the error to the
   * caller in the same way as the driver's own errors.
   */
  begin(
    text: string | undefined,
    dialect: SqlDialect,
    stackBoundary: StackBoundary,
    parameters?: unknown,
    on?: object,
  ): QueryHandle | undefined;
  /**
   * The same for an operation without a text, on a collection, an index or a table. Without `parameters` it is
   * compared with none.
   *
   * @throws QueryBudgetExceededError as `begin()` does
   */
  beginOperation(
    operation: Statement,
    stackBoundary: StackBoundary,
    parameters?: unknown,
    on?: object,
  ): QueryHandle | undefined;
  /**
   * Counts a call that is not a query. `target` is a command, a host or a queue: a name, never a value.
   *
   * @throws QueryBudgetExceededError as `begin()` does
   */
  beginCall(dimension: CallDimension, target: string, stackBoundary: StackBoundary): CallHandle | undefined;
  /**
   * Call this when the application requests a connection from a pool; the wait is counted, and a connection that
   * outlives its unit of work is reported as a leak. `size` is the maximum number of connections of the pool.
   */
  beginAcquisition(pool: object, size: number, stackBoundary: StackBoundary): AcquisitionHandle | undefined;
  /** Call this when a connection was released or closed; unknown connections are ignored. */
  released(connection: object): void;
  /** Counts the time until `end()` as waiting for a pool whose connections are unknown. */
  beginWait(): { end(): void } | undefined;
  /** Runs `fn` without counting the calls that it makes, now or later: they are part of a call that is counted. */
  uncharged<T>(fn: () => T): T;
  /** Logs, once, that something is not as this instrumentation expects. */
  warn(message: string): void;
}

/** What the drivers of this package report to. */
export interface OwnQueryReporter extends QueryReporter {
  /** @param values what its fields are compared with, to find which rows they are of */
  beginOperation(
    operation: Statement,
    stackBoundary: StackBoundary,
    parameters?: unknown,
    on?: object,
    values?: GivenValues,
  ): OwnQueryHandle | undefined;
  /**
   * Says where the application asks a pool for a statement, which will be begun when nothing of the application is on
   * the stack any more.
   */
  noteCall(text: string, dialect: SqlDialect, stackBoundary: StackBoundary): void;
  /**
   * Counts a statement that is made on a pool, which finds a connection for it and takes that back at its end. Say
   * `acquired()` or `failed()` to `query`, and `end()` to its handle, if it has one.
   *
   * @param size the most connections that the pool may have
   * @param isFree whether it has a connection at once; else the query waits from now on
   * @throws QueryBudgetExceededError as `begin()` does
   */
  beginPooled(
    query: PooledQuery,
    pool: object,
    size: number,
    isFree: boolean,
    text: string | undefined,
    dialect: SqlDialect,
    stackBoundary: StackBoundary,
    parameters?: unknown,
  ): void;
}

/**
 * Makes one driver report its queries.
 *
 * It is installed when the first application of the process that uses it starts, and removed when the last one
 * closes.
 *
 * @example
 * const instrumentation: DriverInstrumentation = {
 *   name: 'my-driver',
 *   install(reporter) {
 *     const query = Connection.prototype.query;
 *     Connection.prototype.query = function (text: string) {
 *       const handle = reporter.begin(text, 'generic', Connection.prototype.query);
 *       try {
 *         const rows = query.call(this, text);
 *         handle?.end(rows.length);
 *         return rows;
 *       } catch (error) {
 *         handle?.end(0, true);
 *         throw error;
 *       }
 *     };
 *     return () => {
 *       Connection.prototype.query = query;
 *     };
 *   },
 * };
 */
export interface DriverInstrumentation {
  /** Package name of the driver. */
  readonly name: string;
  /**
   * Installs it and returns a function that removes it; `undefined` if the driver is not loaded, or if there is
   * nothing left to do. It is called again for what was loaded later.
   */
  install(reporter: QueryReporter): (() => void) | undefined;
}
