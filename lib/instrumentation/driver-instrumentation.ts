import type { SqlDialect } from '../cost/statement';

/** A query under way, as a driver sees it. */
export interface QueryHandle {
  /** Ends the query: rows returned or affected, and whether it failed. Only the first call counts. */
  end(rows: number, failed?: boolean): void;
}

/** The one thing that a driver instrumentation reports to. */
export interface QueryReporter {
  /**
   * Counts a query towards the current unit of work; call it where the application made the query,
   * before it is sent. `undefined` means that nothing is to be ended.
   *
   * `below` is the function whose callers are the application's: the stack starts there.
   *
   * @throws QueryBudgetExceededError with `onExceeded: 'throw'`: do not send the query, and give
   * the error to the caller in the way the driver gives its own.
   */
  begin(
    text: string | undefined,
    dialect: SqlDialect,
    below: (...args: never[]) => unknown,
  ): QueryHandle | undefined;
  /** Says, once, that something is not as this instrumentation expects. */
  warn(message: string): void;
}

/**
 * Makes one database driver report its queries.
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
  /** Installs it and returns what takes it back; `undefined` when the driver is not there. */
  install(reporter: QueryReporter): (() => void) | undefined;
}
