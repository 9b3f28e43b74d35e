import type { AsyncContextError } from '../../kernel/errors';
import { HostList } from './host-list';

/**
 * What travels with a context to other services: over HTTP, in messages and in jobs.
 *
 * @example
 * AsyncContextModule.forRoot({ propagate: { hosts: ['orders.internal:8080', '*.shop.internal'] } });
 */
export interface PropagateOptions {
  /**
   * Hosts that receive the trace headers, the request id and the `baggage`: `api.internal` on any port,
   * `api.internal:8080` on one port, `*.internal.example.com` for all subdomains, `[fd00::1]` for an IPv6 address.
   * @default none
   */
  readonly hosts?: readonly string[];
  /**
   * Whether these hosts also receive the user and the values of a context, signed, and whether those of signed
   * requests are accepted. Requires `carrierSecret`.
   * @default false
   */
  readonly carrier?: boolean;
  /**
   * Share, from 0 to 1, of the traces begun here that are flagged as sampled. Services that follow the flag of their
   * caller record only those.
   * @default 1
   */
  readonly sampled?: number;
  /**
   * Whether messages of `@nestjs/microservices` carry the context, in the headers or the metadata of their transport,
   * and whether handlers continue an incoming context. Handlers and other services can read these fields.
   * @default false
   */
  readonly messages?: boolean;
  /**
   * Whether jobs of `bullmq` carry the context of the unit of work that added them.
   * @default true
   */
  readonly jobs?: boolean;
}

/** The options with their defaults applied. */
export interface ResolvedPropagation {
  readonly hosts: HostList;
  readonly carrier: boolean;
  readonly sampled: number;
  readonly messages: boolean;
  readonly jobs: boolean;
}

type Fail = (path: string, value: unknown, remedy: string) => AsyncContextError;

/** @throws AsyncContextError what `fail` makes, for a value that an option cannot have */
export function readPropagate(
  options: PropagateOptions,
  hasSecret: boolean,
  fail: Fail,
): ResolvedPropagation {
  const { hosts = [], carrier = false, sampled = 1, messages = false, jobs = true } = options;
  for (const [name, value] of Object.entries({ carrier, messages, jobs })) {
    if (typeof value !== 'boolean') throw fail(name, value, 'Use true or false.');
  }
  if (carrier && !hasSecret) {
    throw fail('carrier', carrier, 'Set carrierSecret: over HTTP, only signed carriers are trusted.');
  }
  if (typeof sampled !== 'number' || !(sampled >= 0 && sampled <= 1)) {
    throw fail('sampled', sampled, 'Use a share from 0 to 1.');
  }
  return Object.freeze({ hosts: HostList.read(hosts, fail), carrier, sampled, messages, jobs });
}
