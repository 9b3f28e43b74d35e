import { contextStorage } from '../../context/context-storage';
import type { ContextService } from '../../context/context.service';
import type { RequestContext } from '../../context/request-context';
import { isThenable, settled } from '../../kernel/thenable';
import type { HookErrorReporter } from '../../reporting/hook-error-reporter';
import { OwnError } from '../../kernel/own-error';
import type { CostLimitPlan, CostLimitPolicy } from './cost-limit-policy';

/** What a policy allows a unit of work; `undefined` where a function of the application fails, which is reported. */
export function planOf(
  policy: CostLimitPolicy,
  context: RequestContext,
  contextService: ContextService,
  hookErrors: HookErrorReporter,
): CostLimitPlan | undefined | Promise<CostLimitPlan | undefined> {
  if (policy.plan !== undefined) return policy.plan;
  const { burst, restorePerSecond, name } = policy;
  const failed = (error: unknown): undefined => {
    hookErrors.report(`the @CostLimit() plan of ${name}`, error);
  };
  const ask = (): readonly [unknown, unknown] => [
    typeof burst === 'function' ? burst(contextService) : burst,
    typeof restorePerSecond === 'function' ? restorePerSecond(contextService) : restorePerSecond,
  ];
  try {
    const answers = contextStorage.getStore() === context ? ask() : contextStorage.run(context, ask);
    if (!answers.some(isThenable)) return checked(answers);
    return Promise.all(answers.map(settled)).then(checked).catch(failed);
  } catch (error) {
    return failed(error);
  }
}

/** Whether there is no limit, which is what a plan may say. */
export function isUnlimited({ burst, restorePerSecond }: CostLimitPlan): boolean {
  return burst === Infinity || restorePerSecond === Infinity;
}

/** @throws OwnError for what is no number of points */
function checked(answers: readonly unknown[]): CostLimitPlan {
  const [burst, restorePerSecond] = answers as readonly [number, number];
  if (
    typeof burst === 'number' &&
    typeof restorePerSecond === 'number' &&
    burst > 0 &&
    restorePerSecond > 0
  ) {
    return { burst, restorePerSecond };
  }
  throw new OwnError('a burst or restorePerSecond function did not return a number above 0');
}
