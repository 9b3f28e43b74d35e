import { Declared } from '../declared';
import type { CostLimitPolicy } from './cost-limit-policy';

/** What `@CostLimit()` says; with `false`, that a handler has no limit. */
export const declaredCostLimit = new Declared<CostLimitPolicy | false>('cost-limit');
