/** The statement whose rows caused the runs of another shape. */
export interface RepeatParent {
  /** Its shape, as in `queries.shapes` of the record. */
  readonly shape: string;
  /** Its main table. */
  readonly table?: string;
  /** The column that the values came from, if known; with its table if that is a joined one. */
  readonly column?: string;
  /** Rows that it returned in this unit of work. */
  readonly rows: number;
  /** Where the application made it (`orders.service.ts:47 list`), if known. */
  readonly callSite?: string;
}

/**
 * A statement shape that repeats within one unit of work.
 *
 * @example
 * for (const { confidence, shape, parents } of context.cost?.findings() ?? []) {
 *   if (confidence === 'proven') this.logger.warn(`${shape} runs for each row of ${parents[0]?.table}`);
 * }
 */
export interface RepeatFinding {
  /**
   * - `n-plus-one`: it ran once for each row of an earlier result, its parent; `confidence` says how certain that is.
   * - `duplicate`: it ran again with the same parameters, with no write in between.
   * - `fan-out`: a fixed number of runs was sent at once.
   * - `look-ups`: it looked up at least five values of one key, one after another, that come from no result, such as
   *   ids of a request body or of a cache.
   */
  readonly kind: 'n-plus-one' | 'duplicate' | 'fan-out' | 'look-ups';
  /**
   * For an N+1:
   * - `proven`: its parameters are the values of a column of the parent. Only these count towards `repeats`.
   * - `suspected`: it ran as often as the parent has rows, or the values match without being conclusive.
   */
  readonly confidence?: 'proven' | 'suspected';
  /** The shape, as in `queries.shapes` of the record: at most 2,048 characters. */
  readonly shape: string;
  /** The main table of the shape. */
  readonly table?: string;
  /** Number of runs. */
  readonly count: number;
  /** Runs with repeated parameters. */
  readonly duplicates: number;
  /** For an N+1: the statements that it grows with; two if it ran for the rows of two results. */
  readonly parents: readonly RepeatParent[];
  /** For an N+1 that shows in earlier units of work of the handler: runs per row of the parent. */
  readonly slope?: number;
  /**
   * Where the application made it (`orders.service.ts:52 items`), if known; otherwise, with `providerCalls: true`, the
   * provider method that it ran in (`in OrdersService.items`).
   */
  readonly callSite?: string;
  /** What to do about it. */
  readonly remedy: string;
}
