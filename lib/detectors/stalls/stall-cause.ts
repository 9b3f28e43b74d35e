import { describeCallSite } from '../../kernel/call-site';
import type { LoopBlock } from '../../cost/event-loop';
import type { MainCause } from '../../reporting/finding-cause';
import { moreOf, number, type ReportLine, similar } from '../../reporting/report-text';

const FIX =
  'split the work (setImmediate between parts), use the asynchronous version of the call, limit the input ' +
  '(of a regular expression, of JSON.parse()), or move it to a worker thread';
const FIX_OF_WAIT = 'use the asynchronous version of the call, or make it in a worker thread';
const FIX_OF_EXPRESSION =
  'rewrite the regular expression so that it does not backtrack (no nested quantifiers), and limit the length of its input';

const SYNCHRONOUS = /^(?:\w+\.)?(\w{1,60})Sync$/;
/** Methods that run a regular expression, which V8 interrupts in the middle. */
const OF_EXPRESSIONS: ReadonlySet<string> = new Set(['test', 'exec', 'match', 'matchAll', 'search']);

/** Where a unit of work blocked the event loop, and how many others waited: at most three lines. */
export function causeOfBlock(block: LoopBlock | undefined, suppressed = 0): MainCause {
  if (block === undefined) return { lines: [], fix: FIX };
  const stack = (block.sites ?? []).map(describeCallSite).join(' < ');
  const others =
    block.waiting > 0
      ? ([['waiting', unitsOf(block.waiting, 'other ') + moreOf(suppressed)]] as const)
      : suppressed > 0
        ? ([['more', similar(suppressed)]] as const)
        : [];
  return {
    lines: [...(stack === '' ? [] : [['at', stack] as const]), ...processorLines(block), ...others],
    fix: fixOfCall(block) ?? (isMostlyWaiting(block) && block.knowsStarved ? FIX_OF_WAIT : FIX),
  };
}

/** The fix of the call that ran, where the stack shows it. */
export function fixOfCall({ callee }: LoopBlock): string | undefined {
  if (callee === undefined) return undefined;
  const [, name] = SYNCHRONOUS.exec(callee.name) ?? [];
  if (name !== undefined) return `use ${name}() instead of ${name}Sync(), or call it in a worker thread`;
  // A search of a package has the name as well.
  return callee.isBuiltIn && OF_EXPRESSIONS.has(baseOf(callee.name)) ? FIX_OF_EXPRESSION : undefined;
}

/** `test` of `RegExp.test`. */
function baseOf(name: string): string {
  return name.slice(name.lastIndexOf('.') + 1);
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
