import type { CostRecord } from '../../cost/cost-record';

/**
 * The records in their order, in as few parts as the limits allow; one that is too large by itself
 * is a part of its own.
 *
 * @param maxRecords the most records of a part
 * @param maxBytes the most bytes of a part, as a list in JSON
 */
export function splitRecords(
  records: readonly CostRecord[],
  maxRecords: number,
  maxBytes: number,
): readonly (readonly CostRecord[])[] {
  if (maxRecords === 1) return records.map(record => [record]);
  const parts: CostRecord[][] = [];
  let part: CostRecord[] = [];
  let bytes = 2;
  for (const record of records) {
    // 2 µs for 1 KB: Nest's clients write the same JSON again, and take nothing that is written already.
    const more = Buffer.byteLength(JSON.stringify(record)) + 1;
    if (part.length > 0 && (part.length >= maxRecords || bytes + more > maxBytes)) {
      parts.push(part);
      part = [];
      bytes = 2;
    }
    part.push(record);
    bytes += more;
  }
  if (part.length > 0) parts.push(part);
  return parts;
}
