import type { CostAlarm } from '../cost/cost-ledger';
import type { ResolvedLimit } from '../cost/resolved-limit';
import { keepBreachStack } from './breach-stack';
import { findBreaches } from './budget-check';
import { QueryBudgetExceededError } from './query-budget-exceeded.error';

/**
 * Remembers where the application was when the number of queries broke its budget, unless a report of it
 * would be held back: the stack costs 5 to 25 µs.
 */
export function rememberingAlarm(limits: readonly ResolvedLimit[]): CostAlarm | undefined {
  const queries = limits.find(({ dimension }) => dimension === 'queries');
  if (queries === undefined) return undefined;
  return {
    atQuery: queries.limit + 1,
    atCall: Infinity,
    beforeQuery(ledger, _what, below) {
      if (ledger.breachStack !== undefined) return;
      if (performance.now() >= (ledger.history?.breachesHeldUntilMs ?? 0)) keepBreachStack(ledger, below);
    },
  };
}

/** Keeps back the query that crosses a limit, and each that follows. */
export function throwingAlarm(limits: readonly ResolvedLimit[]): CostAlarm | undefined {
  if (limits.length === 0) return undefined;
  return {
    atQuery: 0,
    atCall: 0,
    beforeQuery(ledger, what, below) {
      const [breach] = findBreaches(limits, ledger);
      if (breach === undefined) return;
      keepBreachStack(ledger, below);
      throw new QueryBudgetExceededError(breach, what);
    },
  };
}
