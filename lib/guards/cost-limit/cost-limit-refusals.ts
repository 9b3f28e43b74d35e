import type { Refusal } from '../refusal';

/** There are too few points. */
export function spent(policy: string, retryAfterSeconds: number): Refusal {
  const message = 'Too Many Requests';
  return { by: 'cost-limit', reason: 'spent', status: 429, message, retryAfterSeconds, policy };
}

/** One of the caller runs, and nobody knows yet what another would cost. */
export function learning(policy: string): Refusal {
  return { ...spent(policy, 1), reason: 'learning' };
}

/** The client has left, and is not known any more. */
export function left(policy: string): Refusal {
  const message = 'Service Unavailable';
  return { by: 'cost-limit', reason: 'left', status: 503, message, policy };
}

/** With `onStoreFailure: 'refuse'`. */
export function storeDown(policy: string): Refusal {
  const message = 'Service Unavailable';
  return { by: 'cost-limit', reason: 'store-down', status: 503, message, retryAfterSeconds: 1, policy };
}
