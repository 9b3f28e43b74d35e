import type { RequestContext } from '../../context/request-context';
import { moreOf, number, Report } from '../../reporting/report-text';
import { type ReportKind, reports } from '../../reporting/reports';
import { requestFields, requestOf } from '../../reporting/request-of';
import type { ConcurrencyRule } from './concurrency';
import { ReportLogger } from '../../reporting/report-logger';

const HELD: ReportKind = { name: 'reclaimed slots', one: 'reclaimed slot', isError: false };
const FIX =
  'find what it waits for and add a timeout, or raise maxHoldMs if it may take this long; until it ends, more ' +
  'calls can run than the limit allows';
const logger = new ReportLogger('Guards');

/** Reports that the slot of a handler that has not ended was reclaimed. */
export function reportHeldSlot(
  handler: string,
  context: RequestContext,
  { limit, maxHoldMs }: ConcurrencyRule,
): void {
  const suppressed = reports.admit(HELD, handler);
  if (suppressed === undefined) return;
  const headline = `${handler} has not finished after ${number(maxHoldMs)} ms; its @Concurrency() slot was reclaimed`;
  logger.warn(
    new Report(
      headline,
      [
        ['limit', `${limit} at once`],
        ['fix', FIX],
        ['request', requestOf(context) + moreOf(suppressed)],
      ],
      { ...requestFields(context), handler, slots: limit, maxHoldMs, fix: FIX, suppressed },
    ),
  );
}
