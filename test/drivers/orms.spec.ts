import { EntitySchema as MikroSchema, MikroORM, type EntityManager } from '@mikro-orm/core';
import { PostgreSqlDriver } from '@mikro-orm/postgresql';
import { PrismaPg } from '@prisma/adapter-pg';
import { eq } from 'drizzle-orm';
import { drizzle } from 'drizzle-orm/node-postgres';
import { integer, pgTable, text } from 'drizzle-orm/pg-core';
import createKnex from 'knex';
import { Client, Pool } from 'pg';
import { DataSource, EntitySchema } from 'typeorm';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ContextService, type CostRecord } from 'nestjs-async-context';
import { databaseUrl, isEmbedded } from '../support/database';
import { startApp, type TestApp, until } from '../support/platforms';
import { generatePrisma } from '../support/prisma';

interface Order {
  id: number;
  name: string;
}

/** What a test asks of each ORM; ten orders are there. */
interface Orm {
  /** All orders. */
  all(): Promise<unknown[]>;
  /** One order by its id. */
  one(id: number): Promise<Order | null | undefined>;
  /** One order by its key, where that is another call. */
  byKey?(id: number): Promise<Order | null>;
  /** Renames an order inside a transaction. */
  rename(id: number, name: string): Promise<unknown>;
  close(): Promise<unknown>;
}

const MAX = isEmbedded ? 1 : 2;
/** Of this run alone: another one may be using the same server. An embedded engine has one database. */
const DATABASE = isEmbedded ? undefined : `orms_${process.pid}`;

function ormUrl(): string {
  const url = new URL(databaseUrl());
  if (DATABASE !== undefined) url.pathname = DATABASE;
  return url.href;
}

/** Runs statements on a connection of their own, which is closed afterwards. */
async function runOn(connectionString: string, ...texts: string[]): Promise<void> {
  const client = new Client({ connectionString });
  await client.connect();
  for (const text of texts) await client.query(text);
  await client.end();
}

beforeAll(async () => {
  if (DATABASE !== undefined) await runOn(databaseUrl(), `CREATE DATABASE ${DATABASE}`);
});
afterAll(async () => {
  if (DATABASE !== undefined) await runOn(databaseUrl(), `DROP DATABASE ${DATABASE} WITH (FORCE)`);
});

async function typeorm(): Promise<Orm> {
  const entity = new EntitySchema<Order>({
    name: 'orm_orders',
    columns: { id: { type: Number, primary: true }, name: { type: String } },
  });
  const source = await new DataSource({
    type: 'postgres',
    url: ormUrl(),
    entities: [entity],
    poolSize: MAX,
  }).initialize();
  const orders = source.getRepository(entity);
  return {
    all: () => orders.find(),
    one: id => orders.findOneBy({ id }),
    rename: (id, name) => source.transaction(manager => manager.update(entity, { id }, { name })),
    close: () => source.destroy(),
  };
}

async function withDrizzle(): Promise<Orm> {
  const orders = pgTable('orm_orders', { id: integer().primaryKey(), name: text().notNull() });
  const pool = new Pool({ connectionString: ormUrl(), max: MAX });
  const db = drizzle(pool);
  return {
    all: async () => db.select().from(orders),
    one: async id => (await db.select().from(orders).where(eq(orders.id, id)))[0],
    rename: (id, name) =>
      db.transaction(async inside => inside.update(orders).set({ name }).where(eq(orders.id, id))),
    close: () => pool.end(),
  };
}

async function withKnex(): Promise<Orm> {
  const knex = createKnex({ client: 'pg', connection: ormUrl(), pool: { min: 0, max: MAX } });
  return {
    all: async () => knex<Order>('orm_orders').select(),
    one: async id => knex<Order>('orm_orders').where({ id }).first(),
    rename: (id, name) =>
      knex.transaction(async inside => inside<Order>('orm_orders').where({ id }).update({ name })),
    close: () => knex.destroy(),
  };
}

async function mikro(): Promise<Orm> {
  const schema = new MikroSchema<Order>({
    name: 'Order',
    tableName: 'orm_orders',
    properties: { id: { type: 'number', primary: true }, name: { type: 'string' } },
  });
  const orm = await MikroORM.init({
    driver: PostgreSqlDriver,
    clientUrl: ormUrl(),
    entities: [schema],
    pool: { min: 0, max: MAX },
    discovery: { warnWhenNoEntities: false },
  });
  const fork = (): EntityManager => orm.em.fork();
  return {
    all: () => fork().find(schema, {}),
    one: id => fork().findOne(schema, { id }),
    rename: (id, name) => fork().transactional(manager => manager.nativeUpdate(schema, { id }, { name })),
    close: () => orm.close(),
  };
}

