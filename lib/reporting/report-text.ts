import { oneLine } from '../kernel/one-line';
import type { CallDimension } from '../cost/call-ledger';
import type { TracedCallRecord } from '../cost/call-trace';
import type {
  CallsCostRecord,
  CostRecord,
  RemoteCostRecord,
  RemoteTargetRecord,
  ShapeCostRecord,
} from '../cost/cost-record';
import type { FieldsOfReport } from '../context/our-fields';
import { cutShape } from '../sql/shown-shape';

/** Shapes, findings and targets that a report names. */
export const TOP = 3;
const SHAPE_WIDTH = 160;
/** For lines with further content behind the shape. */
const CAUSE_WIDTH = 100;

/** Calls other than queries, in the order of a report. */
export const CALLS = ['cache', 'http', 'messages'] as const satisfies readonly CallDimension[];

/** A label and its text. No text can begin a line of its own. */
export type ReportLine = readonly [label: string, text: string];

/** A log entry: in a text log a headline with lines below it, in a JSON log a headline with fields. */
export class Report {
  /** One line; a logger may take it for a format string. */
  readonly headline: string;
  readonly fields: Readonly<Record<string, unknown>>;
  readonly #text: () => string;

  /**
   * @param fields fields next to the headline; `undefined` values are omitted
   * @param text text of the entry if it is not headline and lines; never called for a JSON log
   */
  constructor(
    headline: string,
    lines: readonly ReportLine[],
    fields: FieldsOfReport,
    text = () => blockOf(headline, lines),
  ) {
    // Winston drops the fields of a line whose message contains `%s`, as the name of a handler may.
    this.headline = oneLine(headline).replace(/%(?=[scdjifoO%])/g, '% ');
    this.fields = Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined));
    this.#text = text;
  }

  get text(): string {
    return this.#text();
  }
}

/** Labels are padded to the width of the widest one. */
function blockOf(headline: string, lines: readonly ReportLine[]): string {
  const width = Math.max(...lines.map(([label]) => label.length));
  const block = lines.map(([label, line]) => `  ${label.padEnd(width)} ${oneLine(line)}`);
  return [oneLine(headline), ...block].join('\n');
}

/** Maximum width of a headline, including the request id to search for. */
const HEADLINE_WIDTH = 160;
const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;
const MAX_ID = 40;

/** `OrdersController.list: 61 queries (budget 20)    req a8576eb9` */
export function headlineOf(sentence: string, requestId: string): string {
  const request = `    req ${shortId(requestId)}`;
  // What is cut has a mark behind it.
  return cutShape(sentence, HEADLINE_WIDTH - request.length - 1) + request;
}

/** Enough of a request id to search for. A random UUID differs at its start; a time-based one (version 7) at its end. */
export function shortId(requestId: string): string {
  if (!UUID.test(requestId)) return cutShape(requestId, MAX_ID);
  return requestId[14] === '4' ? requestId.slice(0, 8) : requestId.slice(-12);
}

/** `3 similar reports suppressed` */
export function similar(suppressed: number): string {
  return `${number(suppressed)} similar ${suppressed === 1 ? 'report' : 'reports'} suppressed`;
}

/** The end of a report's request line; nothing if no report was suppressed. */
export function moreOf(suppressed: number): string {
  return suppressed === 0 ? '' : `; ${similar(suppressed)}`;
}

/** Where the application made something, behind it. */
export function at(callSite: string | undefined): string {
  return callSite === undefined ? '' : `    ${callSite}`;
}

/** A shape that serves as evidence; nothing without one. */
export function linesOfShape(shape: ShapeCostRecord | undefined, site = shape?.callSite): ReportLine[] {
  if (shape === undefined) return [];
  const { count, rows, durationMs } = shape;
  const cost = `${number(rows)} ${rows === 1 ? 'row' : 'rows'}, ${number(durationMs)} ms`;
  return [[`${number(count)} ×`, `${cut(shape.shape, CAUSE_WIDTH)}    ${cost}${at(site)}`]];
}

/** Identifies the request of a report. */
export function requestOf(record: CostRecord): string {
  const parts = [
    record.route ?? record.kind,
    `status ${record.status ?? 'none'}`,
    `request id ${record.requestId}`,
  ];
  if (record.status === undefined && record.method === undefined) parts.splice(1, 1);
  if (record.traceId !== undefined) parts.push(`trace id ${record.traceId}`);
  if (record.userId !== undefined) parts.push(`user ${record.userId}`);
  if (record.aborted) parts.push('client disconnected');
  return parts.join(', ');
}

