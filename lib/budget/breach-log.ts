import type { RequestContext } from '../context/request-context';
import { callSitesOf } from '../cost/call-site';
import { buildCostRecord } from '../cost/cost-record-builder';
import { type ReportKind, reports } from '../diagnosis/reports';
import { workOf } from '../diagnosis/request-of';
import { BreachReport, fingerprintOf } from './breach-report';
import { ReportLogger } from '../diagnosis/report-logger';

const BREACHES: ReportKind = { name: 'breaches', one: 'breach', isError: true };
/** So long before a report may be written again, units of work remember where they break their budget. */
const AHEAD_MS = 1_000;

/** Writes breaches to the log: one error a request, and one a window for the same handler and dimensions. */
export class BreachLog {
  readonly #logger = new ReportLogger('QueryBudget');
  readonly #windowMs: number;

  constructor(windowMs: number) {
    this.#windowMs = windowMs;
  }

  note(context: RequestContext): void {
    const { breaches, cost } = context;
    const dimensions = breaches.map(({ dimension }) => dimension).join(' ');
    const subject = `${workOf(context)}, ${dimensions}`;
    const suppressed = reports.admit(BREACHES, subject, 0, this.#windowMs);
    if (suppressed === undefined) {
      if (cost.breachStack !== undefined && cost.history !== undefined) {
        cost.history.breachesHeldUntilMs = reports.heldUntilMs(BREACHES, subject) - AHEAD_MS;
      }
      return;
    }
    const record = buildCostRecord(context);
    const fingerprint = fingerprintOf(record.handler ?? record.route ?? record.kind, record.breaches);
    const site = cost.breachStack === undefined ? undefined : callSitesOf(cost.breachStack)[0];
    this.#logger.error(new BreachReport(record, fingerprint, site, suppressed));
  }
}
