import { limitInForce } from '../../budget/limit-in-force';
import type { RequestContext } from '../../context/request-context';
import type { CostPrices } from './cost-prices';

/** What each dimension of a budget is paid by. */
const PRICED: Readonly<Record<string, keyof CostPrices>> = {
  queries: 'query',
  rows: 'row',
  durationMs: 'databaseMs',
  loopBlockMs: 'blockedMs',
  remoteQueries: 'remoteQuery',
  cache: 'cache',
  http: 'http',
  messages: 'message',
};

/**
 * What the hard limits of a unit of work let it cost, in points; nothing where they do not limit its queries. What
 * they leave out is not in it.
 */
export function hardPrice({ budget }: RequestContext, prices: Required<CostPrices>): number | undefined {
  const now = Date.now();
  const limits = budget?.hard?.limits.flatMap(limit => limitInForce(limit, now) ?? []) ?? [];
  if (!limits.some(({ dimension }) => dimension === 'queries')) return undefined;
  let points = 0;
  for (const { dimension, limit } of limits) {
    const price = PRICED[dimension];
    if (price !== undefined) points += limit * prices[price];
  }
  return points;
}
