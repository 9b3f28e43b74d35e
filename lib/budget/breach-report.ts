import { createHash } from 'node:crypto';
import type { BreachRecord, CostRecord } from '../cost/cost-record';
import type { RepeatFinding, RepeatParent } from '../cost/repeat-finding';
import { mainCauseOf } from '../diagnosis/main-cause';
import {
  CALLS,
  callsOf,
  cut,
  fieldsOfCalls,
  fieldsOfRequest,
  number,
  queriesOf,
  remoteOf,
  Report,
  type ReportLine,
  requestOf,
  shapeOf,
  TOP,
  tracedOf,
} from '../diagnosis/report-text';
import { nextStep } from './next-step';

/** A finding names two; most stand above it in full. */
const FINDING_WIDTH = 100;
const LABELS: Readonly<Record<RepeatFinding['kind'], string>> = {
  'n-plus-one': 'n+1',
  duplicate: 'duplicate',
  'fan-out': 'fan-out',
  'look-ups': 'look-ups',
};

/** A breach as it is logged. */
export class BreachReport extends Report {
  constructor(record: CostRecord, fingerprint: string, breachSite: string | undefined, suppressed: number) {
    super(headline(record), linesOf(record, fingerprint, breachSite, suppressed), {
      ...fieldsOf(record),
      fingerprint,
      exceededAt: breachSite,
      suppressed,
    });
  }
}

/** Groups breaches of the same handler and dimensions; stable over processes and releases. */
export function fingerprintOf(handler: string, breaches: readonly BreachRecord[]): string {
  const dimensions = breaches.map(({ dimension }) => dimension).sort();
  return createHash('sha256')
    .update([handler, ...dimensions].join('\n'))
    .digest('hex')
    .slice(0, 16);
}

function linesOf(
  record: CostRecord,
  fingerprint: string,
  breachSite: string | undefined,
  suppressed: number,
): ReportLine[] {
  const { queries } = record;
  const cause = mainCauseOf(record.findings ?? [], queries.count);
  const lines: ReportLine[] = [
    ['request', requestOf(record)],
    ...(cause === undefined ? [] : [['cause', cause.text] as const]),
    ...(record.owner === undefined ? [] : [['owner', record.owner] as const]),
    ...record.breaches.map((breach): ReportLine => [
      'budget',
      `${breach.dimension} ${number(breach.used)}/${number(breach.limit)}, from ${breach.from}`,
    ]),
    ['queries', queriesOf(record)],
    [
      'time',
      `${number(queries.busyMs)} of ${number(record.durationMs)} ms with the database (${shareOf(record)} %)` +
        (queries.waitMs >= 1 ? `, ${number(queries.waitMs)} ms of waiting for a pool` : ''),
    ],
    ...CALLS.flatMap(dimension => callsOf(dimension, record[dimension])),
    ...remoteOf(record),
    ...queries.shapes.slice(0, TOP).map((shape, i): ReportLine => [`top ${i + 1}`, shapeOf(shape)]),
  ];
  for (const finding of findingsOf(record)) {
    lines.push([LABELS[finding.kind], findingOf(finding)]);
  }
  for (const traced of record.trace?.slice(0, TOP) ?? []) lines.push(['calls', tracedOf(traced)]);
  if (breachSite !== undefined) lines.push(['exceeded', `at ${breachSite}`]);
  lines.push(['next', nextStep(record)], ['group', groupOf(fingerprint, suppressed)]);
  return lines;
}

function headline(record: CostRecord): string {
  const name = record.handler ?? record.route ?? record.kind;
  const hard = record.breaches.filter(breach => breach.hard === true);
  return hard.length > 0
    ? `${name} was stopped at its hard limit: ${textOf(hard)}`
    : `${name} exceeded its query budget: ${textOf(record.breaches)}`;
}

function textOf(breaches: readonly BreachRecord[]): string {
  return breaches
    .map(({ dimension, used, limit }) => `${number(used)}/${number(limit)} ${dimension}`)
    .join(', ');
}

/** What is only suspected is in the record, and nowhere else. */
function findingsOf({ findings = [] }: CostRecord): readonly RepeatFinding[] {
  return findings.filter(({ confidence }) => confidence !== 'suspected').slice(0, TOP);
}

function findingOf({ kind, shape, count, duplicates, parents, callSite }: RepeatFinding): string {
  const what = `${number(count)} × ${cut(shape, FINDING_WIDTH)}`;
  if (kind === 'duplicate')
    return `${what}, ${number(duplicates)} of them with parameters seen before${at(callSite)}`;
  if (kind === 'fan-out') return `${what}, all at once${at(callSite)}`;
  if (kind === 'look-ups') return `${what}, one by one${at(callSite)}`;
  return `${what}${at(callSite)}, one for each ${parents.map(sourceOf).join(' and each ')}`;
}

/** `orders.id of SELECT … FROM orders (orders.service.ts:44 list)` */
function sourceOf({ table, column = 'row', shape, callSite }: RepeatParent): string {
  const isWhole = table === undefined || column === 'row' || column.includes('.');
  const from = isWhole ? column : `${table}.${column}`;
  return `${from} of ${cut(shape, FINDING_WIDTH)}${at(callSite)}`;
}

function at(callSite: string | undefined): string {
  return callSite === undefined ? '' : ` (${callSite})`;
}

function groupOf(fingerprint: string, suppressed: number): string {
  return suppressed === 0
    ? fingerprint
    : `${fingerprint}, ${number(suppressed)} more were not logged since the last one`;
}

function fieldsOf(record: CostRecord): Record<string, unknown> {
  const { queries } = record;
  const fields: Record<string, unknown> = {
    ...fieldsOfRequest(record),
    owner: record.owner,
    queries: queries.count,
    shapes: queries.shapes.length + (queries.shapesDropped > 0 ? 1 : 0),
    rows: queries.rows,
    writes: queries.writes,
    transactions: queries.transactions,
    errors: queries.errors,
    durationMs: record.durationMs,
    databaseMs: queries.busyMs,
    databaseShare: shareOf(record) / 100,
    maxConcurrent: queries.maxConcurrent,
    waitMs: queries.waitMs,
    ...fieldsOfCalls(record),
    next: nextStep(record),
  };
  for (const { dimension, used, limit, from } of record.breaches) {
    fields[`${dimension}.used`] = used;
    fields[`${dimension}.limit`] = limit;
    fields[`${dimension}.from`] = from;
  }
  for (const [i, top] of queries.shapes.slice(0, TOP).entries()) {
    for (const [name, value] of Object.entries(top)) fields[`top${i + 1}.${name}`] = value;
  }
  for (const [i, { parents, ...finding }] of findingsOf(record).entries()) {
    for (const [name, value] of Object.entries(finding)) fields[`finding${i + 1}.${name}`] = value;
    for (const [name, value] of Object.entries(parents[0] ?? {}))
      fields[`finding${i + 1}.parent.${name}`] = value;
  }
  for (const [i, traced] of record.trace?.slice(0, TOP).entries() ?? []) {
    for (const [name, value] of Object.entries(traced)) fields[`calls${i + 1}.${name}`] = value;
  }
  return fields;
}

function shareOf({ queries, durationMs }: CostRecord): number {
  return durationMs > 0 ? Math.min(100, Math.round((100 * queries.busyMs) / durationMs)) : 0;
}
