import { checkObject, readBoolean } from '../async-context.option-checks';
import type { CostLimitDefaults } from './cost-limit/cost-limit-options';
import { readCostLimit, type ResolvedCostLimit } from './cost-limit/cost-limit-policy';
import { type BreakerOptions, readBreaker, type ResolvedBreaker } from './breaker/breaker-options';

/** What all guards of an application have in common; each handler's own is declared with its decorators. */
export interface GuardOptions {
  /**
   * Whether guards only count and log what they would refuse, and refuse nothing: to see what a limit does
   * before it is in force. A decorator may say so for its handler alone.
   * @default false
   */
  readonly dryRun?: boolean;
  /** What all `@CostLimit()` have in common, and the limit of handlers that declare none. */
  readonly costLimit?: CostLimitDefaults;
  /**
   * When a route is refused for a while because it blocks the event loop, holds the connections or fails; `false`
   * for never.
   * @default in a dry run: it says in the log what it would refuse
   */
  readonly breaker?: false | BreakerOptions;
}

/** The same, checked and filled in. */
export interface ResolvedGuards {
  readonly dryRun: boolean;
  readonly costLimit: ResolvedCostLimit;
  /** Absent where there are none. */
  readonly breaker: ResolvedBreaker | undefined;
}

const OPTIONS = ['dryRun', 'costLimit', 'breaker'] as const satisfies readonly (keyof GuardOptions)[];

/** @throws AsyncContextError `ASYNC_CONTEXT_INVALID_OPTION` */
export function readGuards(options: GuardOptions = {}): ResolvedGuards {
  checkObject('guards', options, OPTIONS);
  return Object.freeze({
    dryRun: readBoolean('guards.dryRun', options.dryRun ?? false),
    costLimit: readCostLimit(options.costLimit),
    breaker: readBreaker(options.breaker),
  });
}
