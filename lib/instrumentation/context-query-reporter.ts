import { contextStorage } from '../context/context-storage';
import { QueryBudgetExceededError } from '../budget/query-budget-exceeded.error';
import { describeStatement } from '../cost/describe-statement';
import type { Statement, SqlDialect } from '../cost/statement';
import type { FaultReporter } from '../diagnosis/fault-reporter';
import type { LostContexts } from '../diagnosis/lost-contexts';
import type { QueryHandle, QueryReporter } from './driver-instrumentation';

const NO_TEXT: Statement = Object.freeze({ shape: '?', table: undefined, operation: '?', kind: 'read' });

/** Charges queries to the unit of work that is running. */
export class ContextQueryReporter implements QueryReporter {
  readonly #lost: LostContexts;
  readonly #faults: FaultReporter;

  constructor(lost: LostContexts, faults: FaultReporter) {
    this.#lost = lost;
    this.#faults = faults;
  }

  begin(
    text: string | undefined,
    dialect: SqlDialect,
    below: (...args: never[]) => unknown,
  ): QueryHandle | undefined {
    try {
      const statement = text === undefined ? NO_TEXT : describeStatement(text, dialect);
      const context = contextStorage.getStore();
      if (context !== undefined) return context.cost.begin(statement, below);
      this.#lost.report(statement, below);
      return undefined;
    } catch (error) {
      if (error instanceof QueryBudgetExceededError) throw error;
      this.#faults.report('counting a query', error);
      return undefined;
    }
  }

  warn(message: string): void {
    this.#faults.report('instrumentation', message);
  }
}
