import type { BreachRecord } from '../cost/cost-record';
import type { RequestCost } from '../cost/request-cost';
import type { DIMENSIONS } from './budget-limits';
import type { CostLedger } from '../cost/cost-ledger';
import type { ResolvedLimit } from '../cost/resolved-limit';
import { limitInForce } from './limit-in-force';

type Dimension = (typeof DIMENSIONS)[number];

const PER_TABLE = 'perTable.';

/** The dimensions that a unit of work exceeded. */
export function findBreaches(limits: readonly ResolvedLimit[], cost: CostLedger): BreachRecord[] {
  const breaches: BreachRecord[] = [];
  const now = Date.now();
  for (const declared of limits) {
    const limit = limitInForce(declared, now);
    if (limit === undefined) continue;
    const used = usedOf(limit.dimension, cost);
    if (used > limit.limit) {
      breaches.push({ dimension: limit.dimension, used: round(used), limit: limit.limit, from: limit.from });
    }
  }
  return breaches;
}

/** What a unit of work has used of one dimension so far. */
export function usedOf(dimension: string, cost: CostLedger): number {
  if (dimension.startsWith(PER_TABLE)) return queriesOfTable(dimension.slice(PER_TABLE.length), cost);
  return cost[dimension as keyof RequestCost & Dimension];
}

function queriesOfTable(name: string, cost: CostLedger): number {
  let count = 0;
  for (const [table, { count: queries }] of cost.tables ?? []) {
    if (table === name || table.endsWith(`.${name}`)) count += queries;
  }
  return count;
}

// Milliseconds come as fractions; two digits are what a clock of that precision can say.
function round(used: number): number {
  return Math.round(used * 100) / 100;
}
