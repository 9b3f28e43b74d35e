/**
 * Takes back what was replaced, last first, whatever becomes of the others.
 *
 * @throws the first error, at the end
 */
export function takeBack(undo: readonly (() => void)[]): void {
  const errors: unknown[] = [];
  for (const one of undo.toReversed()) {
    try {
      one();
    } catch (error) {
      errors.push(error);
    }
  }
  if (errors.length > 0) throw errors[0];
}

/** What takes back what a driver has installed; `undefined` where that was nothing. */
export function takingBack(undo: readonly (() => void)[]): (() => void) | undefined {
  return undo.length === 0 ? undefined : () => takeBack(undo);
}
