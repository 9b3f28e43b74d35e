import { Logger } from '@nestjs/common';
import { describeCallSite } from '../cost/call-site';
import type { LoopBlock } from '../cost/event-loop';
import { siteOf } from '../cost/time-record';
import { number, Report, type ReportLine } from './report-text';
import { type ReportKind, reports } from './reports';

const STALLS: ReportKind = { name: 'stalls of the event loop', isError: true };
const NOBODY = 'Work outside of any unit of work';
const NEXT =
  'Divide the work (setImmediate between parts), move it to a worker thread, or use the asynchronous form of the call.';

/** Says of each stall that the watchdog has seen who it was, once a minute for each. */
export class StallLog {
  readonly #logger = new Logger('EventLoop');

  write(block: LoopBlock): void {
    const who = block.culprit?.handler ?? siteOf(block) ?? NOBODY;
    const suppressed = reports.admit(STALLS, who, block.ms);
    if (suppressed !== undefined) this.#logger.error(stallReport(block, suppressed));
  }
}

function stallReport(block: LoopBlock, suppressed: number): Report {
  const { sites = [], culprit, ms, waiting } = block;
  const at = siteOf(block);
  const name = culprit?.handler ?? (culprit === undefined ? NOBODY : 'A request');
  const headline = `${name} blocked the event loop for ${number(ms)} ms${at === undefined ? '' : ` at ${at}`}`;
  const stack = sites.map(describeCallSite);
  const lines: ReportLine[] = [
    ...(culprit === undefined ? [] : [['request', `request id ${culprit.requestId}`] as const]),
    ['waiting', `${number(waiting)} other units of work were open`],
    ...stack.map((frame): ReportLine => ['at', frame]),
    ['next', NEXT],
    ...(suppressed > 0
      ? [['more', `${number(suppressed)} were not logged since the last one`] as const]
      : []),
  ];
  return new Report(headline, lines, {
    handler: culprit?.handler,
    requestId: culprit?.requestId,
    blockedMs: ms,
    at,
    stack: stack.join(' < '),
    waiting,
    next: NEXT,
    suppressed,
  });
}
