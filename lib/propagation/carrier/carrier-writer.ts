import {
  type Carrier,
  CONTEXT,
  MAX_CARRIER_BYTES,
  REQUEST_ID,
  SIGNATURE,
  signedText,
} from '../../context/carrier';
import type { CarrierRules } from './carrier-rules';
import { signedTerm } from './carrier-term';
import { answerOf } from '../../kernel/answer-of';
import { OwnError } from '../../kernel/own-error';
import { activeSpan, injectSpan } from '../../w3c/open-telemetry';
import type { RequestContext } from '../../context/request-context';
import { isThenable } from '../../kernel/thenable';
import { formatTraceParent } from '../../w3c/trace-parent';

const PRINTABLE = /^[ -~]*$/;

/** What travels of a unit of work, signed for the id that travels with it. Never throws. */
export function writeCarrier(
  context: RequestContext,
  rules: CarrierRules,
  requestId = context.requestId,
): Carrier {
  const span = activeSpan() ?? context.trace;
  const carrier: Record<string, string> = {
    traceparent: formatTraceParent(span),
    [REQUEST_ID]: requestId,
  };
  let room = MAX_CARRIER_BYTES - sizeOf(carrier);
  const { signer } = rules;
  if (signer !== undefined) room -= SIGNATURE.length + signer.length;
  const text = writeContext(context, room - CONTEXT.length, rules);
  if (text !== undefined) {
    carrier[CONTEXT] = text;
    room -= CONTEXT.length + text.length;
    if (signer !== undefined) carrier[SIGNATURE] = signer.sign(signedText(requestId, text));
  }
  // What the propagators of OpenTelemetry say beside that, such as b3, and their form of the same.
  const more = { tracestate: span.state, baggage: context.baggage, ...injectSpan(context.trace) };
  for (const [name, value] of Object.entries(more)) {
    if (value === undefined || name in carrier || name.length + value.length > room) continue;
    if (!PRINTABLE.test(value)) continue;
    carrier[name] = value;
    room -= name.length + value.length;
  }
  return Object.freeze(carrier);
}

function writeContext(context: RequestContext, room: number, rules: CarrierRules): string | undefined {
  // Members as JSON; the braces and names around them are `{"user":…,"values":{…}}`.
  const parts: string[] = [];
  const term = rules.signer === undefined ? [] : signedTerm(rules.term, Date.now());
  for (const member of term) room -= member.length + 1;
  const user = writeUser(context, rules);
  if (user !== undefined && user.length + 9 <= room) {
    parts.push(`"user":${user}`);
    room -= user.length + 9;
  } else if (user !== undefined) rules.hookErrors.say('carrier', 'the user is too large and was left out');
  const values: string[] = [];
  room -= 12;
  for (const [key, value] of context.values ?? []) {
    if (typeof key === 'string' || key.carry !== true) continue;
    const json = asciiJson(value, error =>
      rules.hookErrors.report(`carrier, key ${key.name}, to JSON`, error),
    );
    if (json === undefined) continue;
    const member = `${asciiJson(key.name)}:${json}`;
    if (member.length + 1 > room) {
      rules.hookErrors.say(
        `carrier, key ${key.name}`,
        `it was left out because the carrier would exceed ${MAX_CARRIER_BYTES} bytes`,
      );
      continue;
    }
    values.push(member);
    room -= member.length + 1;
  }
  if (values.length > 0) parts.push(`"values":{${values.join(',')}}`);
  return parts.length === 0 ? undefined : `{${[...term, ...parts].join(',')}}`;
}

/** Only where the other side will believe it: who somebody is does not leave the process for nothing. */
function writeUser(context: RequestContext, rules: CarrierRules): string | undefined {
  if (rules.signer === undefined && !rules.trustsUnsigned) return undefined;
  const user = rules.hookErrors.ask('carrierUser', () => {
    const current = context.currentUser();
    return current === undefined || current === null ? undefined : rules.user(current);
  });
  return asciiJson(user, error => rules.hookErrors.report('carrierUser, to JSON', error));
}

/** JSON of ASCII alone, as a header wants it. */
function asciiJson(value: unknown, report: (error: unknown) => void = () => undefined): string | undefined {
  try {
    const json: string | undefined =
      typeof value === 'object' ? JSON.stringify(value, withoutPromises) : JSON.stringify(value);
    return json?.replace(
      /[\u007f-\uffff]/g,
      character => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
    );
  } catch (error) {
    report(error);
    return undefined;
  }
}

/** A promise would be sent as `{}`; one that `toJSON()` has made is known to nobody else. */
function withoutPromises(this: Record<string, unknown>, name: string, value: unknown): unknown {
  if (this[name] !== value) return answerOf(value, 'toJSON()');
  if (isThenable(value)) throw new OwnError('it holds a promise: set the resolved value');
  return value;
}

function sizeOf(carrier: Record<string, string>): number {
  return Object.entries(carrier).reduce((sum, [name, value]) => sum + name.length + value.length, 0);
}
