import { declareCarried } from './carried-keys';

/**
 * A validator of any library that speaks Standard Schema (https://standardschema.dev): zod 4, valibot,
 * arktype. It must answer at once, not with a promise.
 *
 * @typeParam T what a valid value is
 */
export interface ValueSchema<T> {
  readonly '~standard': {
    readonly version: 1;
    readonly vendor: string;
    validate(value: unknown): SchemaResult<T> | Promise<SchemaResult<T>>;
  };
}

/** What a validator says of a value. */
export type SchemaResult<T> =
  | { readonly value: T; readonly issues?: undefined }
  | { readonly issues: readonly { readonly message: string }[] };

/** What a key allows beside being a name. */
export interface ContextKeyOptions<T> {
  /**
   * Whether its value travels to other services and jobs, as JSON; see `contextService.carry()`.
   * @default false
   */
  readonly carry?: boolean;
  /**
   * Checks, and may transform, a value that is set or that arrives: `set()` throws for one that is not valid, and
   * one that arrives is left out. A schema that transforms must take its own results, too. One that answers with a
   * promise cannot be asked: `set()` takes every value, and what arrives is left out.
   * @default every value is taken
   */
  readonly schema?: ValueSchema<T>;
}

/**
 * A typed name of a value in the request context. Two keys of one name are two different keys; of those
 * that travel, the one that was made last is the one that an arriving value goes to.
 *
 * @typeParam T type of the value
 */
export interface ContextKey<T> extends ContextKeyOptions<T> {
  /** For log lines and debuggers, and what the value is called while it travels. */
  readonly name: string;
  /** Carries the type only; never set. */
  readonly '~type'?: T;
}

/**
 * Makes a typed key for `contextService.get()` and `set()`.
 *
 * @example
 * const TENANT = createContextKey<string>('tenant', { carry: true });
 *
 * context.set(TENANT, 'acme');
 * const tenant = context.get(TENANT); // string | undefined
 */
export function createContextKey<T>(name: string, options: ContextKeyOptions<T> = {}): ContextKey<T> {
  const { carry, schema } = options;
  const key: ContextKey<T> = Object.freeze({
    name,
    ...(carry === true && { carry }),
    ...(schema !== undefined && { schema }),
  });
  if (carry === true) declareCarried(key);
  return key;
}
