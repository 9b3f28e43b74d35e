import type { BreachRecord, CostRecord, ShapeCostRecord } from '../../cost/cost-record';
import type { CallDimension } from '../../cost/call-ledger';
import { remedyOfWrites } from '../../cost/find-repeats';
import type { LoopBlock } from '../../cost/event-loop';
import type { RepeatFinding } from '../../cost/repeat-finding';
import type { StallRecord, TimePart } from '../../cost/time-record';
import { causeOfFinding, causeOfRepeats, isWrite, type MainCause } from '../../reporting/finding-cause';
import { fixOfCount, fixOfSlowCalls } from './fix-of-calls';
import { fixOfDatabase, tableOf } from './fix-of-database';
import type { PoolWait } from '../../cost/pool-wait';
import { causeOfWait, isFanOut } from '../../detectors/pools/pool-wait-report';
import { causeOfBlock, fixOfCall } from '../../detectors/stalls/stall-cause';
import {
  CALLS,
  callsOf,
  cut,
  linesOfShape,
  mostRemote,
  number,
  remoteOf,
  type ReportLine,
} from '../../reporting/report-text';

/** What a report about a unit of work is for, most severe first. */
export type Trouble = 'breach' | 'stall' | 'pool' | 'slow' | 'finding';

/** A unit of work with something to report. */
export interface TroubledWork {
  readonly trouble: Trouble;
  readonly record: CostRecord;
  /** Breaches, except those whose cause the log already has. */
  readonly breaches: readonly BreachRecord[];
  /** The longest block of the event loop of its own, and whether it is a stall that has not been reported yet. */
  readonly block: LoopBlock | undefined;
  readonly isStall: boolean;
  readonly waits: readonly PoolWait[];
  /** The largest part of its time. */
  readonly because: TimePart;
  /** For a report about nothing else. */
  readonly finding?: RepeatFinding | undefined;
  /** Where the application was when the budget was exceeded. */
  readonly breachSite?: string | undefined;
}

const FIX_OF_TIME: Readonly<Record<Exclude<TimePart, 'database' | CallDimension>, string>> = {
  pool: 'release connections sooner, above all before calling other services; increase the pool size only after that',
  slot: 'make the handler faster before raising the limit of @Concurrency(), or lower waitMs so that callers are refused sooner',
  own: 'do less work, or move it to a worker thread; splitting it with setImmediate takes as long but lets other requests run',
  stalled: 'fix the handler that blocked the event loop, not this one',
  unknown: 'look for code that runs for 50 ms or longer between two awaits',
  starved: 'give the process more CPU: raise its share or limit, or move other processes off the machine',
  other:
    'check timers, files and the thread pool (bcrypt, crypto, zlib, dns); report queries of other clients with contextService.record()',
};
/** Dimensions that an N+1 increases. */
const OF_QUERIES = ['queries', 'repeats'];
const TIME_OF_QUERIES: readonly TimePart[] = ['database', 'pool', 'own'];

export function causeOf(work: TroubledWork): MainCause {
  const { trouble, breaches, block, because, waits } = work;
  const repeats = causeOfItsRepeats(work);
  if (repeats !== undefined) return repeats;
  if (trouble === 'breach') return causeOfBreach(breaches[0]?.dimension ?? 'queries', work);
  if (trouble === 'stall') return causeOfBlock(block);
  if (trouble === 'finding') return causeOfFinding(work.finding!);
  return trouble === 'pool' ? causeOfWait(waits[0]!) : causeOfTime(because, work);
}

/** Proven N+1s, where they make up most of what is too much: queries, or the time of queries. */
function causeOfItsRepeats(work: TroubledWork): MainCause | undefined {
  const { record, breaches } = work;
  if (isTimeOfQueries(work)) {
    const { findings = [], queries } = record;
    // Of what is still under way nothing is known.
    if (queries.durationMs === 0) return undefined;
    const proven = findings.filter(({ confidence }) => confidence === 'proven');
    const ms = proven.map(finding => msOf(finding, record));
    const slowest = proven.find((_, i) => 2 * ms[i]! >= queries.durationMs);
    if (slowest !== undefined) return causeOfFinding(slowest);
    return 2 * ms.reduce((a, b) => a + b, 0) < queries.durationMs ? undefined : causeOfRepeats(proven, 0);
  }
  const { findings, count } = ofDimension(breaches[0]?.dimension, record);
  return mayBeRepeats(work) ? causeOfRepeats(findings, count) : undefined;
}

function isTimeOfQueries({ trouble, breaches, because }: TroubledWork): boolean {
  const dimension = trouble === 'breach' ? breaches[0]?.dimension : undefined;
  if (dimension === 'durationMs') return true;
  return because === 'database' && (trouble === 'slow' || dimension === 'deadlineMs');
}

function msOf({ shape }: RepeatFinding, { queries }: CostRecord): number {
  return queries.shapes.find(one => one.shape === shape)?.durationMs ?? 0;
}

function mayBeRepeats({ trouble, breaches, because, waits }: TroubledWork): boolean {
  if (trouble === 'breach') {
    const dimension = breaches[0]?.dimension ?? '';
    if (dimension === 'deadlineMs') return TIME_OF_QUERIES.includes(because);
    return OF_QUERIES.includes(dimension) || dimension.startsWith('perTable.');
  }
  if (trouble === 'pool') return waits[0]!.own === 0 && isFanOut(waits[0]!);
  return trouble === 'slow' && TIME_OF_QUERIES.includes(because);
}

