import type { ResolvedLimit } from '../cost/resolved-limit';
import { limitInForce } from './limit-in-force';

/** Name of the one limit that is no cost. */
export const DEADLINE = 'deadlineMs';
/** Of an HTTP answer. */
export const DEFAULT_STATUS = 503;

/** The hard limits of one handler, each with its origin, found once. */
export interface HardBudget {
  readonly limits: readonly ResolvedLimit[];
  readonly deadline: ResolvedLimit | undefined;
  /** Of the HTTP answer. */
  readonly status: number;
}

/** `undefined` where nothing is limited. */
export function hardBudget(
  limits: readonly ResolvedLimit[],
  status: number = DEFAULT_STATUS,
): HardBudget | undefined {
  if (limits.length === 0) return undefined;
  return {
    limits: limits.filter(({ dimension }) => dimension !== DEADLINE),
    deadline: limits.find(({ dimension }) => dimension === DEADLINE),
    status,
  };
}

/** What two handlers of one unit of work may cost at most, as `loosestLimits()` has it. */
export function loosestHard(a: HardBudget | undefined, b: HardBudget | undefined): HardBudget | undefined {
  if (a === undefined || b === undefined) return undefined;
  return hardBudget(loosestLimits(allOf(a), allOf(b)), a.status);
}

/** Each dimension that both limit, by the higher limit. */
export function loosestLimits(a: readonly ResolvedLimit[], b: readonly ResolvedLimit[]): ResolvedLimit[] {
  return a.flatMap(limit => {
    const other = b.find(({ dimension }) => dimension === limit.dimension);
    if (other === undefined) return [];
    return other.limit > limit.limit ? [other] : [limit];
  });
}

/** The deadline that is in force now. */
export function deadlineInForce(budget: HardBudget | undefined): ResolvedLimit | undefined {
  return budget?.deadline && limitInForce(budget.deadline, Date.now());
}

function allOf({ limits, deadline }: HardBudget): ResolvedLimit[] {
  return deadline === undefined ? [...limits] : [...limits, deadline];
}
