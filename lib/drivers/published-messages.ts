import { withoutValues } from '../sql/value-like';
import type { QueryReporter } from '../instrumentation/driver-instrumentation';
import type { StackBoundary, CallHandle } from '../cost/query-handle';

/** Counts as many messages as are published by one call; `end()` ends all of them. */
export function beginMessages(
  reporter: QueryReporter,
  targets: readonly string[],
  stackBoundary: StackBoundary,
): { end(failed?: boolean): void } {
  const handles: (CallHandle | undefined)[] = [];
  try {
    for (const target of targets) handles.push(reporter.beginCall('messages', target, stackBoundary));
  } catch (error) {
    // The call is kept back as a whole.
    for (const handle of handles) handle?.end(true);
    throw error;
  }
  return { end: failed => handles.forEach(handle => handle?.end(failed)) };
}

/** What a method that gives a promise publishes: kept back as a rejection, ended when it has settled. */
export async function publishCounted<T>(
  reporter: QueryReporter,
  targets: readonly string[],
  stackBoundary: StackBoundary,
  publish: () => Promise<T>,
): Promise<T> {
  const messages = beginMessages(reporter, targets, stackBoundary);
  try {
    // What the client sends to its broker is part of the message.
    const result = await reporter.uncharged(publish);
    messages.end();
    return result;
  } catch (error) {
    messages.end(true);
    throw error;
  }
}

/** `orders.42.created` as `orders.*.created`, of what is named anew for each message: one with a digit may be an id. */
export function withoutIds(name: string): string {
  return withoutValues(name, '*').replaceAll(/[^./:]*\d[^./:]*/g, '*');
}

/** `orders.v2` as it is, of what is declared once: only what can hardly be anything but a value is `*`. */
export function declaredName(name: unknown): string {
  return withoutValues(String(name), '*');
}
