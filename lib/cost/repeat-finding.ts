/** The statement whose rows a shape was run for. */
export interface RepeatParent {
  readonly shape: string;
  /** Its main table. */
  readonly table?: string;
  /** The column that the values came from, where they say so; with its table, where that is a joined one. */
  readonly column?: string;
  /** Rows that it returned in this unit of work. */
  readonly rows: number;
  /** Where the application made it (`orders.service.ts:47 list`), where that is known. */
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
   * - `n-plus-one`: it ran once for each row of an earlier result, its parent; `confidence` says how sure that is.
   * - `duplicate`: it ran with parameters that it had run with before, and nothing was written between.
   * - `fan-out`: a fixed number of runs was sent at once.
   * - `look-ups`: it asked for at least five values of one key, one after the other, that no result has: ids of a
   *   body, of a cache.
   */
  readonly kind: 'n-plus-one' | 'duplicate' | 'fan-out' | 'look-ups';
  /**
   * Of an N+1:
   * - `proven`: the values that it asked for are those of a column of the parent. Only these count for `repeats`.
   * - `suspected`: it ran as often as the parent has rows, or the values fit without saying enough.
   */
  readonly confidence?: 'proven' | 'suspected';
  /** The shape; from 500 characters on cut with `…`. */
  readonly shape: string;
  /** The main table of the shape. */
  readonly table?: string;
  /** How often the shape ran. */
  readonly count: number;
  /** Runs with parameters that had been seen before. */
  readonly duplicates: number;
  /** For an N+1: what it grows with; two, where it ran for the rows of two results. */
  readonly parents: readonly RepeatParent[];
  /** For an N+1 that earlier units of work of the same handler show: runs for each row of the parent. */
  readonly slope?: number;
  /**
   * Where the application made it (`orders.service.ts:52 items`), where that is known; else, with `providerCalls: true`, the
   * method of a provider that it ran in (`in OrdersService.items`).
   */
  readonly callSite?: string;
  /** What to do about it. */
  readonly remedy: string;
}
