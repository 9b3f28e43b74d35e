/** Who refuses: a guard of this package. */
export type RefusedBy = 'user' | 'cost-limit' | 'concurrency' | 'breaker' | 'overload';

/** Why a unit of work is refused, and what its caller is told. */
export interface Refusal {
  readonly by: RefusedBy;
  /** A fixed word, for metrics and records: `no-user`, `spent`, … */
  readonly reason: string;
  /** HTTP status; other transports have it as a field. */
  readonly status: number;
  /** For the caller; holds nothing of the application. */
  readonly message: string;
  /** From when on it may be tried again, in whole seconds. */
  readonly retryAfterSeconds?: number;
  /** Name of the policy that refuses; for the body of a problem. */
  readonly policy?: string;
}
