import { describe, expect, it } from 'vitest';
import { number } from '../../lib/reporting/report-text';

const ORACLE = new Intl.NumberFormat('en-US', { maximumFractionDigits: 1 });

describe('the numbers of a report', () => {
  it.each([0, 0.04, 0.06, 0.95, 1, 9.96, 999, 999.96, 1_000, 1_234.56, 12_345.6, 1_000_000, 987_654_321.04])(
    'are written as en-US writes them: %d',
    value => expect(number(value)).toBe(ORACLE.format(value)),
  );

  it('are written as en-US writes them: a thousand of any size', () => {
    for (let i = 0; i < 1_000; i++) {
      const value = Math.round(Math.random() * 10 ** (i % 12)) / 100;
      // Halves of a tenth are no numbers of the machine: either neighbour is right.
      if (Math.round(value * 100) % 10 !== 5) expect(number(value)).toBe(ORACLE.format(value));
    }
  });
});
