import { contextStorage, oncePerProcess } from './context-storage';
import type { RequestContext } from './request-context';

/** By error; the values of a `throw` that are no objects cannot be remembered. */
const contexts = oncePerProcess('thrown', () => new WeakMap<object, RequestContext>());

/**
 * Runs `fn` in a context and remembers it where `fn` throws: `run()` has left it by the time that
 * Node says that nobody caught the error.
 */
export function runAndNote<T>(context: RequestContext, fn: () => T): T {
  try {
    return contextStorage.run(context, fn);
  } catch (error) {
    noteThrown(context, error);
    throw error;
  }
}

/** Remembers the context that an error is thrown out of. */
export function noteThrown(context: RequestContext | undefined, error: unknown): void {
  if (context !== undefined && typeof error === 'object' && error !== null) contexts.set(error, context);
}

/** The context that an error was last thrown out of. */
export function thrownContext(error: unknown): RequestContext | undefined {
  return typeof error === 'object' && error !== null ? contexts.get(error) : undefined;
}
