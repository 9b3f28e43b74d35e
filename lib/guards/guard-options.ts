import { checkObject, readBoolean, readWhole } from '../kernel/option-checks';
import type { CostLimitDefaults } from './cost-limit/cost-limit-options';
import { readCostLimit, type ResolvedCostLimit } from './cost-limit/cost-limit-policy';
import { type BreakerOptions, readBreaker, type ResolvedBreaker } from './breaker/breaker-options';

/** What all guards of an application have in common; each handler's own is declared with its decorators. */
export interface GuardOptions {
  /**
   * Whether limits only count and log what they would refuse, and refuse nothing: to see what one does before it is
   * in force. A decorator may say so for its handler alone. Not `@RequireUser()`: it would let everybody in.
   * @default false
   */
  readonly dryRun?: boolean;
  /**
   * Whether the body of a refusal over HTTP is a problem of RFC 9457, `application/problem+json`: of the type
   * `quota-exceeded` with 429, `temporary-reduced-capacity` with 503.
   * @default false
   */
  readonly problemJson?: boolean;
  /**
   * Bits of an IPv6 address that tell callers apart: a network is what one of them has.
   * @default 64
   */
  readonly ipv6Prefix?: number;
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
