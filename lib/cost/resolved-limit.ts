/** One limit and where it was declared. */
export interface ResolvedLimit {
  /** The name in `BudgetLimits`: `queries`, `rows`, …, `perTable.<table>`; `deadlineMs` of hard ones. */
  readonly dimension: string;
  readonly limit: number;
  /** `@QueryBudget on OrdersController.list`, `@QueryBudget({ hard }) on OrdersController.list`, `forRoot({ budget })`, … */
  readonly from: string;
  /** Set for an exemption: when it ends, in milliseconds since the epoch, and the limit after that. */
  readonly exemption?: {
    readonly endsAt: number;
    readonly owner?: string;
    readonly after: ResolvedLimit | undefined;
  };
}
