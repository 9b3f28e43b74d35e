import type { OurField } from '../context/our-fields';

/** Facts about a refusal for operators, as fields of its report. */
export type RefusalDetails = Readonly<{ [name in OurField]?: string | number }>;

/** The guard of this package that refuses. */
export type RefusedBy = 'user' | 'cost-limit' | 'concurrency' | 'breaker' | 'overload';

/** Why a unit of work is refused, and what its caller gets to see. */
export interface Refusal {
  readonly by: RefusedBy;
  /** A fixed word, for metrics and records: `no-user`, `spent`, … */
  readonly reason: string;
  /** HTTP status; other transports have it as a field. */
  readonly status: number;
  /** For the caller; reveals nothing about the application. */
  readonly message: string;
  /** Whole seconds until the caller may try again. */
  readonly retryAfterSeconds?: number;
  /** Name of the policy that refuses; for the body of a problem response. */
  readonly policy?: string;
}
