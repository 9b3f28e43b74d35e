import { Logger } from '@nestjs/common';
import { contextStorage } from '../context/context-storage';
import type { RequestContext } from '../context/request-context';
import type { CostRecord } from '../cost/cost-record';
import { buildCostRecord } from '../cost/cost-record-builder';
import { longestPart, partsOf, type SlowRecord, type TimePart } from '../cost/time-record';
import type { PoolWait } from './pools/pool-wait';
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

const SLOW: ReportKind = { name: 'slow requests', isError: false };

/** Parts below this share of the time are not worth a word. */
const LEAST_SHARE = 0.005;

const NAMES: Readonly<Record<TimePart, string>> = {
  database: 'the database',
  pool: 'waiting for a connection of a pool',
  http: 'other services',
  cache: 'the cache',
  messages: 'the broker',
  own: 'its own work',
  stalled: 'an event loop that others blocked',
  starved: 'a processor that the machine gave to other processes',
  other: 'what is not counted (timers, files, the body of the request)',
};

const NEXT: Readonly<Record<TimePart, string>> = {
  database: 'Look at the slowest shape with EXPLAIN (ANALYZE, BUFFERS), and at what could run side by side.',
  pool: 'Make those who hold the connections give them back sooner, above all across calls of other services; then think of a larger pool.',
  http: 'Ask that service for less, side by side, or with a time limit of its own.',
  cache: 'Ask for many keys at once, and look at the server.',
  messages: 'Look at the broker, or publish after the response.',
  own: 'Divide the work (setImmediate between parts), move it to a worker thread, or do less of it.',
  stalled: 'Repair the handler that blocked the loop, not this one.',
  starved: 'Give the process more of the machine: its share of the CPU, and who else runs beside it.',
  other: 'Wrap a client that is not counted in contextService.record(), or look at its timers and files.',
};

/** Says where the time of slow requests went: once a minute for the same handler and largest part. */
export class SlowLog {
  readonly #logger = new Logger('SlowRequest');

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
    `${name} took ${number(record.durationMs)} ms, ${share(slow.ms, record)} of it for ${NAMES[slow.because]}` +
    (slow.culprits.length > 0 && slow.because !== 'database' ? `: ${slow.culprits.join(', ')}` : '');
  const lines = linesOf(record, slow, poolWaits);
  if (suppressed > 0) lines.push(['more', `${number(suppressed)} were not logged since the last one`]);
  return new Report(headline, lines, {
    ...fieldsOfRequest(record),
    durationMs: record.durationMs,
    because: slow.because,
    culprits: slow.culprits.join(', '),
    ...record.time,
    blockedMs: record.blockedMs,
    queries: record.queries.count,
    next: NEXT[slow.because],
    suppressed,
  });
}

function linesOf(record: CostRecord, slow: SlowRecord, poolWaits: readonly PoolWait[]): ReportLine[] {
  const { queries, stalls = [], blockedMs } = record;
  const parts = partsOf(record.time)
    .filter(([, ms]) => ms > LEAST_SHARE * record.durationMs)
    .map(([part, ms]) => `${part} ${number(ms)} ms (${share(ms, record)})`);
  const lines: ReportLine[] = [
    ['request', requestOf(record)],
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
    const by = holders.map(({ handler, connections }) => `${handler} ${connections}`).join(', ');
    lines.push([
      'pool',
      `${number(waitedMs)} ms, ${held} of the ${size} of its ${driver} pool held by ${by}`,
    ]);
  }
  for (const traced of record.trace?.slice(0, TOP) ?? []) lines.push(['calls', tracedOf(traced)]);
  if (blockedMs !== undefined) lines.push(['blocked', `the event loop for ${number(blockedMs)} ms`]);
  lines.push(['next', NEXT[slow.because]]);
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
  return at === undefined ? 'by what is not known' : `by work outside of any unit of work${where}`;
}
