import { boundBaggage } from '../../w3c/baggage';
import { CONTEXT, REQUEST_ID, SIGNATURE, signedText } from '../../context/carrier';
import type { CarrierRules } from './carrier-rules';
import { type CarrierWay, refusalOf } from './carrier-term';
import { carriedKey } from '../../context/carried-keys';
import { verdictOf } from '../../context/checked-value';
import type { ContextKey } from '../../context/context-key';
import type { ContextUser } from '../../context/request-context';
import { isRequestId } from '../../context/request-id';
import { parseTrace, type TraceParent } from '../../w3c/trace-parent';

/** The limit of `baggage`, the longest of all: https://www.w3.org/TR/baggage/#limits */
const MAX_FIELD = 8_192;

const REASONS = {
  later: 'its schema is asynchronous, so the incoming value was ignored: use a synchronous schema',
  invalid: 'its schema rejected the incoming value, which was ignored',
  threw: 'its schema threw, so the incoming value was ignored',
} as const;

/** What has arrived, as far as it is believed. */
export interface Arrival {
  readonly requestId: string | undefined;
  readonly traceParent: TraceParent | undefined;
  readonly baggage: string | undefined;
  readonly user: ContextUser | undefined;
  readonly values: Map<ContextKey<unknown> | string, unknown> | undefined;
}

/** What may be believed of a carrier, whatever it is. Never throws. */
export function readCarrier(carrier: unknown, rules: CarrierRules, way: CarrierWay): Arrival {
  const field = fieldReader(carrier);
  const requestId = field(REQUEST_ID);
  const baggage = field('baggage');
  const { user, values } = readContext(requestId, field(CONTEXT), field(SIGNATURE), rules, way);
  return {
    requestId: isRequestId(requestId) ? requestId : undefined,
    traceParent: parseTrace(field('traceparent'), field('tracestate')),
    baggage: baggage && boundBaggage(baggage),
    user,
    values,
  };
}

function readContext(
  requestId: string | undefined,
  text: string | undefined,
  signature: string | undefined,
  rules: CarrierRules,
  way: CarrierWay,
): Pick<Arrival, 'user' | 'values'> {
  const nothing = { user: undefined, values: undefined };
  if (text === undefined) return nothing;
  const { signer, trustsUnsigned, hookErrors } = rules;
  const isSigned = signer !== undefined && signature !== undefined;
  if (isSigned && !signer.fits(signedText(requestId ?? '', text), signature)) {
    hookErrors.say('carrier', 'its signature does not match, so its user and values were ignored');
    return nothing;
  }
  if (signer !== undefined && !isSigned && !trustsUnsigned) {
    hookErrors.say('carrier', 'it is not signed, so its user and values were ignored');
    return nothing;
  }
  const content = parseObject(text);
  if (content === undefined) {
    hookErrors.say('carrier', `its ${CONTEXT} is not a JSON object, so its user and values were ignored`);
    return nothing;
  }
  const refusal = isSigned ? refusalOf(content, rules.term, way, Date.now()) : undefined;
  if (refusal !== undefined) {
    hookErrors.say('carrier', refusal);
    return nothing;
  }
  const user = isSigned || trustsUnsigned ? content['user'] : undefined;
  return {
    user: typeof user === 'object' && user !== null ? (user as ContextUser) : undefined,
    values: readValues(content['values'], hookErrors),
  };
}

function readValues(values: unknown, hookErrors: CarrierRules['hookErrors']): Arrival['values'] {
  if (typeof values !== 'object' || values === null) return undefined;
  const read = new Map<ContextKey<unknown> | string, unknown>();
  for (const [name, value] of Object.entries(values)) {
    const key = carriedKey(name);
    // What nobody has declared here is of no use here, and may be anything.
    if (key === undefined) continue;
    const valid = validate(key, value, words => hookErrors.say(`carrier, key ${name}`, words));
    if (valid !== undefined) read.set(key, valid.value);
  }
  return read.size === 0 ? undefined : read;
}

function validate(
  key: ContextKey<unknown>,
  value: unknown,
  say: (words: string) => void,
): { readonly value: unknown } | undefined {
  const verdict = verdictOf(key, value);
  if (typeof verdict === 'object') return verdict;
  say(REASONS[verdict]);
  return undefined;
}

function parseObject(text: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}

/** Reads strings of a sane length from what may be anything. */
function fieldReader(carrier: unknown): (name: string) => string | undefined {
  if (typeof carrier !== 'object' || carrier === null) return () => undefined;
  return name => {
    try {
      const value = (carrier as Record<string, unknown>)[name];
      return typeof value === 'string' && value.length <= MAX_FIELD ? value : undefined;
    } catch {
      return undefined;
    }
  };
}
