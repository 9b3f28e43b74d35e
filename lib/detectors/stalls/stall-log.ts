import { oncePerProcess } from '../../kernel/once-per-process';
import { describeCallSite } from '../../kernel/call-site';
import type { LoopBlock } from '../../cost/event-loop';
import { siteOf } from '../../cost/time-record';
import {
  headlineOf as requestHeadline,
  moreOf,
  number,
  Report,
  type ReportLine,
  similar,
} from '../../reporting/report-text';
import { causeOfBlock, isDoubtful, unitsOf } from './stall-cause';
import { type ReportKind, reports } from '../../reporting/reports';
import { ReportLogger } from '../../reporting/report-logger';

export const STALLS: ReportKind = {
  name: 'stalls of the event loop',
  one: 'stall of the event loop',
  isError: true,
};
/** Pauses that no handler caused, or whose cause is uncertain. */
export const PAUSES: ReportKind = {
  name: 'pauses of the event loop',
  one: 'pause of the event loop',
  isError: false,
};
const NOBODY = 'Work outside of any request, job or message';
const FIX_STARVED =
  'give the process more CPU: raise its share or limit, or move other processes off the machine; no handler is at fault';

/** All applications of the process learn of a block; one of them reports it. */
const told = oncePerProcess('stalls.told', () => new WeakSet<LoopBlock>());
/** Blocks that the log already has, or that were suppressed because it has a similar one. */
const said = oncePerProcess('stalls.said', () => new WeakSet<LoopBlock>());

/** Reports who caused each stall that the watchdog has seen, once a minute for each cause. */
export class StallLog {
  readonly #logger = new ReportLogger('EventLoop');
  readonly #stallMs: number;
  readonly #warmUntilMs: number;

  /** @param warmUpMs milliseconds from now during which no stall is an error */
  constructor(stallMs: number, warmUpMs: number) {
    this.#stallMs = stallMs;
    this.#warmUntilMs = performance.now() + warmUpMs;
  }

  /** The longest stall of a unit of work that has not been reported yet; the caller must report it. */
  take(blocks: readonly LoopBlock[], account: number): LoopBlock | undefined {
    if (blocks.length === 0 || this.#stallMs === 0 || this.#isWarmingUp) return undefined;
    let longest: LoopBlock | undefined;
    for (const block of blocks) {
      if (block.culprit?.account !== account || told.has(block)) continue;
      if (block.sites === undefined || block.ms < this.#stallMs) continue;
      told.add(block);
      if (block.ms > (longest?.ms ?? 0)) longest = block;
    }
    return longest;
  }

  /** Whether the log already has it, as a stall of that unit of work. */
  hasSaid(block: LoopBlock, account: number): boolean {
    return block.culprit?.account === account && said.has(block);
  }

  get #isWarmingUp(): boolean {
    return performance.now() < this.#warmUntilMs;
  }

  /** Whether it must be reported. */
  isOf(block: LoopBlock): boolean {
    const stallMs = this.#stallMs;
    return stallMs > 0 && ((block.sites !== undefined && block.ms >= stallMs) || isStarved(block, stallMs));
  }

  write(block: LoopBlock): void {
    const stallMs = this.#stallMs;
    if (told.has(block)) return;
    told.add(block);
    if (this.#isWarmingUp) {
      const headline = `${headlineOf(block, stallMs)}, during application warm-up`;
      this.#logger.write('debug', new Report(headline, [], { blockedMs: block.ms }));
      return;
    }
    said.add(block);
    if (isStarved(block, stallMs)) {
      const suppressed = reports.admit(PAUSES, 'starved', block.starvedMs);
      if (suppressed !== undefined) this.#logger.warn(starvedReport(block, suppressed));
      return;
    }
    const who = block.culprit?.handler ?? siteOf(block) ?? NOBODY;
    const suppressed = reports.admit(isDoubtful(block) ? PAUSES : STALLS, who, block.ms);
    if (suppressed === undefined) return;
    const report = stallReport(block, suppressed);
    if (isDoubtful(block)) this.#logger.warn(report);
    else this.#logger.error(report);
  }
}

/** Whether it is a stall only if the time that other processes used counts. */
function isStarved({ ms, starvedMs }: LoopBlock, stallMs: number): boolean {
  return ms < stallMs && starvedMs > 0 && ms + starvedMs >= stallMs;
}

function stallReport(block: LoopBlock, suppressed: number): Report {
  const { sites = [], culprit, ms, starvedMs, cpuMs, waiting } = block;
  const { lines, fix } = causeOfBlock(block, suppressed);
  const headline = stallHeadline(block);
  return new Report(
    culprit === undefined ? headline : requestHeadline(headline, culprit.requestId),
    [...lines, ['fix', fix]],
    {
      handler: culprit?.handler,
      requestId: culprit?.requestId,
      blockedMs: ms,
      cpuMs,
      starvedMs: starvedMs > 0 ? starvedMs : undefined,
      at: siteOf(block),
      stack: sites.map(describeCallSite).join(' < '),
      waiting,
      fix,
      suppressed,
    },
  );
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
    `Other processes used the CPU for ${number(starvedMs)} of the ${number(ms + starvedMs)} ms ` +
    'in which the event loop did not run'
  );
}

function starvedReport(block: LoopBlock, suppressed: number): Report {
  const { ms, starvedMs, waiting } = block;
  const lines: ReportLine[] = [['fix', FIX_STARVED]];
  if (waiting > 0) lines.push(['waiting', unitsOf(waiting) + moreOf(suppressed)]);
  else if (suppressed > 0) lines.push(['more', similar(suppressed)]);
  return new Report(starvedHeadline(block), lines, {
    starvedMs,
    blockedMs: ms,
    waiting,
    fix: FIX_STARVED,
    suppressed,
  });
}
