import { Controller, Get } from '@nestjs/common';
import { Pool } from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { RepeatFinding } from 'nestjs-async-context';
import { mainCauseOf } from '../../lib/diagnosis/main-cause';
import { databaseUrl } from '../support/database';
import { platforms, startApp } from '../support/platforms';

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
    expect(mainCauseOf([finding(30)], 60)).toEqual({
      text: '30 of its 60 queries are an N+1 on items',
      remedy: 'Fetch items once for all 30.',
    });
    expect(mainCauseOf([finding(30)], 61)).toBeUndefined();
  });

  it('is several of them together, with the remedy of the largest', () => {
    const findings = [
      finding(200),
      finding(374, { table: 'stock' }),
      finding(9, { confidence: 'suspected' }),
    ];
    expect(mainCauseOf(findings, 636)).toEqual({
      text: '574 of its 636 queries are 2 N+1s, most on stock',
      remedy: 'Fetch items once for all 374.',
    });
  });

  it('is nothing that is only suspected, and no other repeat', () => {
    expect(mainCauseOf([finding(60, { confidence: 'suspected' })], 61)).toBeUndefined();
    expect(
      mainCauseOf([{ ...finding(60), kind: 'duplicate', confidence: undefined } as never], 61),
    ).toBeUndefined();
  });
});

const ORDERS = 'main_cause_orders';
const ITEMS = 'main_cause_items';
let pool: Pool;

@Controller()
class OrdersController {
  @Get('orders')
  async list(): Promise<number> {
    const { rows } = await pool.query<{ id: number }>(`SELECT id FROM ${ORDERS}`);
    const items = await Promise.all(
      rows.map(({ id }) => pool.query(`SELECT *, pg_sleep(0.02) FROM ${ITEMS} WHERE order_id = $1`, [id])),
    );
    return items.length;
  }
}

describe.each(platforms)('reports about one request on %s', platform => {
  beforeAll(async () => {
    pool = new Pool({ connectionString: databaseUrl(), max: 1 });
    await pool.query(`CREATE TABLE ${ORDERS} AS SELECT i * 37 AS id FROM generate_series(1, 30) i`);
    await pool.query(`CREATE TABLE ${ITEMS} AS SELECT id AS order_id, 'x' AS name FROM ${ORDERS}`);
  });
  afterAll(async () => {
    await pool.query(`DROP TABLE IF EXISTS ${ORDERS}, ${ITEMS}`);
    await pool.end();
  });

  it('have one cause and one remedy', async () => {
    const test = await startApp({
      platform,
      controllers: [OrdersController],
      budget: { queries: 20 },
      slowAfterMs: 100,
      poolWaitMs: 100,
    });
    expect(await (await fetch(`${test.url}/orders`)).text()).toBe('30');
    await test.records(1);
    await test.close();
    const lines = [
      ...test.logs.of('error', 'QueryBudget'),
      ...test.logs.of('warn', 'SlowRequest'),
      ...test.logs.of('warn', 'ConnectionPool'),
    ];
    expect(lines).toHaveLength(3);
    for (const line of lines) {
      expect(line).toMatch(
        new RegExp(`^  cause     \\d+ of its \\d+ queries are an N\\+1 on ${ITEMS}$`, 'm'),
      );
      expect(line).toContain(`next      Fetch ${ITEMS} once for all rows: a JOIN with ${ORDERS}`);
    }
  });
});
