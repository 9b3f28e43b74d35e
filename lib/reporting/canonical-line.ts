import type { OwnLogFields } from '../context/own-log-fields';
import type { OurField } from '../context/our-fields';
import type { ContextLogFields } from './log-fields';
import { oneWord } from '../kernel/one-line';
import type { CostRecord } from '../cost/cost-record';
import { fieldsOfCalls, number, Report } from './report-text';

/** Log level of a unit of work, by its outcome. */
export type CanonicalLevel = 'log' | 'warn' | 'error';

/** `error` for failures, `warn` for breaches, slow and aborted work; a 4xx is the client's fault. */
export function levelOf({ status, error, breaches, slow, aborted }: CostRecord): CanonicalLevel {
  if (status === undefined ? error !== undefined : status >= 500) return 'error';
  return breaches.length > 0 || slow !== undefined || aborted ? 'warn' : 'log';
}

/** One line of one unit of work: `name=value` in a text log, flat fields in a JSON log. */
export class CanonicalLine extends Report {
  constructor(record: CostRecord, ids: ContextLogFields, own?: OwnLogFields) {
    // Ours win: a reader of many lines relies on what they mean.
    const fields = { ...own, ...fieldsOf(record, ids) };
    super(headline(record), [], fields, () => textOf(fields));
  }
}

function headline({ handler, route, kind, status, durationMs }: CostRecord): string {
  const outcome = status === undefined ? '' : ` ${status}`;
  return `${handler ?? route ?? kind}${outcome} in ${number(durationMs)} ms`;
}

type Fields = Readonly<{ [name in OurField]?: string | number | boolean | undefined }>;

function fieldsOf(record: CostRecord, ids: ContextLogFields): Fields {
  const { kind, route, method, queries, breaches } = record;
  // The name of OpenTelemetry, which wants the pattern alone.
  const isHttp = kind === 'http' && method !== undefined;
  return {
    kind,
    'http.route': isHttp ? route?.slice(method.length + 1) : undefined,
    route: isHttp ? undefined : route,
    method,
    status: record.status,
    durationMs: record.durationMs,
    queries: queries.count,
    rows: queries.rows,
    databaseMs: queries.busyMs,
    ...fieldsOfCalls(record),
    handler: record.handler,
    owner: record.owner,
    requestId: record.requestId,
    parentRequestId: record.parentRequestId,
    traceId: ids.traceId,
    spanId: ids.spanId,
    userId: record.userId,
    // Not `error`: Nest's own lines have an object of that name, whose `type` is the class.
    'error.type': record.error,
    aborted: record.aborted,
    slow: record.slow?.because,
    breaches: breaches.length === 0 ? undefined : breaches.map(({ dimension }) => dimension).join(','),
  };
}

function textOf(fields: Fields): string {
  return Object.entries(fields)
    .filter(([, value]) => value !== undefined)
    .map(([name, value]) => `${name}=${oneWord(String(value))}`)
    .join(' ');
}
