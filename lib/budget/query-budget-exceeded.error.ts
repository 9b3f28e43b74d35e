import { AsyncContextError } from '../kernel/errors';
import type { BreachRecord } from '../cost/cost-record';

/** Code of the error, which ORMs take over on their own. */
export const BUDGET_EXCEEDED = 'ASYNC_CONTEXT_BUDGET_EXCEEDED';

/**
 * Error of a query that exceeds the budget of its handler, with `onExceeded: 'throw'`, or one of its hard limits, and
 * of all later queries. After a hard limit, a `COMMIT` is rejected with it as well.
 *
 * The query was not sent.
 *
 * @example
 * await expect(orders.list()).rejects.toBeInstanceOf(QueryBudgetExceededError);
 */
export class QueryBudgetExceededError extends AsyncContextError {
  override readonly name = 'QueryBudgetExceededError';
  /** `queries`, `rows`, `durationMs`, `writes`, …, `perTable.<table>`, or `deadlineMs` of a hard limit. */
  readonly dimension: string;
  /** The value that exceeds the limit, in the unit of the dimension. */
  readonly used: number;
  /** The limit, in the unit of the dimension. */
  readonly limit: number;
  /** Where the limit was declared. */
  readonly from: string;

  constructor(
    breach: BreachRecord,
    /** The statement that was not sent, with every literal and parameter removed. */
    readonly shape: string,
    /** Whether it was a hard limit: the unit of work is stopped, and its transactions are rolled back. */
    readonly isHard = false,
  ) {
    super(
      BUDGET_EXCEEDED,
      `${breach.dimension} is ${breach.used}, above the limit of ${breach.limit} (${breach.from}). Not sent: ${shape}. ` +
        'Do less in this handler, for example with fewer queries (JOIN, IN, DataLoader), or raise the limit.',
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
