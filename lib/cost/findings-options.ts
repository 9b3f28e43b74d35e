/** What findings are made of, and which are logged. */
export interface FindingsOptions {
  /**
   * Whether the parameters of queries are compared with the rows of earlier ones, in memory and for as long as their
   * unit of work is open: without it no N+1 is more than suspected, and `repeats` is 0.
   * @default true
   */
  readonly compareValues?: boolean;
  /**
   * Whether a unit of work that repeats itself within its budget is a warning, once a minute for each handler.
   * @default 'warn'
   */
  readonly log?: 'warn' | false;
  /**
   * Runs of a proven N+1 from which on it is worth that line, at least 3; of duplicates it takes twice as many.
   * @default 10
   */
  readonly min?: number;
}
