import type { CostLedger } from '../../cost/cost-ledger';

/** Prices in points. */
export interface CostPrices {
  /** Per query. @default 1 */
  readonly query?: number;
  /** Per row or document returned or affected. @default 0.01 */
  readonly row?: number;
  /** Per millisecond of query time. @default 0.1 */
  readonly databaseMs?: number;
  /** Per millisecond that the event loop is blocked, counting blocks of 50 ms or longer. @default 1 */
  readonly blockedMs?: number;
  /** Per query that a called service reports. @default 1 */
  readonly remoteQuery?: number;
  /** Per cache command. @default 0 */
  readonly cache?: number;
  /** Per outbound HTTP request. @default 0 */
  readonly http?: number;
  /** Per published message. @default 0 */
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
