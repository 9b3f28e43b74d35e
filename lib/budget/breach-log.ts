import { Logger } from '@nestjs/common';
import { callSitesOf } from '../cost/call-site';
import type { CostLedger } from '../cost/cost-ledger';
import type { CostRecord } from '../cost/cost-record';
import { BreachReport, fingerprintOf } from './breach-report';

const MAX_FINGERPRINTS = 1_000;

interface Window {
  endsAt: number;
  suppressed: number;
}

/** Writes breaches to the log: one error a request, and one a window for the same handler and dimensions. */
export class BreachLog {
  readonly #logger = new Logger('QueryBudget');
  readonly #windowMs: number;
  readonly #windows = new Map<string, Window>();

  constructor(windowMs: number) {
    this.#windowMs = windowMs;
  }

  write(record: CostRecord, cost: CostLedger): void {
    const fingerprint = fingerprintOf(record.handler ?? record.route ?? record.kind, record.breaches);
    const now = Date.now();
    const window = this.#windows.get(fingerprint);
    if (window !== undefined && now < window.endsAt) {
      window.suppressed += 1;
      return;
    }
    this.#windows.delete(fingerprint);
    if (this.#windows.size >= MAX_FINGERPRINTS) this.#forgetOldest();
    this.#windows.set(fingerprint, { endsAt: now + this.#windowMs, suppressed: 0 });
    const site = cost.breachStack === undefined ? undefined : callSitesOf(cost.breachStack)[0];
    this.#logger.error(new BreachReport(record, fingerprint, site, window?.suppressed ?? 0));
  }

  #forgetOldest(): void {
    const [oldest] = this.#windows.keys();
    if (oldest !== undefined) this.#windows.delete(oldest);
  }
}
