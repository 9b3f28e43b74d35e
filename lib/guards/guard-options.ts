import { checkObject, readBoolean, readWhole } from '../kernel/option-checks';
import type { CostLimitDefaults } from './cost-limit/cost-limit-options';
import { readCostLimit, type ResolvedCostLimit } from './cost-limit/cost-limit-policy';
import { type BreakerOptions, readBreaker, type ResolvedBreaker } from './breaker/breaker-options';

/** Options that all guards of an application share; limits of a handler are declared with decorators. */
export interface GuardOptions {
  /**
   * Whether limits only count and log what they would refuse, so that you can see their effect before they apply. A
   * decorator can override this for its handler. Does not apply to `@RequireUser()`, which would let everyone in.
   * @default false
   */
  readonly dryRun?: boolean;
  /**
   * Whether the body of a refusal over HTTP is an RFC 9457 problem, `application/problem+json`: of type
   * `quota-exceeded` with 429, `temporary-reduced-capacity` with 503.
   * @default false
   */
  readonly problemJson?: boolean;
  /**
   * Number of leading bits of an IPv6 address that identify a caller, because one caller usually has a whole network.
   * @default 64
   */
  readonly ipv6Prefix?: number;
  /** Options that all `@CostLimit()` share, and the limit of handlers that declare none. */
  readonly costLimit?: CostLimitDefaults;
  /**
   * When a route is temporarily refused because it blocks the event loop, holds connections or fails; `false` disables
   * it.
   * @default a dry run: it only logs what it would refuse
   */
  readonly breaker?: false | BreakerOptions;
}

/** The same, checked and filled in. */
export interface ResolvedGuards {
  readonly dryRun: boolean;
  readonly problemJson: boolean;
  readonly ipv6Prefix: number;
  readonly costLimit: ResolvedCostLimit;
  /** Absent where there are none. */
  readonly breaker: ResolvedBreaker | undefined;
}

const OPTIONS = [
  'dryRun',
  'problemJson',
  'ipv6Prefix',
  'costLimit',
  'breaker',
] as const satisfies readonly (keyof GuardOptions)[];

/** @throws AsyncContextError `ASYNC_CONTEXT_INVALID_OPTION` */
export function readGuards(options: GuardOptions = {}): ResolvedGuards {
  checkObject('guards', options, OPTIONS);
  return Object.freeze({
    dryRun: readBoolean('guards.dryRun', options.dryRun ?? false),
    problemJson: readBoolean('guards.problemJson', options.problemJson ?? false),
    ipv6Prefix: readWhole('guards.ipv6Prefix', options.ipv6Prefix ?? 64, 1, 128),
    costLimit: readCostLimit(options.costLimit),
    breaker: readBreaker(options.breaker),
  });
}
