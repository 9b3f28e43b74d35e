import { captureStack } from '../kernel/call-site';
import type { CostLedger } from '../cost/cost-ledger';
import { wantCaller } from '../cost/orm-call';

/** Keeps where the application was when a unit of work broke its first limit: at what, or in which call of an ORM. */
export function keepBreachStack(ledger: CostLedger, stackBoundary: (...args: never[]) => unknown): void {
  if (ledger.breachStack !== undefined) return;
  const stack = captureStack(stackBoundary);
  ledger.breachStack = stack;
  wantCaller(stack, caller => (ledger.breachStack = caller));
}
