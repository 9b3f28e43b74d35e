import type { CostRecord } from '../cost/cost-record';

/** The most that a record may take as JSON, in bytes. */
export const MAX_RECORD_BYTES = 64 * 1024;
/** What its findings may take of a record that is too large: each has the whole text of two or three shapes. */
const FINDINGS_BYTES = MAX_RECORD_BYTES / 2;
/** Names and figures of one shape, table or breach beside its text, as JSON. */
const ENTRY_BYTES = 250;
/** Names and figures of the record itself beside its texts. */
const BASE_BYTES = 1_536;
/** A character takes at most six bytes as JSON: a control character that is escaped. */
const BYTES_PER_CHARACTER = 6;
/** `shapesDropped` may get 15 digits longer, and an emptied list has one comma less than entries. */
const SLACK_BYTES = 32;

/**
 * A record, or a part of one, as JSON that is one line to every reader: U+0085, U+2028 and U+2029 end a
 * line for some (`str.splitlines()` of Python), U+009B begins an escape sequence for a terminal, and
 * `JSON.stringify` leaves them as they are.
 *
 * @example
 * await file.write(`${jsonOf(record)}\n`);
 */
export function jsonOf(value: object | string): string {
  return JSON.stringify(value).replace(
    /[\u007f-\u009f\u2028\u2029]/g,
    c => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}

/**
 * The record itself when it is at most 64 KB, else one with 32 KB of findings, without its rarest shapes, which are
 * counted in `shapesDropped`, and in need without its rarest tables, then without its findings, targets and provider
 * calls.
 *
 * @throws RangeError when the rest is still too large; the queue counts the record as dropped
 * @example
 * const record = boundRecord(buildCostRecord(context));
 */
export function boundRecord(record: CostRecord): CostRecord {
  // The usual record has a few shapes: an estimate that cannot be too low (0.1 µs) saves writing it twice.
  if (estimateBytes(record) <= MAX_RECORD_BYTES) return record;
  if (bytesOf(record) <= MAX_RECORD_BYTES) return record;
  return withoutRarest(withFewerFindings(record));
}

function withoutRarest(record: CostRecord): CostRecord {
  const bytes = bytesOf(record);
  if (bytes <= MAX_RECORD_BYTES) return record;
  // Each entry is measured once. Writing the whole record anew for each guess took 1.6 ms instead of 0.5.
  const { queries } = record;
  let excess = bytes - MAX_RECORD_BYTES + SLACK_BYTES;
  let { shapesDropped } = queries;
  const shapes = withoutLast(queries.shapes, shape => {
    if (excess <= 0) return false;
    excess -= bytesOf(shape) + 1;
    shapesDropped += shape.count;
    return true;
  });
  const tables = Object.entries(queries.byTable).sort(([, a], [, b]) => b.count - a.count);
  const keptTables = withoutLast(tables, ([table, cost]) => {
    if (excess <= 0) return false;
    excess -= bytesOf(table) + bytesOf(cost) + 2;
    return true;
  });
  const lean = excess > 0 ? withoutDetails(record) : record;
  excess -= bytes - bytesOf({ ...lean, queries });
  if (excess > 0) throw new RangeError(`${bytes} bytes, and too large without its lists as well`);
  const byTable =
    keptTables.length === tables.length ? queries.byTable : Object.freeze(Object.fromEntries(keptTables));
  return Object.freeze({
    ...lean,
    queries: Object.freeze({ ...queries, byTable, shapes: Object.freeze(shapes), shapesDropped }),
  });
}

/** What is proven comes first, then the most frequent: the end of the list is worth the least. */
function withFewerFindings(record: CostRecord): CostRecord {
  const { findings, ...rest } = record;
  if (findings === undefined) return record;
  let left = FINDINGS_BYTES;
  const kept = findings.filter(finding => (left -= bytesOf(finding) + 1) >= 0);
  return Object.freeze({ ...rest, ...(kept.length > 0 && { findings: Object.freeze(kept) }) });
}

/** The totals of calls, without what they were made to; no findings, no provider calls, no late work. */
function withoutDetails({
  findings: _findings,
  late: _late,
  providerCalls: _providerCalls,
  cache,
  http,
  messages,
  remote,
  ...rest
}: CostRecord): CostRecord {
  const totals = Object.entries({ cache, http, messages, remote }).flatMap(([dimension, calls]) =>
    calls === undefined
      ? []
      : [[dimension, Object.freeze({ ...calls, byTarget: Object.freeze({}) })] as const],
  );
  return { ...rest, ...Object.fromEntries(totals) };
}

/** The list without those at its end that `takesOff` says yes to, up to the first no. */
function withoutLast<T>(list: readonly T[], takesOff: (item: T) => boolean): T[] {
  const last = list.findLastIndex(item => !takesOff(item));
  return list.slice(0, last + 1);
}

function estimateBytes(record: CostRecord): number {
  const { queries, breaches, findings = [], uncounted = [], providerCalls = [] } = record;
  const { handler = '', route = '', error = '', userId = '', owner = '' } = record;
  const {
    requestId,
    kind,
    startedAt,
    traceId = '',
    spanId = '',
    parentSpanId = '',
    parentRequestId = '',
    method = '',
  } = record;
  let characters = handler.length + route.length + error.length + userId.length + owner.length;
  characters += requestId.length + kind.length + startedAt.length;
  characters += traceId.length + spanId.length + parentSpanId.length + parentRequestId.length + method.length;
  let entries = queries.shapes.length + breaches.length;
  for (const { shape, table = '', callSite = '' } of queries.shapes) {
    characters += shape.length + table.length + callSite.length;
  }
  for (const table of Object.keys(queries.byTable)) {
    entries += 1;
    characters += table.length;
  }
  for (const { shape, table = '', callSite = '', remedy, parents } of findings) {
    entries += 1 + parents.length;
    characters += shape.length + table.length + callSite.length + remedy.length;
    for (const parent of parents) {
      characters += parent.shape.length + (parent.table ?? '').length + (parent.callSite ?? '').length;
    }
  }
  for (const { handler: by = '', requestId: id = '', at = '' } of record.stalls ?? []) {
    entries += 1;
    characters += by.length + id.length + at.length;
  }
  for (const culprit of record.slow?.culprits ?? []) characters += culprit.length;
  for (const { what } of record.late ?? []) {
    entries += 1;
    characters += what.length;
  }
  for (const { reason } of uncounted) {
    entries += 1;
    characters += reason.length;
  }
  entries += providerCalls.length;
  for (const { call } of providerCalls) characters += call.length;
  for (const calls of [record.cache, record.http, record.messages, record.remote]) {
    if (calls === undefined) continue;
    entries += 1;
    for (const target of Object.keys(calls.byTarget)) {
      entries += 1;
      characters += target.length;
    }
  }
  for (const { dimension, from } of breaches) characters += dimension.length + from.length;
  return BASE_BYTES + ENTRY_BYTES * entries + BYTES_PER_CHARACTER * characters;
}

function bytesOf(value: object | string): number {
  return Buffer.byteLength(jsonOf(value));
}
