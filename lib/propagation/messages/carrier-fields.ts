import { type Carrier, CONTEXT, REQUEST_ID, SIGNATURE } from '../../context/carrier';
import { carrierToSend } from './message-scope';

/** What headers or metadata hold under a name. */
export type Lookup = (name: string) => unknown;

/** Fields that say nothing without each other: where the application has set one, it has none of ours. */
const GROUPS = [['traceparent', 'tracestate'], ['baggage'], [REQUEST_ID], [CONTEXT, SIGNATURE]] as const;
const FIELDS = GROUPS.flat();
/** The longest that any of them may be: https://www.w3.org/TR/baggage/#limits */
const MAX_FIELD = 8_192;

type Fields = readonly (readonly [name: string, value: string])[];

/**
 * What the message that the current unit of work sends has to be given; nothing outside of any. What the
 * application, or `@nestjs/observe`, has put there itself is left as it is.
 */
export function fieldsToSend(theirs: Lookup): Fields {
  const carrier = carrierToSend(textOf(theirs(REQUEST_ID)));
  return carrier === undefined ? [] : fieldsBeside(carrier, theirs);
}

function fieldsBeside(carrier: Carrier, theirs: Lookup): Fields {
  const fields: [string, string][] = [];
  for (const group of GROUPS) {
    if (group.some(name => isGiven(theirs(name)))) continue;
    for (const name of group) {
      const value = carrier[name];
      if (value !== undefined) fields.push([name, value]);
    }
  }
  return fields;
}

/**
 * The same headers or metadata with the fields of the current unit of work, but for those that are `beside`
 * them; as they are where it has none.
 */
export function withFields<T extends object>(theirs: T | undefined, beside?: object): T | undefined {
  if (theirs === undefined && beside === undefined) {
    const carrier = carrierToSend(undefined);
    return carrier && ({ ...carrier } as unknown as T);
  }
  const [inside, outside] = [lookupIn(theirs), lookupIn(beside)];
  const fields = fieldsToSend(name => inside(name) ?? outside(name));
  // A copy: the application may send the same object with the messages of others.
  return fields.length === 0 ? theirs : (Object.assign(Object.fromEntries(fields), theirs) as unknown as T);
}

/** What a message has brought, whatever wrote it. */
export function readFields(given: Lookup): Carrier | undefined {
  let carrier: Record<string, string> | undefined;
  for (const name of FIELDS) {
    const value = textOf(given(name));
    if (value !== undefined) (carrier ??= {})[name] = value;
  }
  return carrier;
}

/** Reads what a broker's client gives as headers, or JSON that may be anything. */
export function lookupIn(source: unknown): Lookup {
  if (typeof source !== 'object' || source === null) return () => undefined;
  return name => (Object.hasOwn(source, name) ? (source as Record<string, unknown>)[name] : undefined);
}

/** The text of a header, of which there may be several; Kafka's are bytes. */
function textOf(value: unknown): string | undefined {
  if (Array.isArray(value)) return textOf(value[0]);
  if (Buffer.isBuffer(value)) return value.length > MAX_FIELD ? undefined : value.toString();
  return typeof value === 'string' && value !== '' ? value : undefined;
}

function isGiven(value: unknown): boolean {
  return (
    value !== undefined && value !== null && value !== '' && !(Array.isArray(value) && value.length === 0)
  );
}
