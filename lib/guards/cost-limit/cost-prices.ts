import type { CostLedger } from '../../cost/cost-ledger';

/** What is a point, and what is more or less than one. */
export interface CostPrices {
  /** A query. @default 1 */
  readonly query?: number;
  /** A row or document that was returned or affected. @default 0.01 */
  readonly row?: number;
  /** A millisecond that a query took. @default 0.1 */
  readonly databaseMs?: number;
  /** A millisecond in which the event loop was blocked, in stretches of 50 ms and longer. @default 1 */
  readonly blockedMs?: number;
  /** A query that a service which was asked has said to make. @default 1 */
  readonly remoteQuery?: number;
  /** A command to a cache. @default 0 */
  readonly cache?: number;
  /** An outbound HTTP request. @default 0 */
  readonly http?: number;
  /** A message that was published. @default 0 */
  readonly message?: number;
}

export const DEFAULT_PRICES: Readonly<Required<CostPrices>> = Object.freeze({
  query: 1,
  row: 0.01,
  databaseMs: 0.1,
  blockedMs: 1,
  remoteQuery: 1,
  cache: 0,
  http: 0,
  message: 0,
});

/** What a unit of work has cost by now, in points, with what it does after its close. */
export function pointsOf(cost: CostLedger, prices: Required<CostPrices>): number {
  const { calls, after } = cost;
  // What was asked for after the close is counted in full from when a guard was told of it.
  const late = cost.late - (after === undefined ? 0 : after.queries + after.transactions);
  let points =
    (after === undefined ? 0 : pointsOf(after, prices)) +
    (cost.queries + late) * prices.query +
    cost.rows * prices.row +
    cost.durationMs * prices.databaseMs +
    cost.loopBlockMs * prices.blockedMs +
    cost.remoteQueries * prices.remoteQuery;
  if (calls !== undefined) {
    const counted = [
      ['cache', prices.cache],
      ['http', prices.http],
      ['messages', prices.message],
    ] as const;
    for (const [dimension, price] of counted) {
      const ledger = calls.get(dimension);
      if (ledger !== undefined) points += (ledger.count + ledger.late) * price;
    }
  }
  return points;
}
