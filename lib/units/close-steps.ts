import type { RequestContext } from '../context/request-context';
import type { HookErrors } from '../reporting/hook-error-reporter';

/** One thing that is done when a unit of work closes. */
export interface CloseStep {
  /** What it is called where it fails. */
  readonly name: string;
  readonly take: (context: RequestContext) => void;
}

/** Takes each step, whatever becomes of those before it. Never throws. */
export function takeSteps(
  steps: readonly CloseStep[],
  context: RequestContext,
  hookErrors: HookErrors,
): void {
  for (const step of steps) {
    try {
      step.take(context);
    } catch (error) {
      hookErrors.report(step.name, error);
    }
  }
}
