import { describe, expect, it } from 'vitest';
import { CostLedger } from '../../lib/cost/cost-ledger';
import { hashParameters } from '../../lib/sql/parameter-hash';
import { describeStatement } from '../../lib/sql/describe-statement';
import { connectStub, STATEMENT } from '../../bench/stub-pg.mjs';
import { pgInstrumentation } from '../../lib/drivers/pg/pg.driver';
import { startApp } from '../support/platforms';
import { recordOfUnit } from '../support/units';

const QUERIES = 100_000;
const here = (): void => undefined;

describe('a request of 100,000 queries', () => {
  it('is counted exactly, in a record of at most 64 KB', async () => {
    const test = await startApp({ instrumentations: [pgInstrumentation()] });
    const client = await connectStub();
    const record = await recordOfUnit(test, async () => {
      for (let i = 0; i < QUERIES; i++) await client.query(STATEMENT, [i]);
    });
    expect(record.queries).toMatchObject({ count: QUERIES, rows: 3 * QUERIES, errors: 0, shapesDropped: 0 });
    expect(record.queries.shapes).toHaveLength(1);
    expect(Buffer.byteLength(JSON.stringify(record))).toBeLessThan(2_048);
    await client.end();
    await test.close();
  }, 900_000);

  it('of as many shapes keeps 100 of them, and exact totals', async () => {
    const test = await startApp({ instrumentations: [pgInstrumentation()] });
    const client = await connectStub();
    const record = await recordOfUnit(test, async () => {
      for (let i = 0; i < QUERIES; i++) {
        await client.query(
          `SELECT column_${i}, ${'a_long_name, '.repeat(60)} 1 FROM table_${i} WHERE id = $1`,
          [i],
        );
      }
    });
    expect(record.queries).toMatchObject({ count: QUERIES, rows: 3 * QUERIES, errors: 0 });
    expect(record.queries.shapes.length).toBeLessThanOrEqual(100);
    const kept = record.queries.shapes.reduce((sum, { count }) => sum + count, 0);
    expect(kept + record.queries.shapesDropped).toBe(QUERIES);
    expect(Buffer.byteLength(JSON.stringify(record))).toBeLessThanOrEqual(65_536);
    await client.end();
    await test.close();
  }, 900_000);

  it('holds no more for the last than for the first thousand', () => {
    const list = describeStatement('SELECT * FROM orders', 'postgresql');
    const child = describeStatement('SELECT * FROM items WHERE order_id = $1', 'postgresql');
    const ledger = new CostLedger();
    const held = (): number[] => {
      const shape = ledger.shapes!.get(child.shape)!;
      return [shape.times!.length, shape.seen!.size, ledger.repeatTrace!.results.length, ledger.shapes!.size];
    };
    let early: number[] = [];
    for (let i = 0; i < QUERIES / 10; i++) {
      ledger.begin(list, here, hashParameters([i]))?.end(9);
      for (let j = 0; j < 9; j++) ledger.begin(child, here, hashParameters([10 * i + j]))?.end(4);
      if (i === 100) early = held();
    }
    expect(held()).toEqual(early);
    expect(ledger).toMatchObject({ queries: QUERIES, rows: (QUERIES / 10) * (9 + 9 * 4) });
  });
});