/** The same as fields; unknown values are `undefined`. */
export function fieldsOfRequest(record: CostRecord): FieldsOfReport {
  const { handler, route, method, status, requestId, traceId, userId } = record;
  return { handler, route, method, status, requestId, traceId, userId };
}

/** Summary of its queries. */
export function queriesOf({ queries }: CostRecord): string {
  const order = queries.maxConcurrent > 1 ? `up to ${queries.maxConcurrent} at once` : 'one after another';
  const more = queries.shapesDropped > 0 ? '+' : '';
  return (
    `${number(queries.count)} in ${queries.shapes.length}${more} shapes, ${order}; ${number(queries.rows)} rows, ` +
    `${number(queries.writes)} writes, ${number(queries.transactions)} transaction statements, ${number(queries.errors)} errors`
  );
}

/** A shape and its cost. */
export function shapeOf({ shape, table, count, rows, durationMs, callSite }: ShapeCostRecord): string {
  const facts = [`${number(rows)} rows`, `${number(durationMs)} ms`];
  if (table !== undefined) facts.unshift(table);
  if (callSite !== undefined) facts.push(callSite);
  return `${number(count)} × ${cut(shape)} (${facts.join(', ')})`;
}

/** Calls to caches, services or brokers; nothing if there were none. */
export function callsOf(dimension: CallDimension, calls: CallsCostRecord | undefined): [string, string][] {
  if (calls === undefined) return [];
  const targets = Object.entries(calls.byTarget).sort(([, a], [, b]) => b.count - a.count);
  const top = targets.slice(0, TOP).map(([target, { count }]) => `${target} ${number(count)}`);
  const errors = calls.errors > 0 ? `, ${number(calls.errors)} errors` : '';
  const site = at(targets[0]?.[1].callSite);
  const facts = `${number(calls.busyMs)} ms${orderOf(calls)}${errors}${site}`;
  return [[dimension, `${number(calls.count)} (${top.join(', ')}), ${facts}`]];
}

function orderOf({ count, maxConcurrent }: CallsCostRecord): string {
  if (count < 2) return '';
  return maxConcurrent > 1 ? `, up to ${number(maxConcurrent)} at once` : ', one after another';
}

type CallField = 'cache' | 'httpCalls' | 'messages' | 'remoteQueries' | 'remoteRows';

/** Number of calls to caches, services or brokers; `undefined` if there were none. */
export function fieldsOfCalls(record: CostRecord): Readonly<Record<CallField, number | undefined>> {
  const { cache, http, messages, remote } = record;
  return {
    cache: cache?.count,
    // Not `http`: beside `http.route` Elasticsearch would take that for an object, and refuse the line.
    httpCalls: http?.count,
    messages: messages?.count,
    remoteQueries: remote?.queries,
    remoteRows: remote?.rows,
  };
}

/** The hosts, most queries first. */
export function mostRemote(remote: RemoteCostRecord | undefined): [host: string, cost: RemoteTargetRecord][] {
  return Object.entries(remote?.byTarget ?? {}).sort(([, a], [, b]) => b.queries - a.queries);
}

/** Cost that called services have reported; nothing if none has. */
export function remoteOf({ remote }: CostRecord): [string, string][] {
  if (remote === undefined) return [];
  const top = mostRemote(remote)
    .slice(0, TOP)
    .map(([host, { queries }]) => `${host} ${number(queries)}`);
  const facts = `${number(remote.rows)} rows, ${number(remote.durationMs)} ms`;
  return [
    [
      'remote',
      `${number(remote.queries)} queries in ${number(remote.calls)} ${remote.calls === 1 ? 'call' : 'calls'} (${top.join(', ')}), ${facts}`,
    ],
  ];
}

/** A provider call and its cost. */
export function tracedOf({ call, count, totalMs, selfMs, errors }: TracedCallRecord): string {
  const failed = errors > 0 ? `, ${number(errors)} errors` : '';
  return `${call} ×${number(count)}, ${number(totalMs)} ms (self ${number(selfMs)} ms)${failed}`;
}

/** A shape, truncated to the width of a line. */
export function cut(shape: string, width = SHAPE_WIDTH): string {
  return cutShape(shape, width);
}

/** `12,345.6`. By hand: the first `Intl.NumberFormat` of a process takes 8 ms. */
export function number(value: number): string {
  const [whole = '', tenths] = String(Math.round(value * 10) / 10).split('.');
  const grouped = whole.replace(/\B(?=(\d{3})+$)/g, ',');
  return tenths === undefined ? grouped : `${grouped}.${tenths}`;
}
