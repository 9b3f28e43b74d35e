import { createHash } from 'node:crypto';
import { inspect } from 'node:util';
import type { CallDimension } from '../cost/call-ledger';
import type { BreachRecord, CallsCostRecord, CostRecord, ShapeCostRecord } from '../cost/cost-record';
import type { RepeatFinding } from '../cost/repeat-finding';
import { nextStep } from './next-step';

const TOP_SHAPES = 3;
const TOP_FINDINGS = 3;
const SHAPE_WIDTH = 160;
/** A finding names two; most stand above it in full. */
const FINDING_WIDTH = 100;
const CALLS = ['cache', 'http', 'messages'] as const satisfies readonly CallDimension[];
const LABELS: Readonly<Record<RepeatFinding['kind'], string>> = {
  'n-plus-one': 'n+1',
  duplicate: 'duplicate',
  'fan-out': 'fan-out',
};

/**
 * A breach as it is logged: a block to read in a text log, flat fields in a JSON log.
 *
 * Nest's `ConsoleLogger` prints objects with `util.inspect`, or as JSON; pino takes the own
 * fields. So the block is what `inspect()` gives, and the facts are the own fields.
 */
export class BreachReport {
  [field: string]: unknown;

  constructor(record: CostRecord, fingerprint: string, breachSite: string | undefined, suppressed: number) {
    const text = describe(record, fingerprint, breachSite, suppressed);
    Object.defineProperty(this, inspect.custom, { value: () => text });
    Object.defineProperty(this, 'toString', { value: () => text });
    Object.assign(this, fieldsOf(record), {
      fingerprint,
      ...(breachSite !== undefined && { exceededAt: breachSite }),
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

function describe(
  record: CostRecord,
  fingerprint: string,
  breachSite: string | undefined,
  suppressed: number,
): string {
  const { queries } = record;
  const lines: [label: string, text: string][] = [
    ['request', requestOf(record)],
    ...record.breaches.map((breach): [string, string] => [
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
    ...queries.shapes
      .slice(0, TOP_SHAPES)
      .map((shape, i): [string, string] => [`top ${i + 1}`, shapeOf(shape)]),
  ];
  for (const finding of record.findings?.slice(0, TOP_FINDINGS) ?? []) {
    lines.push([LABELS[finding.kind], findingOf(finding)]);
  }
  if (breachSite !== undefined) lines.push(['exceeded', `at ${breachSite}`]);
  lines.push(['next', nextStep(record)], ['group', groupOf(fingerprint, suppressed)]);
  const block = lines.map(([label, text]) => `  ${label.padEnd(9)} ${oneLine(text)}`);
  return [oneLine(headline(record)), ...block].join('\n');
}

function headline(record: CostRecord): string {
  const what = record.breaches.map(
    ({ dimension, used, limit }) => `${number(used)}/${number(limit)} ${dimension}`,
  );
  return `${record.handler ?? record.route ?? record.kind} exceeded its query budget: ${what.join(', ')}`;
}

function requestOf(record: CostRecord): string {
  const parts = [
    record.route ?? record.kind,
    `status ${record.status ?? 'none'}`,
    `request id ${record.requestId}`,
  ];
  if (record.status === undefined && record.method === undefined) parts.splice(1, 1);
  if (record.traceId !== undefined) parts.push(`trace id ${record.traceId}`);
  if (record.userId !== undefined) parts.push(`user ${record.userId}`);
  if (record.aborted) parts.push('the client left');
  return parts.join(', ');
}

function queriesOf({ queries }: CostRecord): string {
  const order = queries.maxConcurrent > 1 ? `up to ${queries.maxConcurrent} at once` : 'one after the other';
  const more = queries.shapesDropped > 0 ? ' and more' : '';
  return (
    `${number(queries.count)} of ${queries.shapes.length}${more} shapes, ${order}; ${number(queries.rows)} rows, ` +
    `${number(queries.writes)} writes, ${number(queries.transactions)} transaction statements, ${number(queries.errors)} errors`
  );
}

function shapeOf({ shape, table, count, rows, durationMs, callSite }: ShapeCostRecord): string {
  const facts = [`${number(rows)} rows`, `${number(durationMs)} ms`];
  if (table !== undefined) facts.unshift(table);
  if (callSite !== undefined) facts.push(callSite);
  return `${number(count)} × ${cut(shape)} (${facts.join(', ')})`;
}

function findingOf({ kind, shape, count, duplicates, parents, callSite }: RepeatFinding): string {
  const what = `${number(count)} × ${cut(shape, FINDING_WIDTH)}`;
  if (kind === 'duplicate')
    return `${what}, ${number(duplicates)} of them with parameters seen before${at(callSite)}`;
  if (kind === 'fan-out') return `${what}, all at once${at(callSite)}`;
  const sources = parents.map(
    parent => `the ${number(parent.rows)} rows of ${cut(parent.shape, FINDING_WIDTH)}${at(parent.callSite)}`,
  );
  return `${what}${at(callSite)}, for ${sources.join(' and ')}`;
}

function at(callSite: string | undefined): string {
  return callSite === undefined ? '' : ` (${callSite})`;
}

function callsOf(dimension: CallDimension, calls: CallsCostRecord | undefined): [string, string][] {
  if (calls === undefined) return [];
  const top = Object.entries(calls.byTarget)
    .sort(([, a], [, b]) => b.count - a.count)
    .slice(0, TOP_SHAPES)
    .map(([target, { count }]) => `${target} ${number(count)}`);
  const errors = calls.errors > 0 ? `, ${number(calls.errors)} errors` : '';
  return [[dimension, `${number(calls.count)} (${top.join(', ')}), ${number(calls.busyMs)} ms${errors}`]];
}

function cut(shape: string, width = SHAPE_WIDTH): string {
  return shape.length > width ? `${shape.slice(0, width)}…` : shape;
}

function groupOf(fingerprint: string, suppressed: number): string {
  return suppressed === 0
    ? fingerprint
    : `${fingerprint}, ${number(suppressed)} more were not logged since the last one`;
}

function fieldsOf(record: CostRecord): Record<string, unknown> {
  const { queries } = record;
  const fields: Record<string, unknown> = {
    message: headline(record),
    handler: record.handler,
    route: record.route,
    method: record.method,
    status: record.status,
    requestId: record.requestId,
    traceId: record.traceId,
    userId: record.userId,
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
    cache: record.cache?.count,
    http: record.http?.count,
    messages: record.messages?.count,
    next: nextStep(record),
  };
  for (const { dimension, used, limit, from } of record.breaches) {
    fields[`${dimension}.used`] = used;
    fields[`${dimension}.limit`] = limit;
    fields[`${dimension}.from`] = from;
  }
  for (const [i, top] of queries.shapes.slice(0, TOP_SHAPES).entries()) {
    for (const [name, value] of Object.entries(top)) fields[`top${i + 1}.${name}`] = value;
  }
  for (const [i, { parents, ...finding }] of record.findings?.slice(0, TOP_FINDINGS).entries() ?? []) {
    for (const [name, value] of Object.entries(finding)) fields[`finding${i + 1}.${name}`] = value;
    for (const [name, value] of Object.entries(parents[0] ?? {}))
      fields[`finding${i + 1}.parent.${name}`] = value;
  }
  for (const [name, value] of Object.entries(fields)) if (value === undefined) delete fields[name];
  return fields;
}

function shareOf({ queries, durationMs }: CostRecord): number {
  return durationMs > 0 ? Math.min(100, Math.round((100 * queries.busyMs) / durationMs)) : 0;
}

function number(value: number): string {
  return value.toLocaleString('en-US', { maximumFractionDigits: 1 });
}

const CONTROL = /\p{Cc}|[\u2028\u2029]/gu;

/** A user id, a table or a route must not be able to forge a second log line. */
function oneLine(text: string): string {
  return text.replace(CONTROL, c => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`);
}
