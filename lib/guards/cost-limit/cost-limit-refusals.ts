import type { Refusal } from '../refusal';
import type { CostLimitPolicy } from './cost-limit-policy';

const TYPES = 'https://iana.org/assignments/http-problem-types';

/** There are too few points. */
export function spent(policy: CostLimitPolicy, retryAfterSeconds: number, problemJson: boolean): Refusal {
  return quotaExceeded('spent', policy, retryAfterSeconds, problemJson);
}

/** One of the caller runs, and nobody knows yet what another would cost. */
export function learning(policy: CostLimitPolicy, problemJson: boolean): Refusal {
  return quotaExceeded('learning', policy, 1, problemJson);
}

/** With `onStoreFailure: 'refuse'`. */
export function storeDown(policy: CostLimitPolicy, problemJson: boolean): Refusal {
  return {
    by: 'cost-limit',
    reason: 'store-down',
    status: 503,
    message: 'Service Unavailable',
    retryAfterSeconds: 1,
    ...(problemJson && {
      body: {
        type: `${TYPES}#temporary-reduced-capacity`,
        title: 'Request cannot be satisfied due to temporary server capacity constraints',
        status: 503,
        'violated-policies': [policy.name],
      },
    }),
  };
}

function quotaExceeded(
  reason: string,
  policy: CostLimitPolicy,
  retryAfterSeconds: number,
  problemJson: boolean,
): Refusal {
  return {
    by: 'cost-limit',
    reason,
    status: 429,
    message: 'Too Many Requests',
    retryAfterSeconds,
    ...(problemJson && {
      body: {
        type: `${TYPES}#quota-exceeded`,
        title: 'Request cannot be satisfied as assigned quota has been exceeded',
        status: 429,
        'violated-policies': [policy.name],
      },
    }),
  };
}
