import type { RequestContext } from '../context/request-context';
import { callSitesOf, captureStack } from '../kernel/call-site';
import { cut, headlineOf, moreOf, number, Report, type ReportLine } from './report-text';
import { type ReportKind, reports } from './reports';
import { requestFields, requestOf, workOf } from './request-of';
import { ReportLogger } from './report-logger';

const LATE_WORK: ReportKind = { name: 'late calls', one: 'late call', isError: false };

/** Reports handlers that are still working long after their response. */
export class LateLog {
  readonly #logger = new ReportLogger('LateWork');
  readonly #lateAfterMs: number;

  /** @param lateAfterMs milliseconds after the close from which calls are reported; 0 disables it */
  constructor(lateAfterMs: number) {
    this.#lateAfterMs = lateAfterMs;
  }

  /** @param what the shape of a query, or the target of a call */
  note(context: RequestContext, what: string, stackBoundary: (...args: never[]) => unknown): void {
    const lateMs = performance.now() - context.endMs;
    if (this.#lateAfterMs === 0 || lateMs <= this.#lateAfterMs) return;
    const name = workOf(context);
    const suppressed = reports.admit(LATE_WORK, name, lateMs);
    if (suppressed === undefined) return;
    const at = callSitesOf(captureStack(stackBoundary))[0];
    const headline = headlineOf(
      `${name} is still working ${number(Math.round(lateMs))} ms after the response${at === undefined ? '' : `, at ${at}`}`,
      context.requestId,
    );
    const fix =
      'await the work before responding, or run it in its own unit of work: contextService.run(seed, fn) or a queue';
    const lines: ReportLine[] = [
      ['late', cut(what)],
      ['fix', fix],
      ['request', requestOf(context) + moreOf(suppressed)],
    ];
    this.#logger.warn(
      new Report(headline, lines, {
        ...requestFields(context),
        lateMs,
        what,
        at,
        suppressed,
        fix,
      }),
    );
  }
}
