import { Logger } from '@nestjs/common';
import { callSitesOf } from '../cost/call-site';
import type { CostLedger } from '../cost/cost-ledger';
import type { CostRecord } from '../cost/cost-record';
import { OncePerWindow } from '../diagnosis/once-per-window';
import { BreachReport, fingerprintOf } from './breach-report';

/** Writes breaches to the log: one error a request, and one a window for the same handler and dimensions. */
export class BreachLog {
  readonly #logger = new Logger('QueryBudget');
  readonly #windows: OncePerWindow;

  constructor(windowMs: number) {
    this.#windows = new OncePerWindow(windowMs);
  }

  write(record: CostRecord, cost: CostLedger): void {
    const fingerprint = fingerprintOf(record.handler ?? record.route ?? record.kind, record.breaches);
    const suppressed = this.#windows.admit(fingerprint);
    if (suppressed === undefined) return;
    const site = cost.breachStack === undefined ? undefined : callSitesOf(cost.breachStack)[0];
    this.#logger.error(new BreachReport(record, fingerprint, site, suppressed));
  }
}
