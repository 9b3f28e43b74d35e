import { describe, expect, it } from 'vitest';
import { StatementCache } from '../../lib/sql/statement-cache';
import { scanStatement } from '../../lib/sql/statement-scanner';
import { foldedTable } from '../../lib/sql/table-series';

describe('tables of a month', () => {
  it.each([
    ['events_2026_01', 'events_yyyy_mm'],
    ['events_202612', 'events_yyyy_mm'],
    ['events_p2026_01', 'events_yyyy_mm'],
    ['measurement_y2006m02', 'measurement_yyyy_mm'],
    ['events-2026-01', 'events_yyyy_mm'],
    ['events_2026_01_31', 'events_yyyy_mm_dd'],
    ['events_p20260131', 'events_yyyy_mm_dd'],
    ['events_2026w05', 'events_yyyy_ww'],
    ['events_2026_q1', 'events_yyyy_q'],
    [`${'e'.repeat(56)}_2026_01`, `${'e'.repeat(56)}_yyyy_mm`],
  ])('fold %s into %s', (name, folded) => expect(foldedTable(name)).toBe(folded));

  it.each([
    'events',
    'events_1',
    'events_2026',
    'events_1926_01',
    'events_2026_00',
    'events_2026_13',
    'events_2026_01_32',
    'address2',
    '2026_01',
    `${'e'.repeat(57)}_2026_01`,
  ])('leave %s as it is', name => expect(foldedTable(name)).toBeUndefined());

  it.each([
    [
      'SELECT "events_2026_01"."id" FROM "public"."events_2026_01" "events_2026_01" WHERE "events_2026_01"."id" = $1',
      'SELECT "events_yyyy_mm"."id" FROM "public"."events_yyyy_mm" "events_yyyy_mm" WHERE "events_yyyy_mm"."id" = ?',
      'events_yyyy_mm',
    ],
    [
      'INSERT INTO archive.events_p20260131 SELECT total_2026_01, sum(a) AS b_2026_01 FROM t1',
      'INSERT INTO archive.events_yyyy_mm_dd SELECT total_2026_01, sum(a) AS b_2026_01 FROM t1',
      'archive.events_yyyy_mm_dd',
    ],
  ])('fold where they are tables, and no column: %s', (text, shape, table) => {
    expect(scanStatement(text, 'postgresql')).toMatchObject({ shape, table });
    expect(scanStatement(shape, 'postgresql')).toMatchObject({ shape, table, variant: undefined });
  });

  it('are one shape, of which each text is remembered and none asks for the same', () => {
    const cache = new StatementCache('postgresql');
    const month = (at: string) => cache.describe(`SELECT * FROM events_2026_${at} WHERE id = $1`);
    const [january, february] = [month('01'), month('02')];
    expect([january.shape, february.shape]).toEqual(
      Array(2).fill('SELECT * FROM events_yyyy_mm WHERE id = ?'),
    );
    expect(january.variant).not.toBe(february.variant);
    expect([month('01'), month('02'), cache.foundLiteral]).toEqual([january, february, false]);
    expect([month('01') === january, month('02') === february, cache.size]).toEqual([true, true, 2]);
  });
});
