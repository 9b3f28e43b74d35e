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
