import { AsyncContextError } from '../kernel/errors';
import type { BreachRecord } from '../cost/cost-record';

/** Code of the error, which ORMs take over on their own. */
export const BUDGET_EXCEEDED = 'ASYNC_CONTEXT_BUDGET_EXCEEDED';

/**
 * What a query is rejected with that crosses its handler's budget, with `onExceeded: 'throw'`, or a hard limit of
 * it, as is each that follows. A `COMMIT` that follows a hard one is rejected with it as well.
 *
 * The query was not sent.
 *
 * @example
 * await expect(orders.list()).rejects.toBeInstanceOf(QueryBudgetExceededError);
 */
export class QueryBudgetExceededError extends AsyncContextError {
  override readonly name = 'QueryBudgetExceededError';
  /** `queries`, `rows`, `durationMs`, `writes`, …, `perTable.<table>`, or `deadlineMs` of a hard one. */
  readonly dimension: string;
  /** What would have been used, in the unit of the dimension. */
  readonly used: number;
  /** What is allowed, in the unit of the dimension. */
  readonly limit: number;
  /** Where the limit was declared. */
  readonly from: string;

  constructor(
    breach: BreachRecord,
    /** The statement that was kept back, with every literal and parameter removed. */
    readonly shape: string,
    /** Whether the limit was a hard one: the unit of work is stopped, and what it commits is rolled back. */
    readonly isHard = false,
  ) {
    super(
      BUDGET_EXCEEDED,
      `${breach.dimension} ${breach.used}/${breach.limit} (${breach.from}); not sent: ${shape}. ` +
        'Fetch what the handler needs in fewer queries (join, IN, DataLoader), or raise the budget.',
    );
    this.dimension = breach.dimension;
    this.used = breach.used;
    this.limit = breach.limit;
    this.from = breach.from;
  }
}

/** Whether a query was kept back by its budget, also by that of an application with another copy of the package. */
export function isBudgetExceeded(error: unknown): boolean {
  return (error as { code?: unknown } | undefined)?.code === BUDGET_EXCEEDED;
}
