import type { Columns } from './evidence/kept-results';
import type { ReadsRows } from './unread-rows';

/** The instrumented function: the call site is the application's frame above it. */
export type StackBoundary = (...args: never[]) => unknown;

/** A running query, as a driver instrumentation sees it. */
export interface QueryHandle {
  /** Call this right after `begin()` if the query waits for a pool connection. */
  queued(): void;
  /**
   * Call this when the query has got its connection: the time up to now counts as waiting, the rest as query time.
   * `nowMs` is `performance.now()`, if the driver instrumentation has read it already.
   */
  sent(nowMs?: number): void;
  /** Reports rows received while more are to come, such as a batch of a cursor. */
  received(rows: number): void;
  /**
   * Passes the received rows before the application gets them: objects, or arrays with their column names. Some of
   * them are kept by reference until the unit of work ends; they are never changed.
   */
  returned(rows: readonly unknown[], columns?: Columns): void;
  /** The same for a driver that returns rows one by one and keeps none of them. */
  returnedOne(row: unknown, columns?: Columns): void;
  /**
   * Ends the query with the rows returned or affected, whether it failed, and the bytes received if the driver knows
   * them. Only the first call counts.
   */
  end(rows: number, failed?: boolean, bytes?: number): void;
}

/** What the drivers of this package are given for one. */
export interface OwnQueryHandle extends QueryHandle {
  /**
   * Shows rows that have come as bytes, which are read only where they are compared with something.
   *
   * @param keep called at once, unless nobody compares values; what it gives reads the first of them, and may be
   * called later, more than once, or never
   * @param mayWait whether what it reads from may be kept until then: else it is called at once
   */
  returnedUnread(count: number, keep: () => ReadsRows, mayWait: boolean): void;
}

/** A running call that is not a query: a cache command, an HTTP request, a published message. */
export interface CallHandle {
  /** Ends the call: whether it failed, and the bytes received if known. Only the first call counts. */
  end(failed?: boolean, bytes?: number): void;
}

/** A request for a pool connection. */
export interface AcquisitionHandle {
  /** Call this if it has to wait. Without it nothing is measured, because most get a free connection at once. */
  queued(): void;
  /** Call this with the connection, which is held until `released()`. Only the first outcome counts. */
  acquired(connection: object): void;
  /** Call this if it gets no connection. */
  failed(): void;
}
