import { PrismaPg } from '@prisma/adapter-pg';
import { drizzle, type NodePgDatabase } from 'drizzle-orm/node-postgres';
import { integer, pgSchema, text } from 'drizzle-orm/pg-core';
import { Client, Pool } from 'pg';
import { DataSource, EntitySchema } from 'typeorm';
import { databaseUrl } from '../../support/database';
import { generatePrisma } from '../../support/prisma';

export const SCHEMA = `repeat_handlers_${process.pid}`;

export type Row = Record<string, number>;

/** What the handlers of the set work with: 60 orders, each with 0 to 3 items, of 7 buyers and 5 sellers. */
export interface Shop {
  /** Rows of a statement, sent with `pg`. */
  q(text: string, values?: readonly unknown[]): Promise<Row[]>;
  /** Rows of statements in one transaction. */
  transaction<T>(work: (q: Shop['q']) => Promise<T>): Promise<T>;
  readonly pool: Pool;
  readonly typeorm: DataSource;
  readonly drizzle: NodePgDatabase;
  readonly prisma: PrismaShop;
  close(): Promise<void>;
}

interface Model {
  findMany(query?: unknown): Promise<(Row & { buyer?: Row; items?: Row[] })[]>;
  findUnique(query: unknown): Promise<Row | null>;
  findFirst(query: unknown): Promise<Row | null>;
  count(query?: unknown): Promise<number>;
}

export interface PrismaShop {
  readonly order: Model;
  readonly customer: Model;
  readonly item: Model;
  $disconnect(): Promise<void>;
}

const schema = pgSchema(SCHEMA);
export const customers = schema.table('customers', { id: integer('id').primaryKey(), name: text('name') });
export const orders = schema.table('orders', {
  id: integer('id').primaryKey(),
  buyerId: integer('buyer_id'),
  sellerId: integer('seller_id'),
});
export const items = schema.table('items', { id: integer('id').primaryKey(), orderId: integer('order_id') });

export interface OrderEntity {
  id: number;
  buyer: Promise<Row>;
  items: Promise<Row[]>;
}

export const CustomerEntity = new EntitySchema<{ id: number; name: string }>({
  name: 'Customer',
  tableName: 'customers',
  columns: { id: { type: Number, primary: true }, name: { type: String } },
});
export const ItemEntity = new EntitySchema<{ id: number; order: OrderEntity }>({
  name: 'Item',
  tableName: 'items',
  columns: { id: { type: Number, primary: true } },
  relations: { order: { type: 'many-to-one', target: 'Order', joinColumn: { name: 'order_id' } } },
});
export const OrderSchema = new EntitySchema<OrderEntity>({
  name: 'Order',
  tableName: 'orders',
  columns: { id: { type: Number, primary: true } },
  relations: {
    buyer: { type: 'many-to-one', target: 'Customer', lazy: true, joinColumn: { name: 'buyer_id' } },
    items: { type: 'one-to-many', target: 'Item', lazy: true, inverseSide: 'order' },
  },
});

const SEED = `
  CREATE SCHEMA ${SCHEMA};
  SET search_path TO ${SCHEMA};
  CREATE TABLE customers (id int PRIMARY KEY, name text);
  CREATE TABLE orders (id int PRIMARY KEY, buyer_id int, seller_id int);
  CREATE TABLE items (id int PRIMARY KEY, order_id int, product_id int);
  CREATE TABLE products (id int PRIMARY KEY, name text);
  CREATE TABLE notes (id serial PRIMARY KEY, order_id int);
  CREATE TABLE statuses (id int PRIMARY KEY);
  CREATE TABLE nodes (id int PRIMARY KEY, parent_id int);
  INSERT INTO customers SELECT n, 'c' FROM generate_series(1, 100) AS n;
  INSERT INTO orders SELECT n, n, 60 + n % 5 FROM generate_series(1, 60) AS n;
  INSERT INTO items SELECT o * 10 + i, o, 1 + (o * 3 + i) % 90 FROM generate_series(1, 60) AS o, generate_series(1, o % 4) AS i;
  INSERT INTO products SELECT n, 'p' FROM generate_series(1, 100) AS n;
  INSERT INTO statuses SELECT n FROM generate_series(1, 6) AS n;
  INSERT INTO nodes SELECT n, n / 3 FROM generate_series(1, 40) AS n;
`;

export async function openShop(): Promise<Shop> {
  const admin = new Client({ connectionString: databaseUrl() });
  await admin.connect();
  await admin.query(SEED);
  await admin.end();
  const options = `-c search_path=${SCHEMA}`;
  const pool = new Pool({ connectionString: databaseUrl(), max: 6, options });
  const typeorm = await new DataSource({
    type: 'postgres',
    url: databaseUrl(),
    extra: { options, max: 6 },
    entities: [CustomerEntity, ItemEntity, OrderSchema],
  }).initialize();
  const PrismaClient = await generatePrisma<PrismaShop>(
    'test/cost/repeat-handlers/schema.prisma',
    'prisma-repeats',
  );
  const adapter = new PrismaPg({ connectionString: databaseUrl(), max: 6, options }, { schema: SCHEMA });
  const prisma = new PrismaClient({ adapter });
  return {
    pool,
    typeorm,
    prisma,
    drizzle: drizzle(pool),
    q: async (statement, values) => (await pool.query<Row>(statement, values && [...values])).rows,
    async transaction(work) {
      const client = await pool.connect();
      try {
        await client.query('BEGIN');
        const result = await work(async (statement, values) => {
          return (await client.query<Row>(statement, values && [...values])).rows;
        });
        await client.query('COMMIT');
        return result;
      } finally {
        client.release();
      }
    },
    async close() {
      await prisma.$disconnect();
      await typeorm.destroy();
      await pool.query(`DROP SCHEMA ${SCHEMA} CASCADE`);
      await pool.end();
    },
  };
}
