import type { HookErrorReporter } from '../../reporting/hook-error-reporter';
import type { CarrierSigner } from './carrier-signer';
import type { CarrierTerm } from './carrier-term';
import type { ContextUser } from '../../context/request-context';

/** What an application wants of its carriers. */
export interface CarrierRules {
  readonly signer: CarrierSigner | undefined;
  readonly term: CarrierTerm;
  /** Whether the user of a carrier without a signature is believed. */
  readonly trustsUnsigned: boolean;
  /** What of a user travels. */
  readonly user: (user: ContextUser) => unknown;
  /** Is told what is left out. */
  readonly hookErrors: HookErrorReporter;
}
