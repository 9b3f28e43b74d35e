/** Whether a value can be awaited. A proxy that throws when it is asked for what it has not, cannot. */
export function isThenable(value: unknown): value is PromiseLike<unknown> {
  if ((typeof value !== 'object' && typeof value !== 'function') || value === null) return false;
  try {
    return typeof (value as { then?: unknown }).then === 'function';
  } catch {
    return false;
  }
}

/**
 * Hears of the end of what can be awaited, whatever its `then` does. Never throws, and leaves no rejection that
 * nobody handles.
 *
 * `then` is called once: a query builder runs its query anew each time.
 */
export function whenSettled<T>(
  thenable: PromiseLike<T>,
  fulfilled: (value: T) => void,
  failed: (error: unknown) => void,
): void {
  try {
    const next: unknown = thenable.then(fulfilled, failed);
    // An `async then()` that throws says so in the promise that it gives back.
    if (isThenable(next)) next.then(undefined, failed);
  } catch (error) {
    failed(error);
  }
}

/**
 * Waits for what a function of the application gave back, if it can be awaited.
 *
 * @throws what it rejects with
 */
export async function settled<T>(result: T): Promise<Awaited<T>> {
  if (!isThenable(result)) return result as Awaited<T>;
  return new Promise<Awaited<T>>((resolve, reject) => {
    whenSettled(result as PromiseLike<Awaited<T>>, resolve, reject);
  });
}
