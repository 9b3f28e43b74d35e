import type { ContextKey } from './context-key';
import { oncePerProcess } from './context-storage';

/** The keys whose values travel, by name: what arrives knows only that. Shared by all copies of the package. */
const keys = oncePerProcess('carried-keys', () => new Map<string, ContextKey<unknown>>());

/** A module that is evaluated anew (a test runner, a reload) declares its keys again: the newest counts. */
export function declareCarried(key: ContextKey<unknown>): void {
  keys.set(key.name, key);
}

/** The key that a value of this name goes to; `undefined` for a name that nobody has declared. */
export function carriedKey(name: string): ContextKey<unknown> | undefined {
  return keys.get(name);
}
