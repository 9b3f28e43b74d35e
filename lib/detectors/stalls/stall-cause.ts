import { describeCallSite } from '../../kernel/call-site';
import type { LoopBlock } from '../../cost/event-loop';
import type { MainCause } from '../../reporting/finding-cause';
import { moreOf, number, type ReportLine } from '../../reporting/report-text';

export const FIX_OF_BLOCK =
  'split the work (setImmediate between parts), move it to a worker thread, or use the asynchronous version of the call';

/** Where a unit of work blocked the event loop, and how many others waited: at most three lines. */
export function causeOfBlock(block: LoopBlock | undefined, suppressed = 0): MainCause {
  if (block === undefined) return { lines: [], fix: FIX_OF_BLOCK };
  const stack = (block.sites ?? []).map(describeCallSite).join(' < ');
  return {
    lines: [
      ...(stack === '' ? [] : [['at', stack] as const]),
      ...processorLines(block),
      ['waiting', unitsOf(block.waiting, 'other ') + moreOf(suppressed)],
    ],
    fix: FIX_OF_BLOCK,
  };
}

/** Whether it may have waited for a CPU that other processes used. */
export function isDoubtful(block: LoopBlock): boolean {
  return isMostlyWaiting(block) && !block.knowsStarved;
}

function isMostlyWaiting({ ms, cpuMs = ms }: LoopBlock): boolean {
  return cpuMs < ms / 2;
}

/** How it spent the time if it was not computing; nothing if unknown. */
function processorLines(block: LoopBlock): ReportLine[] {
  const { starvedMs, knowsStarved, ms, cpuMs = ms } = block;
  const facts: string[] = [];
  if (isMostlyWaiting(block)) {
    const rest = knowsStarved
      ? 'in a synchronous call or for memory'
      : 'in a synchronous call, for memory, or for a CPU that other processes used';
    facts.push(`used for at most ${number(cpuMs)} ms; the rest was spent waiting ${rest}`);
  }
  if (starvedMs >= 1) facts.push(`${number(starvedMs)} ms more used by other processes`);
  return facts.length === 0 ? [] : [['cpu', facts.join('; ')]];
}

export function unitsOf(count: number, which = ''): string {
  return `${number(count)} ${which}${count === 1 ? 'request, job or message' : 'requests, jobs or messages'}`;
}
