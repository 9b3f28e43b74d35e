import { oncePerProcess } from './once-per-process';

// Of any protocol: two layers would count twice.
const REPLACED = Symbol.for('nestjs-async-context.replaced');

type AnyFunction = (...args: never[]) => unknown;

interface Replacement {
  /** Somebody else has wrapped it, so that it could not be taken back. */
  isLeftBehind: boolean;
  takeBack(): void;
}

type Marked = { [REPLACED]?: Map<string, Replacement> };

/** How often a method was replaced, by any copy: a class that had none of ours may have one since. */
const changes = oncePerProcess('replacements', () => ({ count: 0 }));

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

/**
 * The same for a class and those below it, each of which may have the method of its own: a wrapper that somebody
 * put on a subclass has kept what the class above had before this package, and never calls what it has now. A
 * call that passes several is seen by the one furthest down.
 */
export function replaceMethods<F extends AnyFunction>(
  targets: readonly object[],
  name: string,
  make: (original: F) => F,
): (() => void)[] {
  return targets.flatMap(target =>
    replaceMethod<AnyFunction>(target, name, original => {
      const seen = make(original as F) as AnyFunction;
      // To look through the classes takes longer than many a call: of the last one it is known that it has no such
      // method of ours, until one is replaced.
      let lastClass: unknown;
      let lastCount = -1;
      const isPassedOn = (object: object | null | undefined): boolean => {
        if (object === undefined || object === null || Object.hasOwn(object, name))
          return isNotSeen(object, name, target);
        const itsClass: unknown = Object.getPrototypeOf(object);
        if (itsClass === lastClass && changes.count === lastCount) return false;
        const isSeenBelow = isNotSeen(object, name, target);
        if (!isSeenBelow) {
          lastClass = itsClass;
          lastCount = changes.count;
        }
        return isSeenBelow;
      };
      return function (this: object | null | undefined, ...args) {
        return (isPassedOn(this) ? original : seen).apply(this, args);
      };
    }),
  );
}

/**
 * Whether the method is replaced on an object, or on a class of it that is below `target`; or has lost its
 * object, which is the bare driver's to say.
 */
function isNotSeen(object: object | null | undefined, name: string, target: object): boolean {
  if (object === undefined || object === null) return true;
  for (
    let at: object | null = object;
    at !== null && at !== target;
    at = Object.getPrototypeOf(at) as object | null
  ) {
    if (replacementOf(at, name) !== undefined) return true;
  }
  return false;
}

/** The prototypes of classes that are found, each once. */
export function prototypesOf(...classes: unknown[]): object[] {
  return [...new Set(classes.flatMap(one => (one as { prototype?: object } | undefined)?.prototype ?? []))];
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

/** That of this very prototype; a subclass has its own. What somebody has deleted since is replaced no more. */
function replacementOf(target: Marked, name: string): Replacement | undefined {
  const isThere = Object.hasOwn(target, REPLACED) && Object.hasOwn(target, name);
  return isThere ? target[REPLACED]?.get(name) : undefined;
}

function mark(target: Marked, name: string, replacement: Replacement): void {
  if (!Object.hasOwn(target, REPLACED)) {
    Object.defineProperty(target, REPLACED, { value: new Map(), configurable: true });
  }
  target[REPLACED]?.set(name, replacement);
  changes.count += 1;
}

function unmark(target: Marked, name: string): void {
  target[REPLACED]?.delete(name);
  if (target[REPLACED]?.size === 0) delete target[REPLACED];
}
