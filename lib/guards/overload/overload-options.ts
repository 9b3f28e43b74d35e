import type { IncomingMessage } from 'node:http';
import { MAX_TIMER_MS, checkFunction, checkObject, readBoolean, readWhole } from '../../kernel/option-checks';

/** How much a request matters while the process is overloaded: what is sheddable goes first, what is critical last. */
export type RequestPriority = 'critical' | 'default' | 'sheddable';

/** When requests are refused in front of the framework because the process cannot keep up. */
export interface OverloadOptions {
  /**
   * Milliseconds that the event loop may be late: overloaded is who is later than that at each moment of half a
   * second. One that is blocked now and then is not.
   * @default 100
   */
  readonly targetDelayMs?: number;
  /**
   * The same for the wait for a connection of any pool; 0 looks at no pool.
   * @default 500
   */
  readonly poolWaitMs?: number;
  /**
   * How much a request matters. It is asked while the process is overloaded, or about to be, and must be quick: all
   * that it has is the raw request. One that throws stands for `'default'`, and is reported.
   * @default 'default' for all
   */
  readonly priority?: (request: IncomingMessage) => RequestPriority;
  /**
   * Whether it only counts and logs what it would refuse.
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
