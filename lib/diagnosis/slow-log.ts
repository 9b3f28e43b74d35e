import { contextStorage } from '../context/context-storage';
import type { RequestContext } from '../context/request-context';
import type { CostRecord } from '../cost/cost-record';
import { buildCostRecord } from '../cost/cost-record-builder';
import { longestPart, partsOf, type SlowRecord, type TimePart } from '../cost/time-record';
import type { PoolWait } from '../cost/pool-wait';
import { type MainCause, mainCauseOf } from './main-cause';
import {
  CALLS,
  callsOf,
  fieldsOfRequest,
  number,
  queriesOf,
  Report,
  type ReportLine,
  requestOf,
  shapeOf,
  TOP,
  tracedOf,
} from './report-text';
import { type ReportKind, reports } from './reports';
import { workOf } from './request-of';
import { ReportLogger } from './report-logger';

const SLOW: ReportKind = { name: 'slow requests', one: 'slow request', isError: false };

/** Parts below this share of the time are not worth a word. */
const LEAST_SHARE = 0.005;

/** What it did in that time: `54 % of it …`. */
const DOING: Readonly<Record<TimePart, string>> = {
  database: 'waiting for the database',
  pool: 'waiting for a connection from a pool',
  http: 'waiting for other services',
  cache: 'waiting for the cache',
  messages: 'waiting for the message broker',
  slot: 'waiting for a slot of @Concurrency()',
  own: 'running its own code',
  stalled: 'waiting while others blocked the event loop',
  unknown: 'waiting while something unknown blocked the event loop',
  starved: 'waiting for a CPU that other processes had',
  other: 'in what is not measured (timers, files, the thread pool, reading the body of the request)',
};

const NEXT: Readonly<Record<TimePart, string>> = {
  database:
    'Run EXPLAIN (ANALYZE, BUFFERS) on the slowest statement, and see which queries could run in parallel.',
  pool: 'Release connections sooner, above all before calling other services; only then make the pool larger.',
  http: 'Call that service less often, in parallel, or with a timeout.',
  cache: 'Fetch many keys at once, and check the cache server.',
  messages: 'Check the broker, or publish after the response.',
  slot: 'Make the handler faster, above all what it waits for. Only then raise its limit, or lower waitMs so that callers are told sooner.',
  own: 'Do less of it, or move it to a worker thread. Split up (setImmediate between the parts), it takes as long but lets other requests run.',
  stalled: 'Fix the handler that blocked the event loop, not this one.',
  unknown:
    'Look for code that runs for 50 ms or longer between two awaits. A stall of at least stallMs is reported with its line.',
  starved: 'Give the process more CPU: raise its share or limit, or move what runs beside it.',
  other:
    'Check its timers and files, and what runs in the thread pool (bcrypt, crypto, zlib, dns: a cheaper factor, or UV_THREADPOOL_SIZE); report clients that are not counted with contextService.record().',
};

/** Parts of the time that an N+1 may be the cause of. */
const OF_QUERIES: readonly TimePart[] = ['database', 'pool', 'own'];

/** Says where the time of slow requests went: once a minute for the same handler and largest part. */
export class SlowLog {
  readonly #logger = new ReportLogger('SlowRequest');

  note(context: RequestContext): void {
    const because = longestPart(context.time);
    const suppressed = reports.admit(SLOW, `${workOf(context)}, ${because}`, context.elapsedMs);
    if (suppressed === undefined) return;
    const record = buildCostRecord(context);
    const { slow } = record;
    if (slow === undefined) return;
    const report = slowReport(record, slow, context.poolWaits ?? [], suppressed);
    // The line belongs to the request that it speaks of.
    contextStorage.run(context, () => this.#logger.warn(report));
  }
}

function slowReport(
  record: CostRecord,
  slow: SlowRecord,
  poolWaits: readonly PoolWait[],
  suppressed: number,
): Report {
  const name = record.handler ?? record.route ?? record.kind;
  const headline =
    `${name} took ${number(record.durationMs)} ms, ${share(slow.ms, record)} of it ${DOING[slow.because]}` +
    (slow.culprits.length > 0 && slow.because !== 'database' ? `: ${slow.culprits.join(', ')}` : '');
  const cause = OF_QUERIES.includes(slow.because)
    ? mainCauseOf(record.findings ?? [], record.queries.count)
    : undefined;
  const next = cause?.remedy ?? NEXT[slow.because];
  const lines = linesOf(record, cause, poolWaits, next);
  if (suppressed > 0) lines.push(['more', `${number(suppressed)} were not logged since the last one`]);
  return new Report(headline, lines, {
    ...fieldsOfRequest(record),
    durationMs: record.durationMs,
    because: slow.because,
    culprits: slow.culprits.join(', '),
    ...record.time,
    blockedMs: record.blockedMs,
    queries: record.queries.count,
    cause: cause?.text,
    next,
    suppressed,
  });
}

function linesOf(
  record: CostRecord,
  cause: MainCause | undefined,
  poolWaits: readonly PoolWait[],
  next: string,
): ReportLine[] {
  const { queries, stalls = [], blockedMs } = record;
  const parts = partsOf(record.time)
    .filter(([, ms]) => ms > LEAST_SHARE * record.durationMs)
    .map(([part, ms]) => `${part} ${number(ms)} ms (${share(ms, record)})`);
  const lines: ReportLine[] = [
    ['request', requestOf(record)],
    ...(cause === undefined ? [] : [['cause', cause.text] as const]),
    ['time', parts.join(', ')],
  ];
  if (queries.count > 0) lines.push(['queries', queriesOf(record)]);
  for (const dimension of CALLS) lines.push(...callsOf(dimension, record[dimension]));
  for (const [i, shape] of queries.shapes
    .toSorted((a, b) => b.durationMs - a.durationMs)
    .slice(0, TOP)
    .entries()) {
    lines.push([`top ${i + 1}`, shapeOf(shape)]);
  }
  for (const { ms, handler, requestId, at } of stalls.slice(0, TOP)) {
    lines.push(['stalled', `${number(ms)} ms ${culpritOf(handler, requestId, at)}`]);
  }
  for (const { driver, waitedMs, size, held, holders } of poolWaits.slice(0, TOP)) {
    const by = holders.map(({ handler, connections }) => `${handler} (${connections})`).join(', ');
    lines.push([
      'pool',
      `${number(waitedMs)} ms, with ${held} of ${size} connections of its ${driver} pool held by ${by}`,
    ]);
  }
  for (const traced of record.trace?.slice(0, TOP) ?? []) lines.push(['calls', tracedOf(traced)]);
  if (blockedMs !== undefined) lines.push(['blocked', `the event loop for ${number(blockedMs)} ms`]);
  lines.push(['next', next]);
  return lines;
}

function share(ms: number, { durationMs }: CostRecord): string {
  return `${Math.round((100 * ms) / durationMs)} %`;
}

function culpritOf(
  handler: string | undefined,
  requestId: string | undefined,
  at: string | undefined,
): string {
  const where = at === undefined ? '' : ` at ${at}`;
  if (requestId !== undefined) return `by ${handler ?? 'a request'} (request id ${requestId})${where}`;
  return at === undefined ? 'by something unknown' : `by work outside of any request, job or message${where}`;
}
