import type { CostRecord } from '../../cost/cost-record';
import { jsonOf } from '../../record/bound-record';

type Value = string | number | boolean | undefined;
type Column = readonly [name: string, type: string, of: (record: CostRecord) => Value];

/** What a question is asked about has a column; the whole record is in `record`. */
const COLUMNS: readonly Column[] = [
  ['started_at', 'timestamptz NOT NULL', record => record.startedAt],
  ['request_id', 'text NOT NULL', record => record.requestId],
  ['trace_id', 'text', record => record.traceId],
  ['parent_request_id', 'text', record => record.parentRequestId],
  ['kind', 'text NOT NULL', record => record.kind],
  ['within', 'text', record => record.within],
  ['handler', 'text', record => record.handler],
  ['route', 'text', record => record.route],
  ['method', 'text', record => record.method],
  ['status', 'integer', record => record.status],
  ['aborted', 'boolean NOT NULL', record => record.aborted],
  ['error', 'text', record => record.error],
  ['user_id', 'text', record => record.userId],
  ['owner', 'text', record => record.owner],
  ['duration_ms', 'double precision', record => record.durationMs],
  ['own_ms', 'double precision', record => record.time.ownMs],
  ['queries', 'bigint', record => record.queries.count],
  ['query_errors', 'bigint', record => record.queries.errors],
  ['writes', 'bigint', record => record.queries.writes],
  ['rows', 'bigint', record => record.queries.rows],
  ['query_ms', 'double precision', record => record.queries.durationMs],
  ['wait_ms', 'double precision', record => record.queries.waitMs],
  ['cache', 'bigint NOT NULL', record => record.cache?.count ?? 0],
  ['http', 'bigint NOT NULL', record => record.http?.count ?? 0],
  ['messages', 'bigint NOT NULL', record => record.messages?.count ?? 0],
  ['slow_because', 'text', record => record.slow?.because],
  ['blocked_ms', 'double precision', record => record.blockedMs],
  ['unhandled_errors', 'bigint NOT NULL', record => record.unhandledErrors ?? 0],
  ['breaches', 'bigint NOT NULL', record => record.breaches.length],
  ['weight', 'double precision NOT NULL', record => record.weight ?? 1],
];

/** For `CREATE TABLE`: the columns of a record, and the batch that it came in. */
export const COLUMN_DEFINITIONS: readonly string[] = [
  ...COLUMNS.map(([name, type]) => `${name} ${type}`),
  'batch bigint NOT NULL',
  'record jsonb NOT NULL',
];

/** For `COPY`, in the order of `copyRows()`. */
export const COLUMN_NAMES: readonly string[] = [...COLUMNS.map(([name]) => name), 'batch', 'record'];

// A text of PostgreSQL holds no NUL, and UTF-8 no half of a pair.
const UNSTORABLE = /\0|\p{Cs}/gu;
/** What `JSON.stringify` makes of these, and of some that are fine. */
const MAYBE_UNSTORABLE = /\\u(?:0000|d[89a-f])/;
const ESCAPES: Readonly<Record<string, string>> = { '\\': '\\\\', '\n': '\\n', '\r': '\\r', '\t': '\\t' };

/** The records in the text format of `COPY`: https://www.postgresql.org/docs/current/sql-copy.html#id-1.9.3.55.9.2 */
export function copyRows(records: readonly CostRecord[], batch: number): Buffer {
  let text = '';
  for (const record of records) {
    for (const [, , of] of COLUMNS) text += `${fieldOf(of(record))}\t`;
    // JSON holds no control character, so only its backslashes have to be escaped.
    text += `${batch}\t${storableJson(record).replaceAll('\\', '\\\\')}\n`;
  }
  return Buffer.from(text);
}

function fieldOf(value: Value): string {
  if (typeof value === 'string') return escapeText(value);
  if (typeof value === 'number') return Number.isFinite(value) ? String(value) : '\\N';
  return value === undefined ? '\\N' : value ? 't' : 'f';
}

function escapeText(text: string): string {
  return text.replace(UNSTORABLE, '\uFFFD').replace(/[\\\n\r\t]/g, c => ESCAPES[c] as string);
}

function storableJson(record: CostRecord): string {
  const json = jsonOf(record);
  return MAYBE_UNSTORABLE.test(json) ? jsonOf(storable(record) as object) : json;
}

/** The same with U+FFFD in place of what cannot be stored, in texts and names. */
function storable(value: unknown): unknown {
  if (typeof value === 'string') return value.replace(UNSTORABLE, '\uFFFD');
  if (Array.isArray(value)) return value.map(storable);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([name, inner]) => [storable(name) as string, storable(inner)]),
  );
}
