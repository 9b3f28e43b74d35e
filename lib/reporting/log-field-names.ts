import { invalidOption } from '../kernel/errors';
import type { ContextLogFields } from './log-fields';

const FIELDS = [
  'requestId',
  'traceId',
  'spanId',
  'userId',
  'handler',
] as const satisfies readonly (keyof ContextLogFields)[];

/**
 * What the fields of a log line are called; `false` leaves one out.
 *
 * @default each has the name that it has here
 * @example
 * const openTelemetry: LogFieldNames = { traceId: 'trace_id', spanId: 'span_id', userId: false };
 */
export type LogFieldNames = { readonly [field in keyof ContextLogFields]?: string | false };

/** The fields that a line gets, and what each is called there. */
export type NamedFields = readonly (readonly [field: keyof ContextLogFields, name: string])[];

/**
 * Checks the names and fills in the defaults.
 *
 * @throws AsyncContextError `ASYNC_CONTEXT_INVALID_OPTION`
 */
export function readFieldNames(names: LogFieldNames = {}, call: string): NamedFields {
  const known: readonly string[] = FIELDS;
  for (const [field, name] of Object.entries(names)) {
    if (!known.includes(field)) {
      throw invalidOption(field, name, `There is no such field: use ${FIELDS.join(', ')}.`, call);
    }
    // As a key of an object it would set a prototype.
    if (name !== undefined && name !== false && (!isName(name) || name === '__proto__')) {
      throw invalidOption(field, name, 'Use a name of 1 to 100 characters, or false to leave it out.', call);
    }
  }
  const named = FIELDS.flatMap(field => {
    const name = names[field] ?? field;
    return name === false ? [] : [[field, name] as const];
  });
  for (const [i, [field, name]] of named.entries()) {
    if (named.findIndex(([, other]) => other === name) === i) continue;
    throw invalidOption(field, name, 'Give each field a name of its own.', call);
  }
  return Object.freeze(named);
}

function isName(name: unknown): boolean {
  return typeof name === 'string' && name.length > 0 && name.length <= 100;
}
