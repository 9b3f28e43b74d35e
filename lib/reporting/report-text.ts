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
import { cutShape } from '../sql/shown-shape';

/** Shapes, findings and targets that a report names. */
export const TOP = 3;
const SHAPE_WIDTH = 160;
/** Beside which there is more on the line. */
const CAUSE_WIDTH = 100;

/** What is asked for that is no query, in the order of a report. */
export const CALLS = ['cache', 'http', 'messages'] as const satisfies readonly CallDimension[];

/** A label, and what stands beside it. No text can begin a line of its own. */
export type ReportLine = readonly [label: string, text: string];

/** What is logged: a headline with lines below it in a text log, a headline with fields beside it in a JSON log. */
export class Report {
  /** One line; a logger may take it for a format. */
  readonly headline: string;
  readonly fields: Readonly<Record<string, unknown>>;
  readonly #text: () => string;

  /**
   * @param fields beside the headline; what is `undefined` is left out
   * @param text what a text log shows, where it is not headline and lines; a JSON log never asks
   */
  constructor(
    headline: string,
    lines: readonly ReportLine[],
    fields: Readonly<Record<string, unknown>>,
    text = () => blockOf(headline, lines),
  ) {
    // Winston leaves the fields of a line out whose message holds `%s`, as the name of a handler may.
    this.headline = oneLine(headline).replace(/%(?=[scdjifoO%])/g, '% ');
    this.fields = Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined));
    this.#text = text;
  }

  get text(): string {
    return this.#text();
  }
}

/** Labels are as wide as the widest of them. */
function blockOf(headline: string, lines: readonly ReportLine[]): string {
  const width = Math.max(...lines.map(([label]) => label.length));
  const block = lines.map(([label, line]) => `  ${label.padEnd(width)} ${oneLine(line)}`);
  return [oneLine(headline), ...block].join('\n');
}

/** A line that is read without docs, in this width: what it is about, and the request to look for. */
const HEADLINE_WIDTH = 160;
const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;
const MAX_ID = 40;

/** `OrdersController.list: 61 queries (budget 20)    req a8576eb9` */
export function headlineOf(sentence: string, requestId: string): string {
  const request = `    req ${shortId(requestId)}`;
  // What is cut has a mark behind it.
  return cutShape(sentence, HEADLINE_WIDTH - request.length - 1) + request;
}

/** Enough of a request id to look for. A random UUID differs in its beginning; one of time (version 7) in its end. */
export function shortId(requestId: string): string {
  if (!UUID.test(requestId)) return cutShape(requestId, MAX_ID);
  return requestId[14] === '4' ? requestId.slice(0, 8) : requestId.slice(-12);
}

/** What the line of a request says of those that were not logged. */
export function moreOf(suppressed: number): string {
  return suppressed === 0 ? '' : `; ${number(suppressed)} like it were not logged`;
}

/** Where the application made something, behind it. */
export function at(callSite: string | undefined): string {
  return callSite === undefined ? '' : `    ${callSite}`;
}

/** A shape that an explanation names; nothing where there is none. */
export function linesOfShape(shape: ShapeCostRecord | undefined, site = shape?.callSite): ReportLine[] {
  if (shape === undefined) return [];
  const { count, rows, durationMs } = shape;
  const cost = `${number(rows)} ${rows === 1 ? 'row' : 'rows'}, ${number(durationMs)} ms`;
  return [[`${number(count)} ×`, `${cut(shape.shape, CAUSE_WIDTH)}    ${cost}${at(site)}`]];
}

/** Which request a report is of. */
export function requestOf(record: CostRecord): string {
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

/** The same as fields; what is not known is `undefined`. */
export function fieldsOfRequest(record: CostRecord): Readonly<Record<string, unknown>> {
  const { handler, route, method, status, requestId, traceId, userId } = record;
  return { handler, route, method, status, requestId, traceId, userId };
}

/** What it asked of its databases. */
export function queriesOf({ queries }: CostRecord): string {
  const order = queries.maxConcurrent > 1 ? `up to ${queries.maxConcurrent} at once` : 'one after the other';
  const more = queries.shapesDropped > 0 ? ' and more' : '';
  return (
    `${number(queries.count)} of ${queries.shapes.length}${more} shapes, ${order}; ${number(queries.rows)} rows, ` +
    `${number(queries.writes)} writes, ${number(queries.transactions)} transaction statements, ${number(queries.errors)} errors`
  );
}

/** A shape and what it cost. */
export function shapeOf({ shape, table, count, rows, durationMs, callSite }: ShapeCostRecord): string {
  const facts = [`${number(rows)} rows`, `${number(durationMs)} ms`];
  if (table !== undefined) facts.unshift(table);
  if (callSite !== undefined) facts.push(callSite);
  return `${number(count)} × ${cut(shape)} (${facts.join(', ')})`;
}

/** What it asked of caches, services or brokers; nothing where there was none. */
export function callsOf(dimension: CallDimension, calls: CallsCostRecord | undefined): [string, string][] {
  if (calls === undefined) return [];
  const top = Object.entries(calls.byTarget)
    .sort(([, a], [, b]) => b.count - a.count)
    .slice(0, TOP)
    .map(([target, { count }]) => `${target} ${number(count)}`);
  const errors = calls.errors > 0 ? `, ${number(calls.errors)} errors` : '';
  return [[dimension, `${number(calls.count)} (${top.join(', ')}), ${number(calls.busyMs)} ms${errors}`]];
}

/** How often it asked caches, services or brokers; what it never did is `undefined`. */
export function fieldsOfCalls(record: CostRecord): Readonly<Record<string, number | undefined>> {
  const { cache, http, messages, remote } = record;
  return {
    cache: cache?.count,
    http: http?.count,
    messages: messages?.count,
    remoteQueries: remote?.queries,
    remoteRows: remote?.rows,
  };
}

/** The hosts whose queries are the most, first. */
export function mostRemote(remote: RemoteCostRecord | undefined): [host: string, cost: RemoteTargetRecord][] {
  return Object.entries(remote?.byTarget ?? {}).sort(([, a], [, b]) => b.queries - a.queries);
}

/** What the services that it asked made of it; nothing where none has said so. */
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

/** A call of a provider and what it cost. */
export function tracedOf({ call, count, totalMs, selfMs, errors }: TracedCallRecord): string {
  const failed = errors > 0 ? `, ${number(errors)} errors` : '';
  return `${call} ×${number(count)}, ${number(totalMs)} ms (self ${number(selfMs)} ms)${failed}`;
}

/** A shape, as far as a line has room for it. */
export function cut(shape: string, width = SHAPE_WIDTH): string {
  return cutShape(shape, width);
}

/** `12,345.6`. By hand: the first `Intl.NumberFormat` of a process takes 8 ms. */
export function number(value: number): string {
  const [whole = '', tenths] = String(Math.round(value * 10) / 10).split('.');
  const grouped = whole.replace(/\B(?=(\d{3})+$)/g, ',');
  return tenths === undefined ? grouped : `${grouped}.${tenths}`;
}
