import { checkObject, readBoolean } from '../async-context.option-checks';

/** What all guards of an application have in common; each handler's own is declared with its decorators. */
export interface GuardOptions {
  /**
   * Whether guards only count and log what they would refuse, and refuse nothing: to see what a limit does
   * before it is in force. A decorator may say so for its handler alone.
   * @default false
   */
  readonly dryRun?: boolean;
}

/** The same, checked and filled in. */
export interface ResolvedGuards {
  readonly dryRun: boolean;
}

const OPTIONS = ['dryRun'] as const satisfies readonly (keyof GuardOptions)[];

/** @throws AsyncContextError `ASYNC_CONTEXT_INVALID_OPTION` */
export function readGuards(options: GuardOptions = {}): ResolvedGuards {
  checkObject('guards', options, OPTIONS);
  return Object.freeze({ dryRun: readBoolean('guards.dryRun', options.dryRun ?? false) });
}
