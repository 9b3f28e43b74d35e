const REPLACED = Symbol.for('nestjs-async-context.replaced');

type AnyFunction = (...args: never[]) => unknown;
type Marked = { [REPLACED]?: Set<string> };

/**
 * Replaces a method of a driver's prototype and gives back what takes the replacement back.
 *
 * A method that is replaced already, by this or by another copy of the package, is left alone. One
 * that somebody else has wrapped since stays: the replacement then finds no unit of work to charge.
 */
export function replaceMethod<F extends AnyFunction>(
  target: object,
  name: string,
  make: (original: F) => F,
): (() => void)[] {
  const descriptor = Object.getOwnPropertyDescriptor(target, name);
  const original = descriptor?.value as F | undefined;
  const replaced = markedNames(target);
  if (descriptor === undefined || typeof original !== 'function' || replaced.has(name)) return [];
  const replacement = make(original);
  Object.defineProperty(replacement, 'name', { value: original.name, configurable: true });
  Object.defineProperty(replacement, 'length', { value: original.length, configurable: true });
  Object.defineProperty(target, name, { ...descriptor, value: replacement });
  replaced.add(name);
  return [
    () => {
      if (Object.getOwnPropertyDescriptor(target, name)?.value !== replacement) return;
      Object.defineProperty(target, name, descriptor);
      replaced.delete(name);
    },
  ];
}

/** The names that are replaced on this very prototype; that of a subclass has its own. */
function markedNames(target: Marked): Set<string> {
  const known = Object.hasOwn(target, REPLACED) ? target[REPLACED] : undefined;
  if (known !== undefined) return known;
  const names = new Set<string>();
  Object.defineProperty(target, REPLACED, { value: names, configurable: true });
  return names;
}
