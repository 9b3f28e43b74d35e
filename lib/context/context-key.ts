/**
 * A typed name of a value in the request context. Two keys of one name are two different keys.
 *
 * @typeParam T type of the value
 */
export interface ContextKey<T> {
  /** For log lines and debuggers; it does not identify the key. */
  readonly name: string;
  /** Carries the type only; never set. */
  readonly '~type'?: T;
}

/**
 * Makes a typed key for `contextService.get()` and `set()`.
 *
 * @example
 * const TENANT = createContextKey<string>('tenant');
 *
 * context.set(TENANT, 'acme');
 * const tenant = context.get(TENANT); // string | undefined
 */
export function createContextKey<T>(name: string): ContextKey<T> {
  return Object.freeze({ name });
}
