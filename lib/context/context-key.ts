import { invalidOption } from '../kernel/errors';
import { declareCarried } from './carried-keys';
import { isLogName, type LogValue } from './own-log-fields';
import { isOurField } from './our-fields';

/**
 * A validator of any library that implements Standard Schema (https://standardschema.dev): zod 4, valibot, arktype.
 * It must be synchronous.
 *
 * @typeParam T type of a valid value
 */
export interface ValueSchema<T> {
  readonly '~standard': {
    readonly version: 1;
    readonly vendor: string;
    validate(value: unknown): SchemaResult<T> | Promise<SchemaResult<T>>;
  };
}

/** Result of a validation. */
export type SchemaResult<T> =
  | { readonly value: T; readonly issues?: undefined }
  | { readonly issues: readonly { readonly message: string }[] };

/** Picks what a log line shows of a value. A method, so that a key of a `T` is a key of an unknown value too. */
type LogPicker<T> = { pick(value: T): LogValue | undefined }['pick'];

/** Options of a context key. */
export interface ContextKeyOptions<T> {
  /**
   * Whether the value travels to other services and jobs, as JSON; see `contextService.carry()`.
   * @default false
   */
  readonly carry?: boolean;
  /**
   * Validates, and may transform, a value that is set or that arrives: `set()` throws for an invalid value, and an
   * invalid incoming value is ignored. A schema that transforms must also accept its own output. An asynchronous
   * schema cannot be used: `set()` then accepts every value, and incoming values are ignored.
   * @default every value is accepted
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
 * A typed name of a value in the request context. Two keys with the same name are different keys; if both have
 * `carry: true`, an incoming value goes to the one that was created last.
 *
 * @typeParam T type of the value
 */
export interface ContextKey<T> extends ContextKeyOptions<T> {
  /** For log lines and debuggers; also the name of the value while it travels. */
  readonly name: string;
  /** Carries only the type; never set. */
  readonly '~type'?: T;
}

/**
 * Creates a typed key for `contextService.get()` and `set()`.
 *
 * @throws AsyncContextError `ASYNC_CONTEXT_INVALID_OPTION` for a `log` that is neither a boolean nor a function, and
 * for a name that a line of this package has (`requestId`, `error`, `status`, …) or that a logger writes
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
  if (isOurField(name))
    throw invalidOption(
      'log',
      name,
      'Lines and reports of this package have a field of that name: name the key differently.',
      'createContextKey',
    );
  if (!isLogName(name))
    throw invalidOption(
      'log',
      name,
      'Its logger writes level, time, message and the like into each line: ' +
        'name the key differently, in 1 to 100 characters.',
      'createContextKey',
    );
}
