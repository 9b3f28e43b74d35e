import { fingerprintOf } from '../../budget/fingerprint';
import { contextStorage } from '../../context/context-storage';
import { ownLogFields } from '../../context/own-log-fields';
import type { RequestContext } from '../../context/request-context';
import { callSitesOf } from '../../kernel/call-site';
import type { BreachRecord } from '../../cost/cost-record';
import { recordAtClose } from '../../record/record-at-close';
import type { LoopBlock } from '../../cost/event-loop';
import { worthyFinding, worthyShape } from '../../cost/find-repeats';
import type { ShapeCost } from '../../cost/shape-cost';
import { longestPart } from '../../cost/time-record';
import type { Trouble, TroubledWork } from './main-cause';
import { POOL_WAITS, saidWaits } from '../../detectors/pools/said-waits';
import { ReportLogger } from '../../reporting/report-logger';
import { type ReportKind, reports } from '../../reporting/reports';
import { workOf } from '../../reporting/request-of';
import { isDoubtful } from '../../detectors/stalls/stall-cause';
import { PAUSES, type StallLog, STALLS } from '../../detectors/stalls/stall-log';
import { reportOfWork } from './work-report';

const BREACHES: ReportKind = { name: 'breaches', one: 'breach', isError: true };
const SLOW: ReportKind = { name: 'slow requests', one: 'slow request', isError: false };
const FINDINGS: ReportKind = { name: 'findings', one: 'finding', isError: false };
const KINDS: Readonly<Record<Trouble, ReportKind>> = {
  breach: BREACHES,
  stall: STALLS,
  pool: POOL_WAITS,
  slow: SLOW,
  finding: FINDINGS,
};
const NAMES: Readonly<Record<Trouble, string>> = {
  breach: 'QueryBudget',
  stall: 'EventLoop',
  pool: 'ConnectionPool',
  slow: 'SlowRequest',
  finding: 'Findings',
};
/** This long before a report may be logged again, units of work start to remember where they exceed their budget. */
const AHEAD_MS = 1_000;
const MINUTE_MS = 60_000;

export interface WorkLogOptions {
  readonly breachWindowMs: number;
  /** Whether breaches are logged, that is, `onExceeded` is not a function. */
  readonly logsBreaches: boolean;
  /** Runs from which an N+1 is logged; Infinity for never. */
  readonly minRepeats: number;
  readonly isFull: boolean;
  readonly hasSinks: boolean;
}

/** What is to be reported of a unit of work, before anything is built for it. */
interface Found extends Omit<TroubledWork, 'record' | 'finding' | 'breachSite'> {
  /** For a report about nothing else. */
  readonly repeated?: ShapeCost | undefined;
}

/** Logs one report about each unit of work with a problem, when it has ended: about everything that is wrong with it. */
export class WorkLog {
  /** Reports stalls while a unit of work is open; absent until the application serves. */
  stalls: StallLog | undefined = undefined;
  readonly #options: WorkLogOptions;
  readonly #loggers = new Map<Trouble, ReportLogger>();

  constructor(options: WorkLogOptions) {
    this.#options = options;
  }

