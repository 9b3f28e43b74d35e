import type { RequestContext } from '../context/request-context';
import type { Faults } from '../reporting/fault-reporter';

/** One thing that is done when a unit of work closes. */
export interface CloseStep {
  /** What it is called where it fails. */
  readonly name: string;
  readonly take: (context: RequestContext) => void;
}

/** Takes each step, whatever becomes of those before it. Never throws. */
export function takeSteps(steps: readonly CloseStep[], context: RequestContext, faults: Faults): void {
  for (const step of steps) {
    try {
      step.take(context);
    } catch (error) {
      faults.report(step.name, error);
    }
  }
}
