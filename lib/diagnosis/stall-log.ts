import { Logger } from '@nestjs/common';
import { callSitesOf } from '../cost/call-site';
import type { LoopBlock } from '../cost/event-loop';
import { siteOf } from '../cost/time-record';
import { number, Report, type ReportLine } from './report-text';

const FRAMES = 5;

/** Says of each stall that the watchdog has seen who it was. */
export class StallLog {
  readonly #logger = new Logger('EventLoop');

  write(block: LoopBlock): void {
    this.#logger.error(stallReport(block));
  }
}

function stallReport(block: LoopBlock): Report {
  const { capture, culprit, ms, waiting } = block;
  const unit = culprit?.unit;
  const at = siteOf(block);
  const name = unit?.handler?.name ?? (unit === undefined ? 'Work outside of any unit of work' : 'A request');
  const headline = `${name} blocked the event loop for ${number(ms)} ms${at === undefined ? '' : ` at ${at}`}`;
  const stack = capture === undefined ? [] : callSitesOf(capture.stack, FRAMES);
  const next =
    'Divide the work (setImmediate between parts), move it to a worker thread, or use the asynchronous form of the call.';
  const lines: ReportLine[] = [
    ...(unit === undefined ? [] : [['request', `request id ${unit.requestId}`] as const]),
    ['waiting', `${number(waiting)} other units of work were open`],
    ...stack.map((frame): ReportLine => ['at', frame]),
    ['next', next],
  ];
  return new Report(headline, lines, {
    handler: unit?.handler?.name,
    requestId: unit?.requestId,
    blockedMs: ms,
    at,
    stack: stack.join(' < '),
    waiting,
    next,
  });
}
