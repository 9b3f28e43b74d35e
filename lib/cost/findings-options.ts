/** What findings are made of. */
export interface FindingsOptions {
  /**
   * Whether the parameters of queries are compared with the rows of earlier ones, in memory and for as long as their
   * unit of work is open: without it no N+1 is more than suspected, and `repeats` is 0.
   * @default true
   */
  readonly compareValues?: boolean;
}
