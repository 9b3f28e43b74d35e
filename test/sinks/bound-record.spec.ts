import { describe, expect, it } from 'vitest';
import type { ShapeCostRecord } from 'nestjs-async-context';
import { boundRecord, MAX_RECORD_BYTES } from '../../lib/sinks/bound-record';
import { recordOf } from '../support/records';

const bytes = (value: unknown): number => Buffer.byteLength(JSON.stringify(value));

function shapes(count: number, length: number): ShapeCostRecord[] {
  return Array.from({ length: count }, (_, i) => ({
    shape: `${i} `.padEnd(length, 'x'),
    count: 2,
    durationMs: 1,
    rows: 1,
  }));
}

describe('boundRecord()', () => {
  it('leaves a record of 65,536 bytes as it is, and takes shapes off one of 65,537', () => {
    const small = recordOf('id', { count: 80, shapes: shapes(40, 1_000) });
    const filler =
      MAX_RECORD_BYTES - bytes(recordOf('id', { count: 80, shapes: shapes(40, 1_000) }, { error: '' }));
    const most = { ...small, error: 'u'.repeat(filler) };
    expect(bytes(most)).toBe(65_536);
    expect(boundRecord(most)).toBe(most);

    const more = boundRecord({ ...small, error: 'u'.repeat(filler + 1) });
    expect(bytes(more)).toBeLessThanOrEqual(MAX_RECORD_BYTES);
    expect(more.queries.shapes).toHaveLength(32);
    expect(more.queries.shapesDropped).toBe(16);
    expect(more.queries.count).toBe(80);
  });

  it('bounds 100 shapes and 100 tables of the greatest length, most frequent kept', () => {
    const byTable = Object.fromEntries(
      Array.from({ length: 100 }, (_, i) => [
        `${i}`.padEnd(2_000, 't'),
        { count: i, durationMs: 1, rows: 1 },
      ]),
    );
    const bounded = boundRecord(recordOf('id', { count: 200, shapes: shapes(100, 2_048), byTable }));
    expect(bytes(bounded)).toBeLessThanOrEqual(MAX_RECORD_BYTES);
    expect(Object.values(bounded.queries.byTable)[0]!.count).toBe(99);
    expect(Object.isFrozen(bounded)).toBe(true);
  });
});
