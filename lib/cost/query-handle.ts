import type { Columns } from './evidence/kept-results';
import type { ReadsRows } from './unread-rows';

/** The function whose callers are the application's: a call site is looked for above it. */
export type StackBoundary = (...args: never[]) => unknown;

/** A query under way, as a driver sees it. */
export interface QueryHandle {
  /** Says, right after the begin, that the query waits for a connection of a pool. */
  queued(): void;
  /**
   * Says that it has got one: its time counts from here on, and until here as waiting. `nowMs` is
   * `performance.now()`, where the driver has asked for it.
   */
  sent(nowMs?: number): void;
  /** Says that so many rows have come while there are more, such as a batch of a cursor. */
  received(rows: number): void;
  /**
   * Shows the rows that have come, before the application gets them: objects, or arrays with the names of their
   * columns. Some of them are kept by reference until the unit of work ends, and nothing is written to them.
   */
  returned(rows: readonly unknown[], columns?: Columns): void;
  /** The same for a driver that gives the rows one by one, and keeps none of them. */
  returnedOne(row: unknown, columns?: Columns): void;
  /**
   * Ends the query: rows returned or affected, whether it failed, and bytes received where the driver
   * knows them. Only the first call counts.
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

/** A call under way that is not a query: a cache command, an HTTP request, a published message. */
export interface CallHandle {
  /** Ends the call: whether it failed, and bytes received where they are known. Only the first call counts. */
  end(failed?: boolean, bytes?: number): void;
}

/** A connection that is asked of a pool. */
export interface AcquisitionHandle {
  /** Says that it has to wait. Without it, nothing is measured: most get a free connection at once. */
  queued(): void;
  /** Says that it has got this connection, which is held until `released()`. Only the first outcome counts. */
  acquired(connection: object): void;
  /** Says that it gets none. */
  failed(): void;
}
