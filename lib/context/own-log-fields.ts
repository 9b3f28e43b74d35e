import { answerOf } from '../kernel/answer-of';
import { OwnError } from '../kernel/own-error';
import type { ContextKey } from './context-key';
import { isOurField } from './our-fields';
import type { ContextApplication, RequestContext } from './request-context';

/** What a field of a log line can hold. */
export type LogValue = string | number | boolean;

/** Return type of `forRoot({ logFields })`: a field that is `null` or `undefined` is omitted. */
export type LogFields = Readonly<Record<string, LogValue | bigint | null | undefined>>;

/** What loggers write themselves: pino would write such a field a second time, and the level of the line be lost. */
const LOGGERS_OWN: ReadonlySet<string> = new Set([
  'level',
  'time',
  'msg',
  'message',
  'timestamp',
  'pid',
  'hostname',
  'context',
]);

/** One for all: to make an error for each line would take longer than the line. */
const NO_NAME = new OwnError('its name is one of this package or of the logger, or no name at all');

/** Fields of the application, by name. */
export type OwnLogFields = Readonly<Record<string, LogValue>>;

const ignore = (): void => undefined;

const MAX_FIELDS = 20;
const MAX_NAME = 100;
const MAX_TEXT = 200;

/** Set while a function of the application is asked: a line that it writes has no fields of the application. */
let isAsking = false;

/**
 * The application's own fields for a log line of a unit of work: values of keys with `log`, and what `logFields`
 * gives. After the close they are what they were at the close. Never throws.
 */
export function ownLogFields(context: RequestContext): OwnLogFields | undefined {
  if (context.logFieldsAtClose !== undefined) return context.logFieldsAtClose;
  const { values, application } = context;
  if (isAsking || (values === undefined && application.logFieldsOf === undefined)) return undefined;
  isAsking = true;
  const fields: Record<string, LogValue> = {};
  try {
    for (const [key, value] of values ?? [])
      if (typeof key === 'object' && key.log !== undefined) addOfKey(fields, key, value, application);
    const given: unknown = application.logFieldsOf?.(context);
    if (typeof given === 'object' && given !== null) {
      const names = Object.keys(given);
      for (const name of names) if (isLogName(name)) addOfGiven(fields, name, given, application);
      // The first one alone: each name has a window of its own, and they share the limit of all reports.
      const refused = names.find(name => !isLogName(name));
      if (refused !== undefined) application.logFieldFailed?.(`${refused} of logFields`, NO_NAME);
    }
  } catch (error) {
    application.logFieldFailed?.('logFields', error);
  } finally {
    isAsking = false;
  }
  return Object.keys(fields).length === 0 ? undefined : Object.freeze(fields);
}

/** Whether a field of the application may have this name. */
export function isLogName(name: string): boolean {
  // As a key of an object `__proto__` would set a prototype.
  if (name === '' || name.length > MAX_NAME || name === '__proto__') return false;
  return !LOGGERS_OWN.has(name) && !isOurField(name);
}

/** `tenant=acme, plan=large`, for a line that people read; empty where there is none. */
export function textOfOwnFields(fields: OwnLogFields | undefined): string {
  return Object.entries(fields ?? {})
    .map(([name, value]) => `${name}=${String(value)}`)
    .join(', ');
}

function add(fields: Record<string, LogValue>, name: string, value: unknown): void {
  const shown = logValueOf(value);
  if (shown !== undefined && (Object.hasOwn(fields, name) || Object.keys(fields).length < MAX_FIELDS))
    fields[name] = shown;
}

/** A line without the field is better than no line; why it has none is reported. */
function addOfKey(
  fields: Record<string, LogValue>,
  { name, log }: ContextKey<unknown>,
  value: unknown,
  application: ContextApplication,
): void {
  if (typeof log !== 'function') {
    add(fields, name, value);
    return;
  }
  try {
    add(fields, name, answerOf<unknown>(log(value)));
  } catch (error) {
    application.logFieldFailed?.(`log of the key ${name}`, error);
  }
}

/** The field may be a getter. */
function addOfGiven(
  fields: Record<string, LogValue>,
  name: string,
  given: object,
  application: ContextApplication,
): void {
  try {
    add(fields, name, (given as Record<string, unknown>)[name]);
  } catch (error) {
    application.logFieldFailed?.(`${name} of logFields`, error);
  }
}

function logValueOf(value: unknown): LogValue | undefined {
  switch (typeof value) {
    case 'string':
      return value.length > MAX_TEXT ? `${value.slice(0, MAX_TEXT - 1)}…` : value;
    case 'number':
      return Number.isFinite(value) ? value : undefined;
    case 'bigint':
      return String(value).slice(0, MAX_TEXT);
    case 'boolean':
      return value;
    default:
      // Its rejection would end the process. Not of each thenable: a query builder would run its query.
      if (value instanceof Promise) value.catch(ignore);
      return undefined;
  }
}