function causeOfBreach(dimension: string, work: TroubledWork): MainCause {
  const { record, because } = work;
  const { queries, remote, traceId } = record;
  if (dimension === 'durationMs') return causeOfTime('database', work);
  if (dimension === 'deadlineMs') return causeOfTime(because, work);
  if (dimension === 'loopBlockMs') return causeOfBlock(work.block);
  if (dimension === 'rows') {
    const shape = largest(queries.shapes, 'rows');
    if (shape === undefined) return { lines: [], fix: 'let the database count, aggregate or page' };
    const fix = `let the database count, aggregate or page (COUNT, GROUP BY, LIMIT) instead of fetching ${number(shape.rows)} rows${of(shape)}`;
    return { lines: linesOfShape(shape), fix };
  }
  if (dimension === 'writes') {
    const shape = queries.shapes.find(({ shape: text }) => isWrite(text));
    return { lines: linesOfShape(shape), fix: remedyOfWrites(shape?.shape ?? '', tableOf(shape)) };
  }
  if (dimension.startsWith('remote')) {
    const [[host] = ['the other service']] = mostRemote(remote);
    const where = traceId === undefined ? '' : ` under trace id ${traceId}`;
    return {
      lines: remoteOf(record),
      fix: `look at the records of ${host}${where}, and call it once for all items (a bulk route)`,
    };
  }
  const calls = CALLS.find(one => one === dimension);
  if (calls !== undefined)
    return { lines: callsOf(calls, record[calls]), fix: fixOfCount(calls, record[calls]) };
  return causeOfQueries(dimension, work);
}

/** What a dimension counts: all queries, or those of its table. */
function ofDimension(
  dimension: string | undefined,
  { queries, findings = [] }: CostRecord,
): {
  readonly shapes: readonly ShapeCostRecord[];
  readonly findings: readonly RepeatFinding[];
  readonly count: number;
} {
  const all = { shapes: queries.shapes, findings, count: queries.count };
  if (dimension?.startsWith('perTable.') !== true) return all;
  const name = dimension.slice('perTable.'.length);
  const shapes = queries.shapes.filter(({ table }) => table === name);
  if (shapes.length === 0) return all;
  const count = shapes.reduce((sum, shape) => sum + shape.count, 0);
  return { shapes, findings: findings.filter(({ table }) => table === name), count };
}

function causeOfQueries(dimension: string, { record }: TroubledWork): MainCause {
  const { queries } = record;
  const { shapes, findings, count } = ofDimension(dimension, record);
  // What is proven comes first, then the most frequent.
  const finding = findings.find(({ confidence }) => confidence !== 'suspected');
  // It may be another shape than the most frequent one, which may be a batch for each row.
  const [top] = shapes;
  const isClear =
    finding !== undefined &&
    (dimension === 'repeats' || 2 * finding.count > count || isRival(finding, top?.count ?? 0));
  if (isClear) return causeOfFinding(finding);
  if (top !== undefined && count === 1)
    return { lines: linesOfShape(top), fix: 'remove the query, or raise the budget' };
  if (top !== undefined && 2 * top.count > count) {
    const how = queries.maxConcurrent > 1 ? 'in parallel' : 'one after another';
    const lines: ReportLine[] = linesOfShape(top);
    const fix = isWrite(top.shape)
      ? remedyOfWrites(top.shape, tableOf(top))
      : `fetch all rows${of(top, 'from')} in one query (a JOIN, IN (…) or a DataLoader)`;
    return { text: `one statement ${number(top.count)} times, ${how}`, lines, fix };
  }
  if (finding !== undefined && 4 * finding.count >= count) return causeOfFinding(finding);
  return {
    text: `${number(shapes.length)} different statements`,
    lines: shapes.slice(0, 2).flatMap(shape => linesOfShape(shape)),
    fix: 'load the data in fewer queries, or split the handler',
  };
}

/** Whether it is proven, and nearly as frequent as what is most frequent. */
function isRival({ confidence, count }: RepeatFinding, most: number): boolean {
  return confidence === 'proven' && 4 * count >= 3 * most;
}

/** Where the time went, for what took too long. */
function causeOfTime(part: TimePart, { record, block, waits }: TroubledWork): MainCause {
  if (part === 'database') {
    const slowest = largest(record.queries.shapes, 'durationMs');
    return { lines: linesOfShape(slowest), fix: fixOfDatabase(record, slowest) };
  }
  if (part === 'http' || part === 'cache' || part === 'messages')
    return { lines: callsOf(part, record[part]), fix: fixOfSlowCalls(part, record[part]) };
  const fix = FIX_OF_TIME[part];
  switch (part) {
    case 'pool':
      return waits[0] === undefined ? { lines: [], fix } : causeOfWait(waits[0]);
    case 'own':
      return { lines: causeOfBlock(block).lines, fix: (block && fixOfCall(block)) ?? fix };
    case 'stalled':
      return { lines: (record.stalls ?? []).slice(0, 2).map(lineOfStall), fix };
    case 'slot':
    case 'unknown':
    case 'starved':
    case 'other':
      return { lines: [], fix };
  }
}

/** What kept it waiting, and for how long. */
export function lineOfStall({ ms, handler, requestId, at }: StallRecord): ReportLine {
  const where = at === undefined ? '' : ` at ${at}`;
  const who = requestId === undefined ? undefined : `${handler ?? 'a request'} (request id ${requestId})`;
  const nobody =
    at === undefined ? 'cause unknown' : `by work outside of any request, job or message${where}`;
  return ['blocked', `${number(ms)} ms ${who === undefined ? nobody : `by ${who}${where}`}`];
}

function largest(shapes: readonly ShapeCostRecord[], by: 'rows' | 'durationMs'): ShapeCostRecord | undefined {
  return shapes.toSorted((a, b) => b[by] - a[by])[0];
}

function of({ table }: ShapeCostRecord, word = 'of'): string {
  return table === undefined ? '' : ` ${word} ${cut(table)}`;
}
