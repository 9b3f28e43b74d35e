import type { RefusalCount } from '../record/process-figures';
import type { RequestContext } from '../context/request-context';
import { type ReportKind, reports } from '../reporting/reports';
import { requestFields, requestOf } from '../reporting/request-of';
import { moreOf, Report } from '../reporting/report-text';
import type { Refusal } from './refusal';
import { ReportLogger } from '../reporting/report-logger';

const REFUSED: ReportKind = { name: 'refusals', isError: false };
/** What to do about a refusal, by its reason. */
const FIX: Readonly<Record<string, string>> = {
  'no-user': 'If callers are signed in here, make sure that authentication runs before this guard.',
  'not-allowed': 'If this caller should be let in, check the function of @RequireUser().',
  spent:
    'If the caller should have more, raise burst or restorePerSecond; otherwise find what makes it expensive.',
  learning:
    'Give @CostLimit() an estimate, so that callers may send several requests at once from the start.',
  'store-down': 'Check the store of the cost limits.',
  busy: 'Make the handler faster, raise limit, or let callers wait (waitMs of @Concurrency()).',
  waited: 'Make the handler faster, or raise limit or waitMs of @Concurrency().',
};
/** Handlers, guards and reasons that are told apart. */
const MAX_COUNTS = 5_000;

/** Counts what the guards of an application refuse, and says it in the log once a minute and handler. */
export class Refusals {
  readonly #logger = new ReportLogger('Guards');
  readonly #counts = new Map<string, { -readonly [K in keyof RefusalCount]: RefusalCount[K] }>();

  get counts(): readonly RefusalCount[] {
    return Array.from(this.#counts.values(), count => ({ ...count }));
  }

  /** @param details what an operator is to know beside it: the policy, its limits; never a value of a request */
  note(
    context: RequestContext | undefined,
    handler: string,
    refusal: Refusal,
    dryRun: boolean,
    details: Readonly<Record<string, string | number>> = {},
  ): void {
    const { by, reason } = refusal;
    this.count(by, reason, handler, dryRun);
    if (context !== undefined && !dryRun) context.refused ??= Object.freeze({ by, reason });
    const suppressed = reports.admit(REFUSED, `${handler}, ${by}, ${reason}${dryRun ? ', dry run' : ''}`);
    if (suppressed !== undefined) this.#write(context, handler, refusal, dryRun, details, suppressed);
  }

  /** Counts without a line. */
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
    details: Readonly<Record<string, string | number>>,
    suppressed: number,
  ): void {
    const headline = dryRun
      ? `${handler} would have been refused with ${status} (dry run): ${message}`
      : `${handler} was refused with ${status}: ${message}`;
    const fix = FIX[reason];
    const facts = Object.entries(details).map(([name, value]) => `${name} ${value}`);
    this.#logger.warn(
      new Report(
        headline,
        [
          ['guard', [by, reason, ...facts].join(', ') + moreOf(suppressed)],
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
