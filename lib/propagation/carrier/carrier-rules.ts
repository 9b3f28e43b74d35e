import type { FaultReporter } from '../../reporting/fault-reporter';
import type { CarrierSeal } from './carrier-seal';
import type { CarrierTerm } from './carrier-term';
import type { ContextUser } from '../../context/request-context';

/** What an application wants of its carriers. */
export interface CarrierRules {
  readonly seal: CarrierSeal | undefined;
  readonly term: CarrierTerm;
  /** Whether the user of a carrier without a signature is believed. */
  readonly trustsUnsigned: boolean;
  /** What of a user travels. */
  readonly user: (user: ContextUser) => unknown;
  /** Is told what is left out. */
  readonly faults: FaultReporter;
}
