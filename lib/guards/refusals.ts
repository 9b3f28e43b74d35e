import type { RefusalCount } from '../record/process-figures';
import type { RequestContext } from '../context/request-context';
import { type ReportKind, reports } from '../reporting/reports';
import { requestFields, requestOf } from '../reporting/request-of';
import { moreOf, Report } from '../reporting/report-text';
import type { Refusal, RefusalDetails } from './refusal';
import { ReportLogger } from '../reporting/report-logger';

const REFUSED: ReportKind = { name: 'refusals', one: 'refusal', isError: false };
/** What to do about a refusal, by its reason. */
const FIX: Readonly<Record<string, string>> = {
  'no-user': 'if callers are signed in here, make sure that authentication runs before this guard',
  'not-allowed': 'if this caller should have access, check the @RequireUser() function',
  spent:
    'if the caller should be allowed more, raise burst or restorePerSecond; otherwise find out what makes it expensive',
  learning: 'give @CostLimit() an estimate, so that callers can send several requests at once from the start',
  'store-down': 'check the store of the cost limits',
  busy: 'make the handler faster, raise limit, or let callers wait (waitMs of @Concurrency())',
  waited: 'make the handler faster, or raise limit or waitMs of @Concurrency()',
};
/** Maximum number of combinations of handler, guard and reason that are counted separately. */
const MAX_COUNTS = 5_000;

/** Counts the refusals of an application's guards, and logs them once a minute and handler. */
export class Refusals {
  readonly #logger = new ReportLogger('Guards');
  readonly #counts = new Map<string, { -readonly [K in keyof RefusalCount]: RefusalCount[K] }>();

  get counts(): readonly RefusalCount[] {
    return Array.from(this.#counts.values(), count => ({ ...count }));
  }

  /** @param details facts for operators, such as the policy and its limits; never a value of a request */
  note(
    context: RequestContext | undefined,
    handler: string,
    refusal: Refusal,
    dryRun: boolean,
    details: RefusalDetails = {},
  ): void {
    const { by, reason } = refusal;
    this.count(by, reason, handler, dryRun);
    if (context !== undefined && !dryRun) context.refused ??= Object.freeze({ by, reason });
    const suppressed = reports.admit(REFUSED, `${handler}, ${by}, ${reason}${dryRun ? ', dry run' : ''}`);
    if (suppressed !== undefined) this.#write(context, handler, refusal, dryRun, details, suppressed);
  }

  /** Counts without logging. */
  count(by: string, reason: string, handler: string, dryRun: boolean): void {
    const key = `${by}\n${reason}\n${handler}\n${dryRun}`;
    let count = this.#counts.get(key);
    if (count === undefined) {
      if (this.#counts.size >= MAX_COUNTS && handler !== 'other')
        return this.count(by, reason, 'other', dryRun);
      this.#counts.set(key, (count = { by, reason, handler, dryRun, count: 0 }));
    }
    count.count += 1;
  }

  #write(
    context: RequestContext | undefined,
    handler: string,
    { by, reason, status, message }: Refusal,
    dryRun: boolean,
    details: RefusalDetails,
    suppressed: number,
  ): void {
    const headline = dryRun
      ? `${handler} would have refused a request with ${status} (dry run): ${message}`
      : `${handler} refused a request with ${status}: ${message}`;
    const fix = FIX[reason];
    const caller = reason === 'spent' ? callerOf(details) : undefined;
    const facts = Object.entries(caller === undefined ? details : { policy: details['policy']! }).map(
      ([name, value]) => `${name} ${value}`,
    );
    this.#logger.warn(
      new Report(
        headline,
        [
          ['guard', [by, reason, ...facts].join(', ') + moreOf(suppressed)],
          ...(caller === undefined ? [] : [['caller', caller] as const]),
          ...(fix === undefined ? [] : [['fix', fix] as const]),
          ...(context === undefined ? [] : [['request', requestOf(context)] as const]),
        ],
        {
          ...(context !== undefined && requestFields(context)),
          handler,
          by,
          reason,
          status,
          dryRun,
          ...details,
          fix,
          suppressed,
        },
      ),
    );
  }
}

/** Who has no points left, by what it is told from others, and what it asked for; `undefined` for other refusals. */
function callerOf({ per, needed, left, burst, restorePerSecond }: RefusalDetails): string | undefined {
  if (per === undefined || needed === undefined) return undefined;
  return `one ${per}: the request is expected to cost ${needed} points, and ${left} of ${burst} are left; ${restorePerSecond} are restored each second`;
}
