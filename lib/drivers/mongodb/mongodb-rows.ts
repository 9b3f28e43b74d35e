import { MAX_ROWS_OF_RESULT } from '../../cost/evidence/kept-results';
import { isWide } from '../../cost/evidence/wide-rows';
import { withoutValues } from '../../sql/value-like';
import type { ReadsRows, UnreadRow } from '../../cost/unread-rows';
import type { OwnQueryHandle } from '../../cost/query-handle';
import { BsonKeys, DOCUMENT, LIST } from './bson-keys';
import type { Command } from './mongodb-operation';
import { comparable } from './mongodb-values';

/** An answer of the server: the driver's own reader of its bytes, or what older versions have made of them. */
interface Answer {
  readonly bson?: unknown;
  readonly cursor?: { readonly firstBatch?: unknown; readonly nextBatch?: unknown };
  readonly values?: unknown;
  readonly value?: unknown;
}

/** Commands that return documents, or values of one field. */
const RETURNING: ReadonlySet<string> = new Set('find getMore aggregate findAndModify distinct'.split(' '));
/** Of each document; larger ones are read at once, so that no more of them is kept than what may be a key. */
const MAX_BYTES = 1_024;
/** What an answer has beside its documents. */
const MAX_FRAME = 1_024;
const MAX_COLUMNS = 100;

/** Shows the documents of an answer before the driver reads them. */
export function showDocuments(
  handle: OwnQueryHandle,
  name: string,
  command: Command,
  answer: unknown,
  count: number,
): void {
  if (count === 0 || !RETURNING.has(name) || typeof answer !== 'object' || answer === null) return;
  const field = name === 'distinct' && typeof command['key'] === 'string' ? command['key'] : undefined;
  const { bson } = answer as Answer;
  if (bson instanceof Uint8Array) {
    const mayWait = bson.length <= MAX_FRAME + MAX_BYTES * Math.min(count, MAX_ROWS_OF_RESULT);
    const keep = (): ReadsRows => {
      const kept = mayWait ? withoutOthers(bson) : bson;
      return rows => readBytes(rows, kept, field);
    };
    handle.returnedUnread(count, keep, mayWait);
  } else {
    const documents = documentsOf(answer);
    handle.returnedUnread(count, () => rows => readDocuments(rows, documents, field), !isWide(documents[0]));
  }
}

/** A small answer is a piece of 64 KB that many share, and that would all be kept with it. */
function withoutOthers(bytes: Uint8Array): Uint8Array {
  return 2 * bytes.length < bytes.buffer.byteLength ? new Uint8Array(bytes) : bytes;
}

function readBytes(rows: readonly UnreadRow[], bson: Uint8Array, field: string | undefined): Set<string> {
  const keys = new BsonKeys(bson);
  const columns = new Set<string>();
  const cursor = keys.find(0, DOCUMENT, 'cursor');
  const batch =
    cursor === undefined
      ? keys.find(0, LIST, 'values')
      : (keys.find(cursor, LIST, 'firstBatch') ?? keys.find(cursor, LIST, 'nextBatch'));
  if (batch === undefined) {
    const value = keys.find(0, DOCUMENT, 'value');
    if (value !== undefined && rows[0] !== undefined) fill(rows[0], keys, value, columns);
    return columns;
  }
  let next = 0;
  // A document has names, and a list has 0, 1, 2: to go through one before the other keeps what is known of names.
  const starts: number[] = [];
  keys.visit(batch, (type, _, at) => {
    const row = rows[next++];
    if (row === undefined) return false;
    if (field !== undefined) set(row, field, keys.value(type, at), columns);
    else starts.push(at);
    return true;
  });
  const documents = new BsonKeys(bson);
  for (const [i, at] of starts.entries()) fill(rows[i] as UnreadRow, documents, at, columns);
  return columns;
}

function fill(row: UnreadRow, keys: BsonKeys, document: number, columns: Set<string>): void {
  keys.visit(document, (type, name, at) => {
    set(row, name, keys.value(type, at), columns);
    return true;
  });
}

function documentsOf({ cursor, values, value }: Answer): readonly unknown[] {
  const batch = cursor?.firstBatch ?? cursor?.nextBatch ?? values;
  return Array.isArray(batch) ? batch : [value];
}

function readDocuments(
  rows: readonly UnreadRow[],
  documents: readonly unknown[],
  field: string | undefined,
): Set<string> {
  const columns = new Set<string>();
  for (const [i, row] of rows.entries()) {
    const document = documents[i];
    if (field !== undefined) set(row, field, comparable(document), columns);
    else if (document instanceof Uint8Array) fill(row, new BsonKeys(document), 0, columns);
    else {
      const cells = comparable(document);
      if (typeof cells !== 'object' || cells === null) continue;
      for (const name of Object.keys(cells)) {
        set(row, name, (cells as Record<string, unknown>)[name], columns);
      }
    }
  }
  return columns;
}

/** A field that is named after data is none that may be told. */
function set(row: UnreadRow, name: string, value: unknown, columns: Set<string>): void {
  if (name === '__proto__' || value === undefined || value === null || typeof value === 'boolean') return;
  if (!columns.has(name)) {
    if (columns.size >= MAX_COLUMNS || withoutValues(name) !== name) return;
    columns.add(name);
  }
  row[name] = value;
}
