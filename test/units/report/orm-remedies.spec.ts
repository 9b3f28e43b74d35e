import { ContextService } from 'nestjs-async-context';
import { eq } from 'drizzle-orm';
import { drizzle } from 'drizzle-orm/node-postgres';
import { integer, pgTable, text } from 'drizzle-orm/pg-core';
import { Pool } from 'pg';
import { DataSource, EntitySchema } from 'typeorm';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { databaseUrl } from '../../support/database';
import { startApp, type TestApp } from '../../support/platforms';
import { recordOfUnit } from '../../support/units';

const ORDERS = 'remedy_orders';
const ITEMS = 'remedy_items';

interface Order {
  id: number;
}
interface Item {
  id: number;
  order_id: number;
}
const orderSchema = new EntitySchema<Order>({
  name: 'Order',
  tableName: ORDERS,
  columns: { id: { type: Number, primary: true } },
});
const itemSchema = new EntitySchema<Item>({
  name: 'Item',
  tableName: ITEMS,
  columns: { id: { type: Number, primary: true }, order_id: { type: Number } },
});
const orders = pgTable(ORDERS, { id: integer('id').primaryKey() });
const items = pgTable(ITEMS, {
  id: integer('id').primaryKey(),
  order_id: integer('order_id'),
  name: text('name'),
});

/** An N+1 as each would write it, and how it loads the rows along. */
const orms: Record<
  string,
  { open: () => Promise<{ loop: () => Promise<void>; close: () => Promise<unknown> }>; how: string }
> = {
  'a bare driver': {
    how: 'a JOIN, IN (…) or a DataLoader',
    open: async () => {
      const pool = new Pool({ connectionString: databaseUrl(), max: 1 });
      const loop = async (): Promise<void> => {
        const { rows } = await pool.query<Order>(`SELECT id FROM ${ORDERS} ORDER BY id`);
        for (const { id } of rows) await pool.query(`SELECT id FROM ${ITEMS} WHERE order_id = $1`, [id]);
      };
      return { loop, close: () => pool.end() };
    },
  },
  TypeORM: {
    how: 'relations: { … } or leftJoinAndSelect(), or IN (…)',
    open: async () => {
      const source = new DataSource({
        type: 'postgres',
        url: databaseUrl(),
        entities: [orderSchema, itemSchema],
        extra: { max: 1 },
      });
      await source.initialize();
      const loop = async (): Promise<void> => {
        const found = await source.getRepository(orderSchema).find({ order: { id: 'ASC' } });
        for (const { id } of found) await source.getRepository(itemSchema).findBy({ order_id: id });
      };
      return { loop, close: () => source.destroy() };
    },
  },
  Drizzle: {
    how: 'with: { … } or a join, or inArray()',
    open: async () => {
      const pool = new Pool({ connectionString: databaseUrl(), max: 1 });
      const db = drizzle(pool);
      const loop = async (): Promise<void> => {
        const found = await db.select().from(orders).orderBy(orders.id);
        for (const { id } of found) await db.select().from(items).where(eq(items.order_id, id));
      };
      return { loop, close: () => pool.end() };
    },
  },
};

describe('the remedy of an N+1', () => {
  let test: TestApp;
  let pool: Pool;

  beforeAll(async () => {
    pool = new Pool({ connectionString: databaseUrl(), max: 1 });
    await pool.query(`CREATE TABLE ${ORDERS} AS SELECT i * 37 AS id FROM generate_series(1, 12) i`);
    await pool.query(`CREATE TABLE ${ITEMS} AS SELECT id, id AS order_id, 'x' AS name FROM ${ORDERS}`);
    test = await startApp({});
  });
  afterAll(async () => {
    await test.close();
    await pool.query(`DROP TABLE IF EXISTS ${ORDERS}, ${ITEMS}`);
    await pool.end();
  });

  it.each(Object.entries(orms))('of %s is in its words', async (_name, { open, how }) => {
    expect(test.app.get(ContextService).isActive).toBe(false);
    const { loop, close } = await open();
    const { findings } = await recordOfUnit(test, loop);
    await close();
    expect(findings).toMatchObject([
      { kind: 'n-plus-one', confidence: 'proven', remedy: `load ${ITEMS} for all ${ORDERS} at once: ${how}` },
    ]);
  });
});
