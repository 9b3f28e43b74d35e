import type { CostRecord } from '../../cost/cost-record';
import { partsOf } from '../../cost/time-record';
import { linesOfFinding, type MainCause } from '../../reporting/finding-cause';
import { lineOfStall, type TroubledWork } from './main-cause';
import { lineOfHolder } from '../../detectors/pools/pool-wait-report';
import {
  CALLS,
  callsOf,
  number,
  queriesOf,
  remoteOf,
  type ReportLine,
  requestOf,
  shapeOf,
  similar,
  TOP,
  tracedOf,
} from '../../reporting/report-text';
import type { FieldGroup, FieldsOfReport } from '../../context/our-fields';
import { textOfOwnFields } from '../../context/own-log-fields';
import type { WorkReportOptions } from './work-report';

/** Smaller parts of the time are omitted. */
const LEAST_SHARE = 0.005;

/** Everything that is known of a unit of work, as a block: `forRoot({ reports: 'full' })`. */
export function detailsOf(
  { trouble, record, breaches, waits, breachSite }: TroubledWork,
  cause: MainCause,
  { fingerprint, suppressed, own }: WorkReportOptions,
): ReportLine[] {
  const { queries, durationMs, blockedMs, owner } = record;
  const isOfTime = trouble === 'slow' || trouble === 'pool';
  const shapes = isOfTime ? queries.shapes.toSorted((a, b) => b.durationMs - a.durationMs) : queries.shapes;
  const parts = partsOf(record.time)
    .filter(([, ms]) => ms > LEAST_SHARE * durationMs)
    .map(([part, ms]) => `${part} ${number(ms)} ms (${Math.round((100 * ms) / durationMs)} %)`);
  const lines: ReportLine[] = [
    ...cause.lines,
    ['fix', cause.fix],
    ['request', [requestOf(record), textOfOwnFields(own)].filter(Boolean).join(', ')],
    ...(owner === undefined ? [] : [['owner', owner] as const]),
    ...breaches.map(({ dimension, used, limit, from }): ReportLine => [
      'budget',
      `${dimension} ${number(used)}/${number(limit)}, from ${from}`,
    ]),
    ['time', [`${number(durationMs)} ms`, ...parts].join(', ')],
  ];
  if (queries.count > 0) lines.push(['queries', queriesOf(record)]);
  for (const dimension of CALLS) lines.push(...callsOf(dimension, record[dimension]));
  lines.push(...remoteOf(record));
  lines.push(...shapes.slice(0, TOP).map((shape, i): ReportLine => [`top ${i + 1}`, shapeOf(shape)]));
  for (const finding of findingsOf(record)) {
    const [[count, what], ...rest] = linesOfFinding(finding) as [ReportLine, ...ReportLine[]];
    const label = finding.kind === 'n-plus-one' ? 'n+1' : finding.kind;
    lines.push([label, [`${count} ${what}`, ...rest.map(([, line]) => line)].join(', ')]);
  }
  for (const traced of record.providerCalls?.slice(0, TOP) ?? []) lines.push(['calls', tracedOf(traced)]);
  if (breachSite !== undefined) lines.push(['exceeded', `at ${breachSite}`]);
  lines.push(...(record.stalls ?? []).slice(0, TOP).map(lineOfStall));
  for (const { driver, waitedMs, size, held, holders } of waits.slice(0, TOP)) {
    lines.push(['pool', `${number(waitedMs)} ms, ${held} of ${size} ${driver} connections in use`]);
    lines.push(...holders.map(lineOfHolder));
  }
  if (blockedMs !== undefined) lines.push(['blocked', `the event loop for ${number(blockedMs)} ms`]);
  if (fingerprint !== undefined) lines.push(['group', fingerprint]);
  if (suppressed > 0) lines.push(['more', similar(suppressed)]);
  return lines;
}

/** Suspected findings appear only in the record. */
function findingsOf({ findings = [] }: CostRecord): NonNullable<CostRecord['findings']> {
  return findings.filter(({ confidence }) => confidence !== 'suspected').slice(0, TOP);
}

/** The same as flat fields, in addition to those of each report. */
export function fieldsOfDetails(record: CostRecord): FieldsOfReport {
  const { queries, durationMs } = record;
  const fields: FieldsOfReport = {
    shapes: queries.shapes.length + (queries.shapesDropped > 0 ? 1 : 0),
    writes: queries.writes,
    transactions: queries.transactions,
    errors: queries.errors,
    databaseShare: durationMs > 0 ? Math.min(100, Math.round((100 * queries.busyMs) / durationMs)) / 100 : 0,
    maxConcurrent: queries.maxConcurrent,
    waitMs: queries.waitMs,
  };
  for (const [i, top] of queries.shapes.slice(0, TOP).entries()) addTo(fields, `top${i + 1}`, top);
  for (const [i, { parents, ...finding }] of findingsOf(record).entries()) {
    addTo(fields, `finding${i + 1}`, finding);
    addTo(fields, `finding${i + 1}.parent`, parents[0]);
  }
  for (const [i, traced] of record.providerCalls?.slice(0, TOP).entries() ?? [])
    addTo(fields, `calls${i + 1}`, traced);
  return fields;
}

function addTo(
  fields: { [name: `${FieldGroup}.${string}`]: unknown },
  prefix: FieldGroup | `${FieldGroup}.parent`,
  facts: object | undefined,
): void {
  for (const [name, value] of Object.entries(facts ?? {})) fields[`${prefix}.${name}`] = value;
}
