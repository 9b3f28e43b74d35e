import type { CostRecord, ShapeCostRecord } from '../cost/cost-record';

/** The most that a record may take as JSON, in bytes. */
export const MAX_RECORD_BYTES = 64 * 1024;
/** Names and figures of one shape or one table beside its text, as JSON. */
const ENTRY_BYTES = 250;
/** Everything else of a record: ids are bounded, handler, route and error are names in the code. */
const BASE_BYTES = 8_192;
/** A character takes at most six bytes as JSON: a control character that is escaped. */
const BYTES_PER_CHARACTER = 6;

/** The record itself when it is small enough, else one with fewer shapes, and in need fewer tables. */
export function boundRecord(record: CostRecord): CostRecord {
  // The usual record has a few shapes: an estimate that cannot be too low saves writing it twice.
  if (estimateBytes(record) <= MAX_RECORD_BYTES || bytesOf(record) <= MAX_RECORD_BYTES) return record;
  const { queries } = record;
  let shapes: readonly ShapeCostRecord[] = queries.shapes;
  let { byTable } = queries;
  let bounded = record;
  while (bytesOf(bounded) > MAX_RECORD_BYTES) {
    if (shapes.length > 0) shapes = shapes.slice(0, Math.floor(shapes.length * 0.8));
    else if (Object.keys(byTable).length > 0) byTable = fewerTables(byTable);
    else break;
    const kept = shapes.reduce((sum, { count }) => sum + count, 0);
    const shapesDropped =
      queries.shapesDropped + queries.shapes.reduce((sum, { count }) => sum + count, 0) - kept;
    bounded = Object.freeze({
      ...record,
      queries: Object.freeze({ ...queries, byTable, shapes: Object.freeze(shapes), shapesDropped }),
    });
  }
  return bounded;
}

function estimateBytes({ queries, breaches }: CostRecord): number {
  let bytes = BASE_BYTES;
  for (const { shape, table = '', callSite = '' } of queries.shapes) {
    bytes += ENTRY_BYTES + BYTES_PER_CHARACTER * (shape.length + table.length + callSite.length);
  }
  for (const table of Object.keys(queries.byTable)) bytes += ENTRY_BYTES + BYTES_PER_CHARACTER * table.length;
  for (const { dimension, from } of breaches) {
    bytes += ENTRY_BYTES + BYTES_PER_CHARACTER * (dimension.length + from.length);
  }
  return bytes;
}

function bytesOf(record: CostRecord): number {
  return Buffer.byteLength(JSON.stringify(record));
}

function fewerTables(byTable: CostRecord['queries']['byTable']): CostRecord['queries']['byTable'] {
  const entries = Object.entries(byTable).sort(([, a], [, b]) => b.count - a.count);
  return Object.freeze(Object.fromEntries(entries.slice(0, Math.floor(entries.length / 2))));
}
