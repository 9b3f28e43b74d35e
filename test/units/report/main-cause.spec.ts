import { describe, expect, it } from 'vitest';
import type { RepeatFinding } from 'nestjs-async-context';
import { causeOfFinding, causeOfRepeats } from '../../../lib/reporting/finding-cause';

const finding = (count: number, facts: Partial<RepeatFinding> = {}): RepeatFinding => ({
  kind: 'n-plus-one',
  confidence: 'proven',
  shape: 'SELECT * FROM items WHERE order_id = ?',
  table: 'items',
  count,
  duplicates: 0,
  parents: [],
  remedy: `Fetch items once for all ${count}.`,
  ...facts,
});

describe('the main cause of a unit of work', () => {
  it('is an N+1 that makes half of its queries and no less', () => {
    expect(causeOfRepeats([finding(30)], 60)).toMatchObject({
      text: 'an N+1 on items',
      fix: 'Fetch items once for all 30.',
    });
    expect(causeOfRepeats([finding(30)], 61)).toBeUndefined();
  });

  it('is several of them together, with the remedy of the largest', () => {
    const findings = [
      finding(200),
      finding(374, { table: 'stock' }),
      finding(9, { confidence: 'suspected' }),
    ];
    expect(causeOfRepeats(findings, 636)).toMatchObject({
      text: '2 N+1s, most on stock',
      fix: 'Fetch items once for all 374.',
    });
  });

  it('is nothing that is only suspected, and no other repeat', () => {
    expect(causeOfRepeats([finding(60, { confidence: 'suspected' })], 61)).toBeUndefined();
    expect(
      causeOfRepeats([{ ...finding(60), kind: 'duplicate', confidence: undefined } as never], 61),
    ).toBeUndefined();
  });

  it('speaks of writes where these were sent at once', () => {
    const fanOut = finding(70, { kind: 'fan-out', shape: 'UPDATE items SET n = ? WHERE id = ?' });
    expect(causeOfFinding(fanOut).text).toBe('70 parallel writes on items');
    expect(causeOfFinding({ ...fanOut, shape: 'SELECT n FROM items' }).text).toBe(
      '70 parallel queries on items',
    );
  });
});
