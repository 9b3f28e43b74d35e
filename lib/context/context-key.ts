import { invalidOption } from '../kernel/errors';
import { declareCarried } from './carried-keys';
import { isLogName, LINE_FIELDS, type LogValue } from './own-log-fields';

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

/** Picks what a log line shows of a value. A method, so that a key of a `T` is a key of an unknown value too. */
type LogPicker<T> = { pick(value: T): LogValue | undefined }['pick'];

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
  /**
   * Whether each log line of the unit of work has the value as a field, under the name of the key: lines of Nest's
   * logger, pino and winston, reports and the canonical line. Strings (up to 200 characters), numbers, booleans and
   * bigints are logged; for anything else give a function that picks one of these, or `undefined` for no field. A
   * line has at most 20 such fields.
   * @default false
   */
  readonly log?: boolean | LogPicker<T>;
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
 * @throws AsyncContextError `ASYNC_CONTEXT_INVALID_OPTION` for a `log` that is neither a boolean nor a function, and
 * for a name that a log line cannot have beside its own fields (`requestId`, `traceId`, …)
 * @example
 * const TENANT = createContextKey<string>('tenant', { carry: true, log: true });
 *
 * context.set(TENANT, 'acme');
 * const tenant = context.get(TENANT); // string | undefined
 */
export function createContextKey<T>(name: string, options: ContextKeyOptions<T> = {}): ContextKey<T> {
  const { carry, schema, log } = options;
  if (log !== undefined && log !== false) checkLog(name, log);
  const key: ContextKey<T> = Object.freeze({
    name,
    ...(carry === true && { carry }),
    ...(schema !== undefined && { schema }),
    ...(log !== undefined && log !== false && { log }),
  });
  if (carry === true) declareCarried(key);
  return key;
}

function checkLog(name: string, log: unknown): void {
  if (log !== true && typeof log !== 'function')
    throw invalidOption('log', log, 'Use true, false or a function of the value.', 'createContextKey');
  if (!isLogName(name))
    throw invalidOption(
      'log',
      name,
      `Each log line has ${LINE_FIELDS.join(', ')} already: name the key differently, in 1 to 100 characters.`,
      'createContextKey',
    );
}