  /** @param late a breach after the close, when the log already has the other problems */
  note(context: RequestContext, late?: BreachRecord): void {
    let found = late === undefined ? this.#find(context) : this.#ofLate(context, late);
    // The worst problem may be suppressed because it recurs: then the next one, which was not reported yet, is tried.
    for (; found !== undefined; found = afterHeldBack(found)) {
      if (this.#write(context, found, late !== undefined)) return;
    }
  }

  /** Whether it was logged, or there is nothing else to report. */
  #write(context: RequestContext, found: Found, isLate: boolean): boolean {
    const { trouble } = found;
    const kind = trouble === 'stall' && isDoubtful(found.block!) ? PAUSES : KINDS[trouble];
    const subject = subjectOf(context, found);
    const windowMs = trouble === 'breach' ? this.#options.breachWindowMs : MINUTE_MS;
    const suppressed = reports.admit(kind, subject, msOf(context, found), windowMs);
    if (suppressed === undefined) {
      if (trouble === 'breach') rememberNextBreach(context, subject);
      return false;
    }
    for (const wait of found.waits) saidWaits.add(wait);
    const record = recordAtClose(context);
    const { isFull, hasSinks } = this.#options;
    const { breachStack } = context.cost;
    const fingerprint =
      trouble === 'breach'
        ? fingerprintOf(record.handler ?? record.route ?? record.kind, found.breaches)
        : undefined;
    const report = reportOfWork(
      {
        ...found,
        record,
        finding: found.repeated && worthyFinding(found.repeated, context.cost),
        breachSite: trouble === 'breach' && !isLate && breachStack ? callSitesOf(breachStack)[0] : undefined,
      },
      { isFull, hasSinks, fingerprint, suppressed, own: ownLogFields(context) },
    );
    // The line belongs to the request that it is about.
    contextStorage.run(context, () => this.#loggerOf(trouble).write(kind.isError ? 'error' : 'warn', report));
    return true;
  }

  /** Everything that is wrong with it, most severe first; nothing if the log already has the cause. */
  #find(context: RequestContext): Found | undefined {
    const { breaches, isSlow, poolWaits, blocks, cost } = context;
    const { logsBreaches, minRepeats } = this.#options;
    const hasTrouble =
      (logsBreaches && breaches.length > 0) || isSlow || poolWaits !== undefined || blocks.length > 0;
    const alone = hasTrouble ? undefined : worthyShape(cost, minRepeats);
    if (!hasTrouble && alone === undefined) return undefined;
    const because = longestPart(context.time);
    const said = blocks.some(block => this.stalls?.hasSaid(block, context.time.number));
    const block = this.stalls?.take(blocks, context.time.number);
    const waits = (poolWaits ?? []).filter(wait => !saidWaits.has(wait));
    const isStall = block !== undefined;
    const facts = { block: block ?? longestOwn(context), isStall, waits, because };
    const ofBudget = logsBreaches ? breaches.filter(one => !(said && one.dimension === 'loopBlockMs')) : [];
    if (ofBudget.length > 0) return { trouble: 'breach', breaches: ofBudget, ...facts };
    const rest = { breaches: [], ...facts };
    if (block !== undefined) return { trouble: 'stall', ...rest };
    if (waits.length > 0) return { trouble: 'pool', ...rest };
    const hasSaidWait = (poolWaits?.length ?? 0) > 0;
    const isKnown = (said && because === 'own') || (hasSaidWait && because === 'pool');
    if (isSlow && !isKnown) return { trouble: 'slow', ...rest };
    const repeated = alone ?? worthyShape(cost, minRepeats);
    return repeated && { trouble: 'finding', ...rest, repeated };
  }

  #ofLate(context: RequestContext, late: BreachRecord): Found | undefined {
    if (!this.#options.logsBreaches) return undefined;
    const because = longestPart(context.time);
    return { trouble: 'breach', breaches: [late], block: undefined, isStall: false, waits: [], because };
  }

  #loggerOf(trouble: Trouble): ReportLogger {
    let logger = this.#loggers.get(trouble);
    if (logger === undefined) this.#loggers.set(trouble, (logger = new ReportLogger(NAMES[trouble])));
    return logger;
  }
}

function subjectOf(context: RequestContext, { trouble, breaches, because, waits }: Found): string {
  const name = workOf(context);
  switch (trouble) {
    case 'breach':
      return `${name}, ${breaches.map(({ dimension }) => dimension).join(' ')}`;
    case 'slow':
      return `${name}, ${because}`;
    case 'pool':
      return `${name}, ${waits[0]!.driver}`;
    case 'stall':
    case 'finding':
      return name;
  }
}

function msOf(context: RequestContext, { trouble, block, waits }: Found): number {
  if (trouble === 'slow') return context.elapsedMs;
  if (trouble === 'stall') return block?.ms ?? 0;
  return trouble === 'pool' ? waits[0]!.waitedMs : 0;
}

function rememberNextBreach({ cost }: RequestContext, subject: string): void {
  if (cost.breachStack === undefined || cost.history === undefined) return;
  cost.history.breachesHeldUntilMs = reports.heldUntilMs(BREACHES, subject) - AHEAD_MS;
}

/** What else is wrong with it, if the worst problem is suppressed. */
function afterHeldBack(found: Found): Found | undefined {
  const { trouble, isStall, waits } = found;
  if (trouble === 'breach' && isStall) return { ...found, trouble: 'stall', breaches: [] };
  if ((trouble === 'breach' || trouble === 'stall') && waits.length > 0)
    return { ...found, trouble: 'pool', breaches: [] };
  return undefined;
}

function longestOwn({ blocks, time }: RequestContext): LoopBlock | undefined {
  const own = blocks.filter(({ culprit }) => culprit?.account === time.number);
  return own.toSorted((a, b) => b.ms - a.ms)[0];
}
