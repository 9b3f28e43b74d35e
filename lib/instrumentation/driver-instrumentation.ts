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
 * The one thing that a driver instrumentation reports to.
 *
 * A begin belongs where the application makes the call, before it is sent; its handle is carried to
 * where the call ends. `undefined` means that nothing is to be ended. Text and parameters are kept by reference
 * until the unit of work ends, and nothing else that is given here.
 */
export interface QueryReporter {
  /**
   * Counts a statement towards the current unit of work.
   *
   * `parameters` are compared, by a hash, with those of other runs, to find duplicates; without them, a
   * text that has placeholders is compared with none.
   *
   * `on` is the connection that it is sent on, or the checkout that it waits for: who waits for the pool
   * is told what its connections are in. The wait is then that of the query: say `queued()` to both.
   *
   * @throws QueryBudgetExceededError with `onExceeded: 'throw'`: do not send the query, and give
   * the error to the caller in the way the driver gives its own.
   */
  begin(
    text: string | undefined,
    dialect: SqlDialect,
    stackBoundary: StackBoundary,
    parameters?: unknown,
    on?: object,
  ): QueryHandle | undefined;
  /**
   * The same for what has no text: an operation on a collection, an index or a table. Without
   * `parameters` it is compared with none.
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
   * Counts what is not a query. `target` is a command, a host or a queue: a name, never a value.
   *
   * @throws QueryBudgetExceededError as `begin()` does
   */
  beginCall(dimension: CallDimension, target: string, stackBoundary: StackBoundary): CallHandle | undefined;
  /**
   * Says that the application asks a pool for a connection; the wait is counted, and a connection that
   * outlives its unit of work is a leak. `size` is the most connections that the pool may have.
   */
  beginAcquisition(pool: object, size: number, stackBoundary: StackBoundary): AcquisitionHandle | undefined;
  /** Says that a connection was given back, or closed; one that was not acquired is ignored. */
  released(connection: object): void;
  /** Counts the time until `end()` as waiting for a pool whose connections are not known. */
  beginWait(): { end(): void } | undefined;
  /** Runs `fn` without counting what it calls, now or later: it is part of a call that is counted. */
  uncharged<T>(fn: () => T): T;
  /** Says, once, that something is not as this instrumentation expects. */
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
 * Installed when the first application of the process starts that wants it, taken back when the
 * last one is closed.
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
  /** Name of the package of the driver. */
  readonly name: string;
  /**
   * Installs it and returns what takes it back; `undefined` when the driver is not there, or when
   * there is nothing left to do. It is called again for what was loaded later.
   */
  install(reporter: QueryReporter): (() => void) | undefined;
}
