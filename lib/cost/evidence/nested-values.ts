const MAX_DEPTH = 4;
const MAX_VALUES = 64;

/** Calls nothing of an object: no getter, no `toJSON`. */
export function ownValue(object: object, name: string): unknown {
  const property = Object.getOwnPropertyDescriptor(object, name);
  return property?.get === undefined ? property?.value : undefined;
}

/** Whether somebody's data, rather than an instance of a class. */
export function isPlain(value: unknown): value is object {
  if (typeof value !== 'object' || value === null) return false;
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null;
}

/**
 * Visits the values of an array or of a plain object, with the key that each stands under, until it is told to stop.
 *
 * Of 64 values and four levels at most.
 */
export function visitValues(
  value: unknown,
  visit: (value: unknown, key: string | undefined) => boolean,
): void {
  let left = MAX_VALUES + 1;
  const walk = (at: unknown, key: string | undefined, depth: number): boolean => {
    if (Array.isArray(at)) {
      if (depth === MAX_DEPTH) return true;
      for (let i = 0; i < at.length; i++) if (!walk(at[i], key, depth + 1)) return false;
      return true;
    }
    if (isPlain(at)) {
      if (depth === MAX_DEPTH) return true;
      for (const name of Object.keys(at)) if (!walk(ownValue(at, name), name, depth + 1)) return false;
      return true;
    }
    return (left -= 1) >= 0 && visit(at, key);
  };
  walk(value, undefined, 0);
}
