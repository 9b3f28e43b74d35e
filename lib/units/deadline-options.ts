import { invalidOption } from '../kernel/errors';
import { checkObject } from '../kernel/option-checks';

/**
 * Whether the deadline of a caller is accepted.
 *
 * @example
 * AsyncContextModule.forRoot({ deadline: { trust: true } }); // behind a gateway that sets or removes the header
 */
export interface DeadlineOptions {
  /**
   * Header with the milliseconds that a caller is still going to wait. The remaining time is also sent in it to the
   * hosts of `propagate.hosts`, whether or not callers are trusted.
   * @default 'x-request-timeout'
   */
  readonly header?: string;
  /**
   * Whether this header, or else `grpc-timeout`, of an HTTP request, and the deadline of a gRPC call, shorten the
   * deadline; a function gets the request of the platform, or the call. Anyone can send the header: a trusted caller
   * can make a request end early, but never late. Invalid timeouts are ignored.
   * @default false
   */
  readonly trust?: boolean | ((request: unknown) => boolean);
}

/** The same, checked and filled in. */
export interface ResolvedDeadline {
  readonly header: string;
  readonly trust: boolean | ((request: unknown) => boolean);
}

const OPTIONS = ['header', 'trust'] as const satisfies readonly (keyof DeadlineOptions)[];
const DEFAULT_HEADER = 'x-request-timeout';

/** @throws AsyncContextError `ASYNC_CONTEXT_INVALID_OPTION` */
export function readDeadline(
  options: DeadlineOptions = {},
  checkHeader: (path: string, value: unknown) => void,
): ResolvedDeadline {
  checkObject('deadline', options, OPTIONS);
  const { header = DEFAULT_HEADER, trust = false } = options;
  checkHeader('deadline.header', header);
  if (typeof trust !== 'boolean' && typeof trust !== 'function') {
    throw invalidOption('deadline.trust', trust, 'Use true, false or a function of the request.');
  }
  return Object.freeze({ header: header.toLowerCase(), trust });
}
