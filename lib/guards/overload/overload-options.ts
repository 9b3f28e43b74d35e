import type { IncomingMessage } from 'node:http';
import { MAX_TIMER_MS, checkFunction, checkObject, readBoolean, readWhole } from '../../kernel/option-checks';

/** Importance of a request while the process is overloaded: `sheddable` is refused first, `critical` last. */
export type RequestPriority = 'critical' | 'default' | 'sheddable';

/** When requests are refused before they reach the framework because the process cannot keep up. */
export interface OverloadOptions {
  /**
   * Tolerated delay of the event loop in milliseconds: the process is overloaded if the delay stays above it for half a
   * second. An event loop that is blocked now and then is not overloaded.
   * @default 100
   */
  readonly targetDelayMs?: number;
  /**
   * The same for waiting for a connection of any pool; 0 ignores pools.
   * @default 500
   */
  readonly poolWaitMs?: number;
  /**
   * Returns the importance of a request. It is called while the process is overloaded or about to be, gets only the raw
   * request, and must be fast. If it throws, the error is reported and `'default'` applies.
   * @default 'default' for all
   */
  readonly priority?: (request: IncomingMessage) => RequestPriority;
  /**
   * Whether to only count and log what would be refused.
   * @default false
   */
  readonly dryRun?: boolean;
}

/** The same, checked and filled in. */
export interface ResolvedOverload {
  readonly targetDelayMs: number;
  readonly poolWaitMs: number;
  readonly priority: OverloadOptions['priority'];
  readonly dryRun: boolean;
}

const OPTIONS = [
  'targetDelayMs',
  'poolWaitMs',
  'priority',
  'dryRun',
] as const satisfies readonly (keyof OverloadOptions)[];

/** @throws AsyncContextError `ASYNC_CONTEXT_INVALID_OPTION` */
export function readOverload(options: OverloadOptions | undefined): ResolvedOverload | undefined {
  if (options === undefined) return undefined;
  checkObject('overload', options, OPTIONS);
  checkFunction('overload.priority', options.priority);
  return Object.freeze({
    // Below that the delay of timers themselves is seen.
    targetDelayMs: readWhole('overload.targetDelayMs', options.targetDelayMs ?? 100, 10, MAX_TIMER_MS),
    poolWaitMs: readWhole('overload.poolWaitMs', options.poolWaitMs ?? 500, 0, MAX_TIMER_MS),
    priority: options.priority,
    dryRun: readBoolean('overload.dryRun', options.dryRun ?? false),
  });
}
