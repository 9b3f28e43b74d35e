import { MAX_TIMER_MS, checkObject, readBoolean, readShare, readWhole } from '../../kernel/option-checks';

/**
 * When a route is refused for a while because of what its requests have done to the process. Each limit holds for
 * what the requests of one handler that ended within `windowMs` have made together.
 */
export interface BreakerOptions {
  /**
   * Milliseconds for which it has blocked the event loop, in stretches of 50 ms or longer, as far as that is
   * proven; 0 for no such limit.
   * @default 2_000
   */
  readonly blockedMs?: number;
  /**
   * Milliseconds that requests of other handlers have waited for a connection because it held some: its part of each
   * wait, by how many of them it held, as far as that is at least half of what all handlers have waited for each
   * other. 0 for no such limit.
   * @default 10_000
   */
  readonly connectionsMs?: number;
  /**
   * Share of its requests that failed, from 0 to 1: a status of 500 or higher, or a hard budget; 0 for no such limit.
   * What guards refuse is no failure.
   * @default 0.5
   */
  readonly failureShare?: number;
  /**
   * Requests from which on the share of failures counts.
   * @default 20
   */
  readonly minRequests?: number;
  /**
   * Milliseconds back that are looked at: half of that at least.
   * @default 10_000
   */
  readonly windowMs?: number;
  /**
   * Milliseconds for which it is refused with 503, and up to a fifth more, before one request may try.
   * @default 10_000
   */
  readonly openMs?: number;
  /**
   * Whether it only counts and logs what it would refuse.
   * @default true
   */
  readonly dryRun?: boolean;
}

export type ResolvedBreaker = Readonly<Required<BreakerOptions>>;

const OPTIONS = [
  'blockedMs',
  'connectionsMs',
  'failureShare',
  'minRequests',
  'windowMs',
  'openMs',
  'dryRun',
] as const satisfies readonly (keyof BreakerOptions)[];

/** @throws AsyncContextError `ASYNC_CONTEXT_INVALID_OPTION` */
export function readBreaker(options: false | BreakerOptions = {}): ResolvedBreaker | undefined {
  if (options === false) return undefined;
  const path = 'guards.breaker';
  checkObject(path, options, OPTIONS);
  const whole = (name: keyof BreakerOptions, value: number, least: number): number =>
    readWhole(`${path}.${name}`, options[name] ?? value, least, MAX_TIMER_MS);
  return Object.freeze({
    blockedMs: whole('blockedMs', 2_000, 0),
    connectionsMs: whole('connectionsMs', 10_000, 0),
    failureShare: readShare(`${path}.failureShare`, options.failureShare ?? 0.5),
    minRequests: whole('minRequests', 20, 1),
    windowMs: whole('windowMs', 10_000, 100),
    openMs: whole('openMs', 10_000, 1),
    dryRun: readBoolean(`${path}.dryRun`, options.dryRun ?? true),
  });
}
