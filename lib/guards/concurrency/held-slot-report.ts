import type { RequestContext } from '../../context/request-context';
import { moreOf, number, Report } from '../../reporting/report-text';
import { type ReportKind, reports } from '../../reporting/reports';
import { requestFields, requestOf } from '../../reporting/request-of';
import type { ConcurrencyRule } from './concurrency';
import { ReportLogger } from '../../reporting/report-logger';

const HELD: ReportKind = { name: 'slots that were taken back', isError: false };
const FIX =
  'find what it waits for and give that a time limit, or raise maxHoldMs where it may take so long: until it ' +
  'ends, more of it run than the limit says';
const logger = new ReportLogger('Guards');

/** Says that a slot was taken back from a handler that has not ended. */
export function reportHeldSlot(
  handler: string,
  context: RequestContext,
  { limit, maxHoldMs }: ConcurrencyRule,
): void {
  const suppressed = reports.admit(HELD, handler);
  if (suppressed === undefined) return;
  const headline = `${handler} has not ended after ${number(maxHoldMs)} ms; its slot of @Concurrency() was taken back`;
  logger.warn(
    new Report(
      headline,
      [
        ['limit', `${limit} at once`],
        ['fix', FIX],
        ['request', requestOf(context) + moreOf(suppressed)],
      ],
      { ...requestFields(context), handler, limit, maxHoldMs, fix: FIX, suppressed },
    ),
  );
}
