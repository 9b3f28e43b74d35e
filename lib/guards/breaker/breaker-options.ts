import { MAX_TIMER_MS, checkObject, readBoolean, readShare, readWhole } from '../../kernel/option-checks';

/**
 * When a route is temporarily refused because of the load that its requests put on the process. Each limit applies to
 * the sum over all requests of one handler that ended within `windowMs`.
 */
export interface BreakerOptions {
  /**
   * Milliseconds that it has blocked the event loop, counting blocks of 50 ms or longer whose cause is proven; 0
   * disables the limit.
   * @default 2_000
   */
  readonly blockedMs?: number;
  /**
   * Milliseconds that requests of other handlers have waited for a connection because this one held some. Each wait is
   * divided among the holders by their number of connections, and the limit applies only if this handler caused at
   * least half of the time that all handlers waited for each other. 0 disables the limit.
   * @default 10_000
   */
  readonly connectionsMs?: number;
  /**
   * Share of its requests that failed, from 0 to 1: with status 500 or higher, or at a hard budget; 0 disables the
   * limit. Refusals by guards are not failures.
   * @default 0.5
   */
  readonly failureShare?: number;
  /**
   * Number of requests from which the share of failures applies.
   * @default 20
   */
  readonly minRequests?: number;
  /**
   * Length of the window in milliseconds; between half of it and all of it is considered.
   * @default 10_000
   */
  readonly windowMs?: number;
  /**
   * Milliseconds for which the route is refused with 503, plus up to a fifth, before one request may try.
   * @default 10_000
   */
  readonly openMs?: number;
  /**
   * Whether to only count and log what would be refused.
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
