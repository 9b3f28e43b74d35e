import type { ResolvedOptions } from './resolved-options';
import { boundBaggage } from '../w3c/baggage';
import { CONTEXT, SIGNATURE } from '../context/carrier';
import type { RequestContext } from '../context/request-context';
import { parseTrace } from '../w3c/trace-parent';
import type { RawRequest } from '../context/remembered-context';
import type { UnitsOfWork } from './units-of-work';

/** Takes over what whoever asks over HTTP says of its own unit of work. */
export class IncomingHeaders {
  readonly #units: UnitsOfWork;
  readonly #takesCarrier: boolean;
  readonly #requestIdHeader: string;

  constructor(
    units: UnitsOfWork,
    { propagate, requestId }: Pick<ResolvedOptions, 'propagate' | 'requestId'>,
  ) {
    this.#units = units;
    this.#takesCarrier = propagate.carrier;
    this.#requestIdHeader = requestId.header.toLowerCase();
  }

  /** Node joins the same header sent twice with a comma: that is no `traceparent`, and one `tracestate`. */
  read(context: RequestContext, { headers }: RawRequest): void {
    const { traceparent, baggage } = headers;
    if (traceparent !== undefined) context.traceParent = parseTrace(traceparent, headers['tracestate']);
    if (typeof baggage === 'string') context.baggage = boundBaggage(baggage);
    if (!this.#takesCarrier) return;
    this.#units.adoptSigned(context, {
      'x-request-id': headers[this.#requestIdHeader] as string,
      [CONTEXT]: headers[CONTEXT] as string,
      [SIGNATURE]: headers[SIGNATURE] as string,
    });
  }
}
