/** Maximum size of a carrier, names and values, in bytes. */
export const MAX_CARRIER_BYTES = 4_096;

export const REQUEST_ID = 'x-request-id';
export const CONTEXT = 'x-async-context';
export const SIGNATURE = 'x-async-context-signature';

/**
 * A context on its way to another service or a job: names and values of printable ASCII, at most 4 KB, so that
 * it fits into the headers or the metadata of any transport. The first three are W3C fields
 * (https://www.w3.org/TR/trace-context-2/, https://www.w3.org/TR/baggage/).
 */
export interface Carrier {
  readonly traceparent?: string;
  readonly tracestate?: string;
  readonly baggage?: string;
  /** Id of the unit of work that sent it. */
  readonly 'x-request-id'?: string;
  /** The user, and the values whose keys have `carry: true`, as JSON. */
  readonly 'x-async-context'?: string;
  /** HMAC of the two fields above; only with `carrierSecret`. */
  readonly 'x-async-context-signature'?: string;
}

/** What a signature is made of. */
export function signedText(requestId: string, context: string): string {
  return `${requestId}\n${context}`;
}
