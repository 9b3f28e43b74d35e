import { performance } from 'node:perf_hooks';
import type { Carrier } from '../../context/carrier';
import { CONTEXT, SIGNATURE } from '../../context/carrier';
import { injectSpan } from '../../w3c/open-telemetry';
import type { OutgoingContext, OutgoingHeader, RequestContext } from '../../context/request-context';
import { formatTimeout } from '../../context/request-timeout';
import { newSpanId } from '../../w3c/trace-ids';
import { formatTraceParent, type TraceParent } from '../../w3c/trace-parent';
import { stateOfCall } from '../../w3c/trace-state';
import type { ResolvedPropagation } from './propagate-options';

const PRINTABLE = /^[ -~]*$/;
const NOTHING: Readonly<Record<string, string>> = Object.freeze({});

/** Where that is taken from which is told beside the trace. */
export interface PropagationSource {
  /** Asked with `carrier: true` alone. */
  carrierOf(context: RequestContext): Carrier;
  /** When a unit of work is to be over, by `performance.now()`. */
  deadlineOf(context: RequestContext): number | undefined;
  /** Header for what is left of it, in lower case. */
  readonly deadlineHeader: string;
}

/** What one application tells the services that it asks. */
export class Propagation implements OutgoingContext {
  readonly #options: ResolvedPropagation;
  readonly #requestIdHeader: string;
  readonly #source: PropagationSource;

  constructor(options: ResolvedPropagation, requestIdHeader: string, source: PropagationSource) {
    this.#options = options;
    this.#requestIdHeader = requestIdHeader.toLowerCase();
    this.#source = source;
  }

  allows(origin: string): boolean {
    return this.#options.hosts.has(origin);
  }

  headersOf(context: RequestContext, isSet: (name: string) => boolean): OutgoingHeader[] {
    const headers: OutgoingHeader[] = [];
    const add = (name: string, value: string | undefined): void => {
      // What a propagator of OpenTelemetry passes on may have come with a message, and is no header then.
      if (value !== undefined && PRINTABLE.test(value) && !isSet(name)) headers.push([name, value]);
    };
    // A traceparent of the application's own goes with a tracestate of its own.
    const hasTrace = isSet('traceparent');
    let { baggage } = context;
    for (const [name, value] of traceHeaders(context.trace)) {
      if (name === 'baggage') baggage = value;
      else if (!hasTrace) add(name, value);
    }
    add('baggage', baggage);
    const isIdSet = isSet(this.#requestIdHeader);
    add(this.#requestIdHeader, context.requestId);
    const deadlineMs = this.#source.deadlineOf(context);
    if (deadlineMs !== undefined)
      add(this.#source.deadlineHeader, formatTimeout(deadlineMs - performance.now()));
    // Its signature is for this request id.
    if (this.#options.carrier && !isIdSet && !isSet(CONTEXT)) {
      const carrier = this.#source.carrierOf(context);
      if (carrier[SIGNATURE] === undefined) return headers;
      add(CONTEXT, carrier[CONTEXT]);
      add(SIGNATURE, carrier[SIGNATURE]);
    }
    return headers;
  }
}

/** OpenTelemetry's, where it traces this process; else those of a span of this request alone. */
function traceHeaders(span: TraceParent): OutgoingHeader[] {
  const callId = newSpanId();
  // Not `...span`: it costs 1.4 µs.
  const { traceId, spanId, flags } = span;
  const call = { traceId, spanId: callId, flags, state: stateOfCall(span.state, spanId, callId) };
  const injected = Object.entries(injectSpan(call) ?? NOTHING);
  if (injected.some(([name]) => name !== 'baggage')) return injected;
  return [['traceparent', formatTraceParent(call)], ['tracestate', call.state], ...injected];
}
