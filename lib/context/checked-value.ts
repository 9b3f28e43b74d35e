import { invalidValue } from '../kernel/errors';
import type { ContextKey } from './context-key';
import { isThenable, whenSettled } from '../kernel/thenable';

const ignore = (): void => undefined;

/** What a schema says of a value; `later` for one that answers with a promise. */
export type Verdict = { readonly value: unknown } | 'invalid' | 'threw' | 'later';

/** Asks the schema of a key. Never throws, and never tells what the schema says: it may quote the value. */
export function verdictOf({ schema }: ContextKey<unknown>, value: unknown): Verdict {
  if (schema === undefined) return { value };
  try {
    const result = schema['~standard'].validate(value);
    if (isThenable(result)) {
      whenSettled(result, ignore, ignore);
      return 'later';
    }
    return result.issues === undefined && 'value' in result ? { value: result.value } : 'invalid';
  } catch {
    return 'threw';
  }
}

/**
 * The value that a key takes. `undefined` is none, and one whose schema answers with a promise is taken as it is.
 *
 * @throws AsyncContextError `ASYNC_CONTEXT_INVALID_VALUE` where the schema of the key does not take it
 */
export function checkedValue(key: ContextKey<unknown> | string, value: unknown): unknown {
  if (typeof key === 'string' || key.schema === undefined || value === undefined) return value;
  const verdict = verdictOf(key, value);
  if (verdict === 'later') return value;
  if (verdict === 'invalid' || verdict === 'threw') throw invalidValue(key.name, verdict === 'threw');
  return verdict.value;
}
