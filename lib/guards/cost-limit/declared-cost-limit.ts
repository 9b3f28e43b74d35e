import { Declared } from '../declared';
import type { CostLimitPolicy } from './cost-limit-policy';

/** What `@CostLimit()` says; with `false`, that a handler has no limit. */
export const declaredCostLimit = new Declared<CostLimitPolicy | false>('cost-limit');

/** Whether the cost of the callers of a handler is limited. */
export function isCostLimited(type: object, method: object, areLimitedByDefault: boolean): boolean {
  const declared = declaredCostLimit.of({ getHandler: () => method as never, getClass: () => type as never });
  return declared === undefined ? areLimitedByDefault : declared.value !== false;
}
