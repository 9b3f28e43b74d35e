import { contextStorage } from './context-storage';
import { oncePerProcess } from '../kernel/once-per-process';
import type { Captured } from './context-store';
import type { RequestContext } from './request-context';

/** Of an error that came out of several contexts: a constant that they share, for one. */
const DISPUTED = Symbol('disputed');

interface Thrown {
  /** What is on its way up the stack now; `undefined` may be thrown as well. */
  last: { readonly error: unknown; readonly origin: RequestContext | undefined } | undefined;
  /** Whether a callback was run since: then somebody has caught the error. */
  isCaught: boolean;
  /** What somebody may have caught just now, to throw it again on the next tick, as `pg` does. */
  readonly recent: Map<object, RequestContext | undefined>;
  readonly before: WeakMap<object, RequestContext | typeof DISPUTED>;
}

const thrown = oncePerProcess<Thrown>('thrown-by', () => ({
  last: undefined,
  isCaught: false,
  recent: new Map(),
  before: new WeakMap(),
}));

/**
 * Runs a callback in what was captured for it, and remembers whose it was where it throws: `run()` has
 * left the context by the time that Node says that nobody caught the error.
 */
export function runAndNote<T>(captured: Captured, fn: () => T): T {
  thrown.isCaught = true;
  try {
    return contextStorage.run(captured, fn);
  } catch (error) {
    noteThrown(captured, error);
    throw error;
  }
}

/** The same for a callback that something else runs in its context. */
export function callAndNote<T>(captured: Captured, fn: () => T): T {
  thrown.isCaught = true;
  try {
    return fn();
  } catch (error) {
    noteThrown(captured, error);
    throw error;
  }
}

function noteThrown(captured: Captured, error: unknown): void {
  // The innermost counts.
  if (!thrown.isCaught && thrown.last !== undefined && Object.is(thrown.last.error, error)) return;
  const origin = contextStorage.certain(captured);
  // Each for itself: what an earlier error has left to be forgotten must not take this one's note with it.
  process.nextTick(process.nextTick, forgetThrown, error);
  thrown.last = { error, origin };
  thrown.isCaught = false;
  // The values of a `throw` that are no objects are alike, whoever throws them.
  if (typeof error !== 'object' || error === null) return;
  const { recent, before } = thrown;
  recent.set(error, recent.has(error) && recent.get(error) !== origin ? undefined : origin);
  if (origin === undefined) return;
  before.set(error, (before.get(error) ?? origin) === origin ? origin : DISPUTED);
}

/** Whose callback an uncaught error comes out of, if it comes out of one of ours: nobody's, where that is not certain. */
export function takeThrown(error: unknown): { readonly origin: RequestContext | undefined } | undefined {
  const { last, isCaught, recent, before } = thrown;
  thrown.last = undefined;
  const isLast = !isCaught && last !== undefined && Object.is(last.error, error);
  if (typeof error !== 'object' || error === null) return isLast ? last : undefined;
  const noted = isLast ? last : recent.has(error) ? { origin: recent.get(error) } : undefined;
  if (noted !== undefined) before.delete(error);
  recent.delete(error);
  return noted;
}

/** Whether an error came out of another context before. */
export function isOfAnother(error: unknown, context: RequestContext): boolean {
  if (typeof error !== 'object' || error === null) return false;
  const before = thrown.before.get(error);
  return before !== undefined && before !== context;
}

function forgetThrown(error: unknown): void {
  if (Object.is(thrown.last?.error, error)) thrown.last = undefined;
  thrown.recent.delete(error as object);
}
