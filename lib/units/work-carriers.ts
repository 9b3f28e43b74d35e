import { type Carrier, CONTEXT, SIGNATURE } from '../context/carrier';
import type { ContextKey } from '../context/context-key';
import type { RequestContext } from '../context/request-context';
import { readCarrier } from '../propagation/carrier/carrier-reader';
import type { CarrierRules } from '../propagation/carrier/carrier-rules';
import { CarrierSigner } from '../propagation/carrier/carrier-signer';
import type { CarrierWay } from '../propagation/carrier/carrier-term';
import { writeCarrier } from '../propagation/carrier/carrier-writer';
import type { HookErrorReporter } from '../reporting/hook-error-reporter';
import { type ExtractedContext, extractContext } from '../w3c/open-telemetry';
import type { ResolvedOptions } from './resolved-options';

/** What travels of a unit of work to another process, and what one takes over of what has travelled here. */
export class WorkCarriers {
  readonly #rules: CarrierRules;

  constructor(options: ResolvedOptions, hookErrors: HookErrorReporter) {
    const { carrierSecrets: secrets, carrierUser, trustUnsignedCarriers } = options;
    this.#rules = {
      signer: secrets && new CarrierSigner(secrets),
      term: options.carrierTerm,
      trustsUnsigned: trustUnsignedCarriers,
      user: carrierUser,
      hookErrors,
    };
  }

  /** With the id that is sent. Never throws. */
  carrierOf(context: RequestContext, requestId: string): Carrier {
    return writeCarrier(context, this.#rules, requestId);
  }

  /**
   * Makes a unit of work go on from what has travelled here, as far as that is believed. Never throws.
   *
   * @param way how it has come, which says how old it may be
   * @returns what its work is to be run in, so that spans of OpenTelemetry have their parent; `undefined` where
   * there is nothing to it
   */
  adopt(context: RequestContext, carrier: unknown, way: CarrierWay): ExtractedContext['run'] | undefined {
    const { requestId, traceParent, baggage, user, values } = readCarrier(carrier, this.#rules, way);
    const extracted = extractContext(carrier);
    if (requestId !== undefined) context.parentRequestId = requestId;
    if (baggage !== undefined) context.baggage = baggage;
    if (user !== undefined) context.user = user;
    if (values !== undefined) addValues(context, values);
    const parent = extracted?.parent ?? traceParent;
    if (parent === undefined) return undefined;
    context.traceParent = parent;
    // A span of a consumer that OpenTelemetry has opened for it already.
    if (context.knownTrace?.traceId === parent.traceId) return undefined;
    context.knownTrace = undefined;
    return extracted?.run;
  }

  /** The same for what came with an HTTP request, which anybody may send: only what is signed. Never throws. */
  adoptSigned(context: RequestContext, carrier: Carrier): void {
    if (carrier[CONTEXT] === undefined || carrier[SIGNATURE] === undefined) return;
    const rules = { ...this.#rules, trustsUnsigned: false };
    const { requestId, user, values } = readCarrier(carrier, rules, 'http');
    if (user === undefined && values === undefined) return;
    if (requestId !== context.requestId) context.parentRequestId = requestId;
    context.carriedUser = user;
    if (values !== undefined) addValues(context, values);
  }
}

/** Adds to the values of a unit of work, which may share them with others. */
export function addValues(
  context: RequestContext,
  values: Iterable<readonly [key: ContextKey<unknown> | string, value: unknown]>,
): void {
  context.values = new Map([...(context.values ?? []), ...values]);
}
