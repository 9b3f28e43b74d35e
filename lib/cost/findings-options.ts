/** How repeated queries are detected, and which findings are logged. */
export interface FindingsOptions {
  /**
   * Whether query parameters are compared with the rows of earlier queries, in memory and while the unit of work is
   * open. Without it, an N+1 is at most suspected, and `repeats` stays 0.
   * @default true
   */
  readonly compareValues?: boolean;
  /**
   * Whether repeated queries within the budget cause a warning, once a minute for each handler.
   * @default 'warn'
   */
  readonly log?: 'warn' | false;
  /**
   * Number of runs from which a proven N+1 is logged, at least 3; duplicates need twice as many.
   * @default 10
   */
  readonly min?: number;
}
