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
  /** More for the body of an HTTP answer; with `type` it is a problem of RFC 9457. */
  readonly body?: Readonly<Record<string, unknown>>;
}
