import { describe, expect, it } from 'vitest';
import type { ShapeCostRecord } from 'nestjs-async-context';
import { boundRecord, jsonOf, MAX_RECORD_BYTES } from '../../lib/record/bound-record';
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
  it('leaves a record of 65,536 bytes as it is, and takes one shape off one of 65,537', () => {
    const small = recordOf('id', { count: 80, shapes: shapes(40, 1_000) });
    const filler =
      MAX_RECORD_BYTES - bytes(recordOf('id', { count: 80, shapes: shapes(40, 1_000) }, { error: '' }));
    const most = { ...small, error: 'u'.repeat(filler) };
    expect(bytes(most)).toBe(65_536);
    expect(boundRecord(most)).toBe(most);

    const more = boundRecord({ ...small, error: 'u'.repeat(filler + 1) });
    expect(bytes(more)).toBeLessThanOrEqual(MAX_RECORD_BYTES);
    expect(more.queries.shapes).toHaveLength(39);
    expect(more.queries.shapes[38]).toBe(small.queries.shapes[38]);
    expect(more.queries.shapesDropped).toBe(2);
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

  it('leaves findings, targets and the trace out last, and keeps their totals', () => {
    const byTarget = Object.fromEntries(
      Array.from({ length: 50 }, (_, i) => [
        `${i}`.padEnd(100, '\u0001'),
        { count: 1, errors: 0, durationMs: 1, bytes: 0 },
      ]),
    );
    const calls = {
      count: 50,
      errors: 0,
      durationMs: 1,
      bytes: 0,
      busyMs: 1,
      maxConcurrent: 1,
      late: 0,
      byTarget,
    };
    const hosts = Object.fromEntries(
      Object.keys(byTarget).map(host => [host, { calls: 1, queries: 1, rows: 1, durationMs: 1 }]),
    );
    const parent = { shape: '\u0001'.repeat(500), rows: 3 };
    const finding = {
      kind: 'n-plus-one' as const,
      shape: '\u0001'.repeat(500),
      count: 3,
      duplicates: 0,
      parents: [parent, parent],
      remedy: 'JOIN',
    };
    const traced = { call: '\u0001'.repeat(201), count: 1, totalMs: 1, selfMs: 1, errors: 0 };
    const record = recordOf(
      'id',
      { count: 200, shapes: shapes(100, 2_048) },
      {
        cache: calls,
        http: calls,
        messages: calls,
        remote: { calls: 50, queries: 50, rows: 1, durationMs: 1, byTarget: hosts },
        findings: Array.from({ length: 10 }, () => finding),
        providerCalls: Array.from({ length: 20 }, () => traced),
      },
    );
    const bounded = boundRecord(record);
    expect(bytes(bounded)).toBeLessThanOrEqual(MAX_RECORD_BYTES);
    expect(bounded).not.toHaveProperty('findings');
    expect(bounded).not.toHaveProperty('providerCalls');
    expect(bounded.http).toMatchObject({ count: 50, byTarget: {} });
    expect(bounded.remote).toMatchObject({ queries: 50, byTarget: {} });
    expect(
      boundRecord({
        ...record,
        http: undefined,
        messages: undefined,
        remote: undefined,
        findings: [finding],
        providerCalls: [],
      }).findings,
    ).toHaveLength(1);
  });

  it('leaves half of a record to its findings, the first ones, and the rest to its shapes', () => {
    const shape = 'x'.repeat(2_048);
    const finding = {
      kind: 'n-plus-one' as const,
      shape,
      duplicates: 0,
      parents: [{ shape, rows: 3 }],
      remedy: 'JOIN',
    };
    const findings = Array.from({ length: 20 }, (_, i) => ({ ...finding, count: 100 - i }));
    const bounded = boundRecord(recordOf('id', { count: 200, shapes: shapes(100, 2_048) }, { findings }));
    expect(bytes(bounded)).toBeLessThanOrEqual(MAX_RECORD_BYTES);
    expect(bounded.findings).toEqual(findings.slice(0, 7));
    expect(bounded.queries.shapes).toHaveLength(16);
  });

  it('keeps all tables as long as dropping shapes is enough', () => {
    const byTable = { orders: { count: 2, durationMs: 1, rows: 1 } };
    const record = recordOf('id', { count: 203, shapes: shapes(100, 2_048), shapesDropped: 3, byTable });
    const { queries } = boundRecord(record);
    expect(queries.byTable).toBe(byTable);
    expect(queries.shapes.reduce((sum, { count }) => sum + count, queries.shapesDropped)).toBe(203);
    expect(bytes(boundRecord(record))).toBeGreaterThan(MAX_RECORD_BYTES - 2_200);
  });

  it.each([
    ['control characters', '\u0001'],
    ['line separators', '\u2028'],
    ['lone surrogates', '\ud800'],
  ])('bounds texts of %s, which take six bytes each', (_name, character) => {
    const texts = shapes(10, 2).map(shape => ({ ...shape, shape: character.repeat(2_000) }));
    const bounded = boundRecord(recordOf('id', { shapes: texts }));
    expect(Buffer.byteLength(jsonOf(bounded))).toBeLessThanOrEqual(MAX_RECORD_BYTES);
    expect(bounded.queries.shapes).toHaveLength(5);
  });

  it.each([
    [
      'breaches',
      { breaches: [{ dimension: 'perTable.'.padEnd(MAX_RECORD_BYTES), used: 2, limit: 1, from: '' }] },
    ],
    ['an error', { error: 'E'.repeat(MAX_RECORD_BYTES) }],
  ])('throws when it is %s that take more than 64 KB', (_name, more) => {
    expect(() => boundRecord(recordOf('id', { shapes: shapes(3, 10) }, more))).toThrow(RangeError);
  });
});
