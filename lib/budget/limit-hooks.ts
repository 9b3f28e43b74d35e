import { performance } from 'node:perf_hooks';
import type { LimitHook } from '../cost/cost-ledger';
import type { ResolvedLimit } from '../cost/resolved-limit';
import { keepBreachStack } from './breach-stack';
import { findBreaches } from './budget-check';
import { QueryBudgetExceededError } from './query-budget-exceeded.error';

/**
 * Remembers where the application was when the number of queries broke its budget, unless a report of it
 * would be held back: the stack costs 5 to 25 µs.
 */
export function rememberingLimitHook(limits: readonly ResolvedLimit[]): LimitHook | undefined {
  const queries = limits.find(({ dimension }) => dimension === 'queries');
  if (queries === undefined) return undefined;
  return {
    atQuery: queries.limit + 1,
    atCall: Infinity,
    beforeQuery(ledger, _what, stackBoundary) {
      if (ledger.breachStack !== undefined) return;
      if (performance.now() >= (ledger.history?.breachesHeldUntilMs ?? 0))
        keepBreachStack(ledger, stackBoundary);
    },
  };
}

/** Keeps back the query that crosses a limit, and each that follows. */
export function throwingLimitHook(limits: readonly ResolvedLimit[]): LimitHook | undefined {
  if (limits.length === 0) return undefined;
  return {
    atQuery: 0,
    atCall: 0,
    beforeQuery(ledger, what, stackBoundary) {
      const [breach] = findBreaches(limits, ledger);
      if (breach === undefined) return;
      keepBreachStack(ledger, stackBoundary);
      throw new QueryBudgetExceededError(breach, what);
    },
  };
}
