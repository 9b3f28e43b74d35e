import type { Refusal } from '../refusal';

/** The bucket has too few points. */
export function spent(policy: string, retryAfterSeconds: number): Refusal {
  const message = 'Too Many Requests';
  return { by: 'cost-limit', reason: 'spent', status: 429, message, retryAfterSeconds, policy };
}

/** A request of the caller is running, and the cost of another one is not known yet. */
export function learning(policy: string): Refusal {
  return { ...spent(policy, 1), reason: 'learning' };
}

/** The client has disconnected and can no longer be identified. */
export function left(policy: string): Refusal {
  const message = 'Service Unavailable';
  return { by: 'cost-limit', reason: 'left', status: 503, message, policy };
}

/** With `onStoreFailure: 'refuse'`. */
export function storeDown(policy: string): Refusal {
  const message = 'Service Unavailable';
  return { by: 'cost-limit', reason: 'store-down', status: 503, message, retryAfterSeconds: 1, policy };
}