async function prisma(): Promise<Orm> {
  const PrismaClient = await generatePrisma<PrismaLike>('test/drivers/prisma/schema.prisma', 'prisma');
  const client = new PrismaClient({ adapter: new PrismaPg({ connectionString: ormUrl(), max: MAX }) });
  return {
    all: () => client.order.findMany(),
    one: id => client.order.findFirst({ where: { id } }),
    byKey: id => client.order.findUnique({ where: { id } }),
    rename: (id, name) =>
      client.$transaction(async inside => inside.order.updateMany({ where: { id }, data: { name } })),
    close: () => client.$disconnect(),
  };
}

interface PrismaLike {
  order: {
    findMany(): Promise<Order[]>;
    findFirst(query: unknown): Promise<Order | null>;
    findUnique(query: unknown): Promise<Order | null>;
    updateMany(query: unknown): Promise<unknown>;
  };
  $transaction<T>(work: (inside: PrismaLike) => Promise<T>): Promise<T>;
  $disconnect(): Promise<void>;
}

const orms: [name: string, open: () => Promise<Orm>][] = [
  ['TypeORM', typeorm],
  ['Drizzle', withDrizzle],
  ['Knex', withKnex],
  ['MikroORM', mikro],
  ['Prisma with adapter-pg', prisma],
];

describe.each(orms)('%s', (name, open) => {
  let test: TestApp;
  let orm: Orm;
  let unit = 0;

  beforeAll(async () => {
    await runOn(
      ormUrl(),
      'DROP TABLE IF EXISTS orm_orders',
      'CREATE TABLE orm_orders (id int PRIMARY KEY, name text NOT NULL)',
      "INSERT INTO orm_orders SELECT n, 'order ' || n FROM generate_series(1, 10) AS n",
    );
    test = await startApp({ breachWindowMs: 0, budget: { queries: 5 } });
    orm = await open();
    // What an ORM asks of a new connection is not what is counted here.
    await orm.all();
  });
  afterAll(async () => {
    await orm.close();
    await test.close();
    await runOn(ormUrl(), 'DROP TABLE IF EXISTS orm_orders');
  });

  async function recordOf(work: () => Promise<unknown>): Promise<CostRecord> {
    const requestId = `orm-${(unit += 1)}`;
    await test.app.get(ContextService).run({ requestId }, work);
    return until(() => test.sink.records.find(record => record.requestId === requestId), 'record');
  }
  const tableOf = (record: CostRecord) =>
    Object.entries(record.queries.byTable).map(([table, cost]) => [
      table.replace(/^public\./, ''),
      cost.count,
      cost.rows,
    ]);

  it('reads: one query with its rows and its table', async () => {
    const record = await recordOf(() => orm.all());
    expect(record.queries).toMatchObject({ count: 1, rows: 10, writes: 0, errors: 0, transactions: 0 });
    expect(tableOf(record)).toEqual([['orm_orders', 1, 10]]);
  });

  it('writes in a transaction: one query, BEGIN and COMMIT apart', async () => {
    const record = await recordOf(() => orm.rename(1, 'renamed'));
    expect(record.queries).toMatchObject({ count: 1, rows: 1, writes: 1 });
    expect(record.queries.transactions).toBeGreaterThanOrEqual(2);
    expect(tableOf(record)).toEqual([['orm_orders', 1, 1]]);
    expect(JSON.stringify(record)).not.toContain('renamed');
  });

  it('asks in a loop: one shape, and a breach that names the line', async () => {
    const record = await recordOf(async function loop() {
      for (let id = 1; id <= 10; id++) await orm.one(id);
    });
    expect(record.queries).toMatchObject({ count: 10, rows: 10, maxConcurrent: 1 });
    expect(record.queries.shapes).toHaveLength(1);
    expect(record.breaches).toHaveLength(1);
    const lines = test.logs.of('error', 'QueryBudget');
    expect(lines).toHaveLength(1);
    expect(lines[0]).toContain('10 queries (budget 5)');
    // Who awaits the query; those that give back its promise are not on its stack.
    const awaiting = name === 'Drizzle' ? 'one' : 'loop';
    expect(lines[0]).toMatch(new RegExp(`(?: {4}|line +)orms\\.spec\\.ts:\\d+ ${awaiting}`));
  });

  it.runIf(name.startsWith('Prisma'))(
    'makes one query, of the first, of keys asked for at once',
    async () => {
      const records = await Promise.all([1, 2, 3].map(id => recordOf(() => orm.byKey!(id))));
      expect(records.map(({ queries }) => [queries.count, queries.rows])).toEqual([
        [1, 3],
        [0, 0],
        [0, 0],
      ]);
    },
  );

  it('is charged rightly by 20 units of work at once over a small pool', async () => {
    const records = await Promise.all(
      Array.from({ length: 20 }, (_, n) =>
        recordOf(() => Promise.all(Array.from({ length: n }, (_, i) => orm.one((i % 10) + 1)))),
      ),
    );
    expect(records.map(({ queries }) => queries.count)).toEqual(records.map((_, n) => n));
    expect(records.reduce((sum, { queries }) => sum + queries.rows, 0)).toBe(190);
  });
});
