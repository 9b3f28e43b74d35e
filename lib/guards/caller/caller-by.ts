import { invalidOption } from '../../kernel/errors';
import type { ContextKey } from '../../context/context-key';
import type { ContextService } from '../../context/context.service';

/**
 * What identifies a caller: the user (by `user.id`), the address, the value of a context key, or the result of a
 * function.
 */
export type CallerBy =
  'user' | 'ip' | ContextKey<unknown> | ((context: ContextService) => string | undefined);

/** @throws AsyncContextError `ASYNC_CONTEXT_INVALID_OPTION` */
export function checkCallerBy(path: string, by: unknown, call?: string): void {
  if (by === 'user' || by === 'ip' || typeof by === 'function') return;
  if (typeof by === 'object' && by !== null && typeof (by as { name?: unknown }).name === 'string') return;
  const remedy = "Use 'user', 'ip', a key from createContextKey(), or a function of the context.";
  throw invalidOption(path, by, remedy, call);
}
