import { Logger } from '@nestjs/common';
import type { ContextKey } from './context-key';
import { oncePerProcess } from '../kernel/once-per-process';

/** Far more than any application declares; keys that are made anew for each request would be without end. */
const MAX_KEYS = 1_000;

/** The keys whose values travel, by name: what arrives knows only that. Shared by all copies of the package. */
const keys = oncePerProcess('carried-keys', () => new Map<string, ContextKey<unknown>>());
const warned = oncePerProcess('carried-keys.warned', () => ({ isOver: false }));

/** A module that is evaluated anew (a test runner, a reload) declares its keys again: the newest counts. */
export function declareCarried(key: ContextKey<unknown>): void {
  if (keys.size < MAX_KEYS || keys.has(key.name)) keys.set(key.name, key);
  else if (!warned.isOver) {
    warned.isOver = true;
    new Logger('AsyncContext').warn(
      `createContextKey({ carry: true }) was called with more than ${MAX_KEYS} names: incoming values of further keys ` +
        'are ignored. Create each key once, as a constant of a module, not in a request.',
    );
  }
}

/** The key that a value of this name goes to; `undefined` for a name that nobody has declared. */
export function carriedKey(name: string): ContextKey<unknown> | undefined {
  return keys.get(name);
}
