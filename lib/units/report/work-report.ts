import type { BreachRecord, CostRecord } from '../../cost/cost-record';
import { partsOf, siteOf, type TimePart } from '../../cost/time-record';
import type { FieldsOfReport } from '../../context/our-fields';
import { type OwnLogFields, textOfOwnFields } from '../../context/own-log-fields';
import type { RepeatFinding } from '../../cost/repeat-finding';
import { describeFinding, type MainCause, shapeOfFinding } from '../../reporting/finding-cause';
import { causeOf, type TroubledWork } from './main-cause';
import { describeWaiting, fieldsOfWait } from '../../detectors/pools/pool-wait-report';
import {
  fieldsOfCalls,
  fieldsOfRequest,
  headlineOf,
  number,
  Report,
  type ReportLine,
  similar,
} from '../../reporting/report-text';
import { detailsOf, fieldsOfDetails } from './work-details';

/** What the report of a unit of work contains besides its findings. */
export interface WorkReportOptions {
  readonly isFull: boolean;
  /** Whether records go to a sink. */
  readonly hasSinks: boolean;
  readonly fingerprint: string | undefined;
  readonly suppressed: number;
  /** The application's own fields of its log lines. */
  readonly own: OwnLogFields | undefined;
}

/** `    orders.service.ts:44 items` at the end of a line of evidence. */
const NAMES_A_LINE = /(?:^| {4})\S+:\d/;

/** Maximum number of dimensions in a headline; the record has the others. */
const MAX_DIMENSIONS = 2;

/** Repeats that are named besides the cause, and the fewest runs of a proven N+1; others need twice as many. */
const MAX_REPEATS = 2;
const LEAST_RUNS = 5;

/** What it did in that time: `54 % of it …`. */
const DOING: Readonly<Record<TimePart, string>> = {
  database: 'waiting for the database',
  pool: 'waiting for a connection from a pool',
  http: 'waiting for other services',
  cache: 'waiting for the cache',
  messages: 'waiting for the message broker',
  slot: 'waiting for a @Concurrency() slot',
  own: 'running its own code',
  stalled: 'waiting while other work blocked the event loop',
  unknown: 'waiting while something unknown blocked the event loop',
  starved: 'waiting for a CPU that other processes used',
  other: 'in unmeasured work (timers, files, the thread pool, the request body)',
};

/** Everything that is wrong with one unit of work: a headline and at most eight lines, the cause first. */
export function reportOfWork(work: TroubledWork, options: WorkReportOptions): Report {
  const cause = causeOf(work);
  const { record } = work;
  const headline = headlineOf(sentenceOf(work, cause), record.requestId);
  const lines = options.isFull ? detailsOf(work, cause, options) : linesOf(work, cause, options);
  return new Report(headline, lines, {
    ...fieldsOf(work, cause, options),
    ...(options.isFull && fieldsOfDetails(record)),
  });
}

function sentenceOf(work: TroubledWork, { text }: MainCause): string {
  const { trouble, record, breaches, block, because, waits } = work;
  const name = record.handler ?? record.route ?? record.kind;
  const cause = text === undefined ? '' : `, ${text}`;
  switch (trouble) {
    case 'breach': {
      const hard = breaches.filter(breach => breach.hard === true);
      return hard.length > 0
        ? `${name} was stopped: ${describeBreaches(hard)}${cause}`
        : `${name}: ${describeBreaches(breaches)}${cause}`;
    }
    case 'stall': {
      const at = block && siteOf(block);
      return `${name} blocked the event loop for ${number(block?.ms ?? 0)} ms${at === undefined ? '' : ` at ${at}`}`;
    }
    case 'pool':
      return `${name} ${describeWaiting(waits[0]!, 'waited')}${cause}`;
    case 'slow': {
      const [, ms] = partsOf(record.time).find(([part]) => part === because) ?? [because, 0];
      return `${name} took ${number(record.durationMs)} ms, ${share(ms, record)} of it ${DOING[because]}${cause}`;
    }
    case 'finding':
      return `${name}: ${text} (${number(record.queries.count)} queries in total)`;
  }
}

/** Parts of the time whose name says too little, where they are among the largest. */
const EXPLAINED = 2;
const MEANING: Partial<Readonly<Record<TimePart, string>>> = {
  starved: ' (other processes used the CPU)',
  stalled: ' (other work blocked the event loop)',
};

/** Wording of each dimension; others are named like their option. */
const WORDS: Readonly<Record<string, (used: string) => string>> = {
  durationMs: used => `${used} ms of database time`,
  deadlineMs: used => `took ${used} ms`,
  loopBlockMs: used => `blocked the event loop for ${used} ms`,
  cache: used => `${used} cache commands`,
  http: used => `${used} HTTP calls`,
  repeats: used => `${used} N+1 queries`,
  remoteQueries: used => `${used} queries in other services`,
  remoteRows: used => `${used} rows in other services`,
};

function describeBreaches(breaches: readonly BreachRecord[]): string {
  const named = breaches.slice(0, MAX_DIMENSIONS).map(describeBreach);
  const more = breaches.length - named.length;
  return named.join(', ') + (more > 0 ? `, and ${more} more` : '');
}

