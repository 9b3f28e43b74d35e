import { LINE_FIELDS as FIELDS } from '../context/our-fields';
import type { LogValue } from '../context/own-log-fields';
import { invalidOption } from '../kernel/errors';
import { oncePerProcess } from '../kernel/once-per-process';
import type { ContextLogFields } from './log-fields';

type Field = (typeof FIELDS)[number];

/**
 * The names of the context fields in log lines; `false` omits a field. `'ecs'` uses the names of the Elastic Common
 * Schema (https://www.elastic.co/guide/en/ecs/current/ecs-field-reference.html), `'otel'` those of OpenTelemetry for
 * logs in JSON (https://opentelemetry.io/docs/specs/otel/compatibility/logging_trace_context/).
 *
 * @default each field keeps its own name
 * @example
 * const names: LogFieldNames = { traceId: 'trace_id', spanId: 'span_id', userId: false };
 */
export type LogFieldNames = 'ecs' | 'otel' | { readonly [field in Field]?: string | false };

/** The fields that a line gets, and what each is called there. */
export type NamedFields = readonly (readonly [field: Field, name: string])[];

/** Neither schema has a name for the handler of a request; OpenTelemetry has none for its id. */
const SCHEMAS: Readonly<Record<'ecs' | 'otel', Readonly<Record<Field, string>>>> = {
  ecs: {
    requestId: 'http.request.id',
    traceId: 'trace.id',
    spanId: 'span.id',
    userId: 'user.id',
    handler: 'labels.handler',
  },
  otel: {
    requestId: 'request_id',
    traceId: 'trace_id',
    spanId: 'span_id',
    userId: 'user.id',
    handler: 'code.function.name',
  },
};

/**
 * Checks the names and fills in the defaults.
 *
 * @throws AsyncContextError `ASYNC_CONTEXT_INVALID_OPTION`
 */
export function readFieldNames(given: LogFieldNames = {}, call: string): NamedFields {
  if (typeof given === 'string' && !Object.hasOwn(SCHEMAS, given))
    throw invalidOption('fieldNames', given, "Use 'ecs', 'otel' or an object of names.", call);
  const names = typeof given === 'string' ? SCHEMAS[given] : given;
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

/** All fields of a line, with the names that they have there: those of this package, then the application's own. */
export function fieldsOfLine(
  fields: ContextLogFields,
  named: NamedFields,
): [name: string, value: LogValue][] {
  const line: [string, LogValue][] = [];
  for (const [field, name] of named) {
    const value = fields[field];
    if (value !== undefined) line.push([name, value]);
  }
  for (const [name, value] of Object.entries(fields)) {
    const isOwn = !(FIELDS as readonly string[]).includes(name) && !named.some(([, ours]) => ours === name);
    if (isOwn && value !== undefined) line.push([name, value]);
  }
  return line;
}

/** The facts of a report, whose request is named as the lines of a logger name it. */
export function renameFields(
  facts: Readonly<Record<string, unknown>>,
  named: NamedFields | undefined,
): Readonly<Record<string, unknown>> {
  if (named === undefined) return facts;
  const renamed: Record<string, unknown> = {};
  for (const [field, value] of Object.entries(facts)) {
    const isOurs = (FIELDS as readonly string[]).includes(field);
    const name = isOurs ? named.find(([ours]) => ours === field)?.[1] : field;
    if (name !== undefined) renamed[name] = value;
  }
  return renamed;
}

type Library = 'pino' | 'winston';

/** What a mixin of pino and a format of winston call the fields, for the reports that go through the same logger. */
const inUse = oncePerProcess<Partial<Record<Library, NamedFields>>>('log field names', () => ({}));

export function useFieldNames(library: Library, named: NamedFields): void {
  inUse[library] = named;
}

export function fieldNamesOf(library: Library): NamedFields | undefined {
  return inUse[library];
}
