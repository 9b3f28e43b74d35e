import { oncePerProcess } from '../context/once-per-process';
import { describeCallSite } from '../cost/call-site';
import type { LoopBlock } from '../cost/event-loop';
import { siteOf } from '../cost/time-record';
import { number, Report, type ReportLine } from './report-text';
import { type ReportKind, reports } from './reports';
import { ReportLogger } from './report-logger';

const STALLS: ReportKind = {
  name: 'stalls of the event loop',
  one: 'stall of the event loop',
  isError: true,
};
/** Nobody's fault, or not known to be. */
const PAUSES: ReportKind = {
  name: 'pauses of the event loop',
  one: 'pause of the event loop',
  isError: false,
};
const NOBODY = 'Work outside of any request, job or message';
const NEXT =
  'Split the work up (setImmediate between the parts), move it to a worker thread, or use the asynchronous form of the call.';
const NEXT_STARVED =
  'Give the process more CPU: raise its share or limit, or move what runs beside it. No handler is at fault.';

/** Each application of the process is told of a block; one of them speaks. */
const told = oncePerProcess('stalls.told', () => new WeakSet<LoopBlock>());

/** Says of each stall that the watchdog has seen who it was, once a minute for each. */
export class StallLog {
  readonly #logger = new ReportLogger('EventLoop');
  readonly #warmUntilMs: number;

  /** @param warmUpMs for how long from now on no stall is an error */
  constructor(warmUpMs: number) {
    this.#warmUntilMs = performance.now() + warmUpMs;
  }

  /** Whether there is something to be said. */
  isOf(block: LoopBlock, stallMs: number): boolean {
    return (block.sites !== undefined && block.ms >= stallMs) || isStarved(block, stallMs);
  }

  write(block: LoopBlock, stallMs: number): void {
    if (told.has(block)) return;
    told.add(block);
    if (performance.now() < this.#warmUntilMs) {
      const headline = `${headlineOf(block, stallMs)}, while the application warms up`;
      this.#logger.write('debug', new Report(headline, [], { blockedMs: block.ms }));
      return;
    }
    if (isStarved(block, stallMs)) {
      const suppressed = reports.admit(PAUSES, 'starved', block.starvedMs);
      if (suppressed !== undefined) this.#logger.warn(starvedReport(block, suppressed));
      return;
    }
    const who = block.culprit?.handler ?? siteOf(block) ?? NOBODY;
    const isDoubtful = isMostlyWaiting(block) && !block.knowsStarved;
    const suppressed = reports.admit(isDoubtful ? PAUSES : STALLS, who, block.ms);
    if (suppressed === undefined) return;
    const report = stallReport(block, suppressed);
    if (isDoubtful) this.#logger.warn(report);
    else this.#logger.error(report);
  }
}

/** Whether it is a stall only with what the machine gave to others. */
function isStarved({ ms, starvedMs }: LoopBlock, stallMs: number): boolean {
  return ms < stallMs && starvedMs > 0 && ms + starvedMs >= stallMs;
}

function isMostlyWaiting({ ms, cpuMs = ms }: LoopBlock): boolean {
  return cpuMs < ms / 2;
}

function stallReport(block: LoopBlock, suppressed: number): Report {
  const { sites = [], culprit, ms, starvedMs, cpuMs, waiting } = block;
  const at = siteOf(block);
  const stack = sites.map(describeCallSite);
  const lines: ReportLine[] = [
    ...(culprit === undefined ? [] : [['request', `request id ${culprit.requestId}`] as const]),
    ['waiting', unitsOf(waiting, 'other ')],
    ...processorLines(block),
    ...stack.map((frame): ReportLine => ['at', frame]),
    ['next', NEXT],
    ...moreLines(suppressed),
  ];
  return new Report(stallHeadline(block), lines, {
    handler: culprit?.handler,
    requestId: culprit?.requestId,
    blockedMs: ms,
    cpuMs,
    starvedMs: starvedMs > 0 ? starvedMs : undefined,
    at,
    stack: stack.join(' < '),
    waiting,
    next: NEXT,
    suppressed,
  });
}

function headlineOf(block: LoopBlock, stallMs: number): string {
  return isStarved(block, stallMs) ? starvedHeadline(block) : stallHeadline(block);
}

function stallHeadline(block: LoopBlock): string {
  const { culprit, ms } = block;
  const at = siteOf(block);
  const name = culprit?.handler ?? (culprit === undefined ? NOBODY : 'A request');
  return `${name} blocked the event loop for ${number(ms)} ms${at === undefined ? '' : ` at ${at}`}`;
}

function starvedHeadline({ ms, starvedMs }: LoopBlock): string {
  return (
    `Other processes had the CPU for ${number(starvedMs)} of the ${number(ms + starvedMs)} ms ` +
    'in which the event loop stood still'
  );
}

function starvedReport(block: LoopBlock, suppressed: number): Report {
  const { ms, starvedMs, waiting } = block;
  const lines: ReportLine[] = [
    ['waiting', unitsOf(waiting)],
    ['next', NEXT_STARVED],
    ...moreLines(suppressed),
  ];
  return new Report(starvedHeadline(block), lines, {
    starvedMs,
    blockedMs: ms,
    waiting,
    next: NEXT_STARVED,
    suppressed,
  });
}

/** What it did of the time, where it did not compute; nothing where that is not known. */
function processorLines(block: LoopBlock): ReportLine[] {
  const { ms, starvedMs, knowsStarved, cpuMs = ms } = block;
  const lines: ReportLine[] = [];
  if (isMostlyWaiting(block)) {
    const rest = knowsStarved
      ? 'in a synchronous call or for memory'
      : 'in a synchronous call, for memory, or for a CPU that other processes had';
    lines.push(['cpu', `used for at most ${number(cpuMs)} ms; the rest was waiting, ${rest}`]);
  }
  if (starvedMs >= 1)
    lines.push(['starved', `${number(starvedMs)} ms more, in which other processes had the CPU`]);
  return lines;
}

function moreLines(suppressed: number): ReportLine[] {
  return suppressed > 0 ? [['more', `${number(suppressed)} were not logged since the last one`]] : [];
}

function unitsOf(count: number, which = ''): string {
  return `${number(count)} ${which}${count === 1 ? 'request, job or message' : 'requests, jobs or messages'}`;
}