function describeBreach({ dimension, used, limit, hard }: BreachRecord): string {
  const word = dimension === 'deadlineMs' ? 'deadline' : hard === true ? 'hard limit' : 'budget';
  const table = dimension.startsWith('perTable.') ? dimension.slice('perTable.'.length) : undefined;
  const what =
    table === undefined
      ? (WORDS[dimension]?.(number(used)) ?? countOf(used, dimension))
      : `${number(used)} queries on ${table}`;
  return `${what} (${word} ${number(limit)})`;
}

/** `61 queries`, `1 query` */
function countOf(used: number, dimension: string): string {
  const one = dimension.replace(/ies$/, 'y').replace(/s$/, '');
  return `${number(used)} ${used === 1 ? one : dimension}`;
}

function linesOf(work: TroubledWork, cause: MainCause, options: WorkReportOptions): ReportLine[] {
  const { record } = work;
  const isNamed = work.breachSite === undefined || cause.lines.some(([, line]) => NAMES_A_LINE.test(line));
  const lines: ReportLine[] = cause.lines.slice(0, isNamed ? 3 : 2);
  if (!isNamed) lines.push(['line', `${work.breachSite}, where the budget was exceeded`]);
  lines.push(['fix', cause.fix]);
  const others = othersOf(work, cause);
  if (others.length > 0) lines.push(['also', others.join('; ')]);
  lines.push(['time', timeOf(record, options)]);
  if (record.owner !== undefined) lines.push(['owner', record.owner]);
  if (options.suppressed > 0) lines.push(['more', similar(options.suppressed)]);
  return lines;
}

/** Other problems, in words, but not those that share the cause of the headline. */
function othersOf(work: TroubledWork, cause: MainCause): string[] {
  const { trouble, block, isStall, waits } = work;
  const { lines } = cause;
  const others: string[] = [];
  const isTold = lines.some(([label]) => label === 'at');
  if (trouble !== 'stall' && isStall && block !== undefined && !isTold) {
    const where = siteOf(block);
    others.push(
      `blocked the event loop for ${number(block.ms)} ms${where === undefined ? '' : ` at ${where}`}`,
    );
  }
  if (trouble !== 'pool' && waits[0] !== undefined) others.push(describeWaiting(waits[0], 'waited'));
  others.push(...otherRepeats(work, cause));
  return others;
}

/** Repeats that the cause does not name: what is proven first, as that is to be repaired in any case. */
function otherRepeats({ record }: TroubledWork, { lines }: MainCause): string[] {
  return (record.findings ?? [])
    .filter(
      finding =>
        isWorthy(finding) && !lines.some(([, line]) => line.split('    ', 1)[0] === shapeOfFinding(finding)),
    )
    .slice(0, MAX_REPEATS)
    .map(describeFinding);
}

function isWorthy({ kind, confidence, count, duplicates }: RepeatFinding): boolean {
  if (confidence !== undefined) return confidence === 'proven' && count >= LEAST_RUNS;
  return (kind === 'duplicate' ? duplicates / 2 : count) >= 2 * LEAST_RUNS;
}

/** `177 ms: database 126, pool 36, own 15      details: record a8576eb9 in your sink` */
function timeOf(record: CostRecord, { hasSinks, own }: WorkReportOptions): string {
  const parts = partsOf(record.time)
    .filter(([, ms]) => ms >= 1)
    .map(([part, ms], i) => `${part} ${number(Math.round(ms))}${i < EXPLAINED ? (MEANING[part] ?? '') : ''}`);
  const where = hasSinks
    ? `details: record ${record.requestId} in your sink`
    : `request id ${record.requestId}`;
  const time = [`${number(Math.round(record.durationMs))} ms`, parts.join(', ')].filter(Boolean).join(': ');
  return `${time}      ${[where, textOfOwnFields(own)].filter(Boolean).join(', ')}`;
}

function share(ms: number, { durationMs }: CostRecord): string {
  return `${Math.round((100 * ms) / durationMs)} %`;
}

/** Fields for a JSON log, for short and full reports. */
function fieldsOf(
  { trouble, record, breaches, block, because, waits, breachSite }: TroubledWork,
  { text, fix, lines }: MainCause,
  { fingerprint, suppressed, own }: WorkReportOptions,
): FieldsOfReport {
  const { queries, durationMs, time, owner, blockedMs, slow } = record;
  const fields: { -readonly [name in keyof FieldsOfReport]: FieldsOfReport[name] } = {
    ...own,
    ...fieldsOfRequest(record),
    owner,
    report: trouble,
    durationMs,
    because,
    culprits: slow?.culprits.join(', '),
    ...time,
    blockedMs,
    queries: queries.count,
    rows: queries.rows,
    ...fieldsOfCalls(record),
    ...(waits[0] !== undefined && fieldsOfWait(waits[0])),
    at: block && siteOf(block),
    cause: text,
    evidence: lines.map(([label, line]) => `${label} ${line}`.trim().replace(/ {4}/g, ', ')).join('; '),
    exceededAt: breachSite,
    fix,
    fingerprint,
    suppressed,
  };
  for (const { dimension, used, limit, from } of breaches) {
    // Not `queries.used`: beside `queries` Elasticsearch would take that for an object, and refuse the line.
    fields[`used.${dimension}`] = used;
    fields[`limit.${dimension}`] = limit;
    fields[`from.${dimension}`] = from;
  }
  return fields;
}
