const REPLACED = Symbol.for('nestjs-async-context.replaced');

type AnyFunction = (...args: never[]) => unknown;

interface Replacement {
  /** Somebody else has wrapped it, so that it could not be taken back. */
  isLeftBehind: boolean;
  takeBack(): void;
}

type Marked = { [REPLACED]?: Map<string, Replacement> };

/**
 * Replaces a method of a driver's prototype and gives back what takes the replacement back.
 *
 * A method that is replaced already, by this or by another copy of the package, is left alone. One
 * that somebody else has wrapped since stays, finds no unit of work to charge, and is taken up again
 * by the next application.
 */
export function replaceMethod<F extends AnyFunction>(
  target: object,
  name: string,
  make: (original: F) => F,
): (() => void)[] {
  const known = replacementOf(target, name);
  if (known !== undefined) {
    if (!known.isLeftBehind) return [];
    known.isLeftBehind = false;
    return [known.takeBack];
  }
  const descriptor = Object.getOwnPropertyDescriptor(target, name);
  const original = descriptor?.value as F | undefined;
  if (descriptor === undefined || typeof original !== 'function') return [];
  const value = make(original);
  Object.defineProperty(value, 'name', { value: original.name, configurable: true });
  Object.defineProperty(value, 'length', { value: original.length, configurable: true });
  const replacement: Replacement = {
    isLeftBehind: false,
    takeBack() {
      if (Object.getOwnPropertyDescriptor(target, name)?.value === value) {
        Object.defineProperty(target, name, descriptor);
        unmark(target, name);
      } else {
        replacement.isLeftBehind = true;
      }
    },
  };
  Object.defineProperty(target, name, { ...descriptor, value });
  mark(target, name, replacement);
  return [replacement.takeBack];
}

/** Whether a method is replaced on a prototype, or on one that it inherits from. */
export function isReplaced(
  target: object | null | undefined,
  name: string,
  where: 'own' | 'inherited' = 'inherited',
): boolean {
  for (let at = target; at; at = Object.getPrototypeOf(at) as object | null) {
    if (replacementOf(at, name) !== undefined) return true;
    if (where === 'own') return false;
  }
  return false;
}

/** That of this very prototype; a subclass has its own. */
function replacementOf(target: Marked, name: string): Replacement | undefined {
  return Object.hasOwn(target, REPLACED) ? target[REPLACED]?.get(name) : undefined;
}

function mark(target: Marked, name: string, replacement: Replacement): void {
  if (!Object.hasOwn(target, REPLACED)) {
    Object.defineProperty(target, REPLACED, { value: new Map(), configurable: true });
  }
  target[REPLACED]?.set(name, replacement);
}

function unmark(target: Marked, name: string): void {
  target[REPLACED]?.delete(name);
  if (target[REPLACED]?.size === 0) delete target[REPLACED];
}
