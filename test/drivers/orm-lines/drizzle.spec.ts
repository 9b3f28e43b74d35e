import { eq, QueryPromise, sql } from 'drizzle-orm';
import { int, mysqlTable } from 'drizzle-orm/mysql-core';
import { drizzle as drizzleMysql, type MySql2Database } from 'drizzle-orm/mysql2';
import { drizzle, type NodePgDatabase } from 'drizzle-orm/node-postgres';
import { integer, PgSelectBase, pgTable, text } from 'drizzle-orm/pg-core';
import { drizzle as drizzlePostgres } from 'drizzle-orm/postgres-js';
import { createPool, type Pool as MysqlPool } from 'mysql2/promise';
import { Pool } from 'pg';
import postgres, { type Sql } from 'postgres';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { isEmbedded } from '../../support/database';
import {
  createLineDatabase,
  findingsOf,
  type LineDatabase,
  MarkedLines,
  type Works,
} from '../../support/orm-lines';
import { startApp, type TestApp } from '../../support/platforms';

const mysqlUri = process.env['TEST_MARIADB_URL'] ?? 'mysql://root@127.0.0.1:3306/test';

const orders = pgTable('line_orders', { id: integer().primaryKey(), buyerId: integer('buyer_id') });
const customers = pgTable('line_customers', { id: integer().primaryKey(), name: text() });
const items = pgTable('line_items', { id: integer().primaryKey(), orderId: integer('order_id') });
const schema = { orders, customers, items };
const mysqlOrders = mysqlTable(`line_orders_${process.pid}`, { id: int().primaryKey(), buyerId: int() });

type Db = NodePgDatabase<typeof schema>;

let database: LineDatabase;
let test: TestApp;
let pool: Pool;
let client: Sql;
let mysql: MysqlPool;
let db: Db;
let dbOfPostgres: Pick<Db, 'select' | 'execute' | 'query'>;
let dbOfMysql: MySql2Database;

const works = (get: () => typeof dbOfPostgres) => ({
  async selects() {
    const all = await get().select().from(orders); // selects: parent
    for (const { id } of all) {
      await get().select().from(items).where(eq(items.orderId, id)); // selects: child
    }
  },
  async selectsAtOnce() {
    const all = await get().select().from(orders); // selectsAtOnce: parent
    await Promise.all(
      all.map(async ({ id }) => {
        const found = await get().select().from(items).where(eq(items.orderId, id)); // selectsAtOnce: child
        return found.length;
      }),
    );
  },
  async relations() {
    const all = await get().query.orders.findMany(); // relations: parent
    for (const { buyerId } of all) {
      await get().query.customers.findFirst({ where: eq(customers.id, buyerId!) }); // relations: child
    }
  },
  async raws() {
    const all = await get().select().from(orders); // raws: parent
    for (const { id } of all) {
      await get().execute(sql`SELECT * FROM line_items WHERE order_id = ${id}`); // raws: child
    }
  },
});

const transactions: Works = {
  async inTransaction() {
    await db.transaction(async inside => {
      const all = await inside.select().from(orders); // inTransaction: parent
      for (const { id } of all) {
        await inside.select().from(items).where(eq(items.orderId, id)); // inTransaction: child
      }
    });
  },
};

const worksOfMysql: Works = {
  async onMysql() {
    const all = await dbOfMysql.select().from(mysqlOrders); // onMysql: parent
    for (const { id } of all) {
      const query = dbOfMysql.select({ buyerId: mysqlOrders.buyerId }).from(mysqlOrders);
      await query.where(eq(mysqlOrders.id, id)); // onMysql: child
    }
  },
};

const lines = new MarkedLines(import.meta.url);
const methods = (): unknown[] => [PgSelectBase.prototype.then, QueryPromise.prototype.then];
const bare = methods();

// An embedded engine has one connection.
describe.skipIf(isEmbedded)('Drizzle', () => {
  beforeAll(async () => {
    database = await createLineDatabase();
    pool = new Pool({ connectionString: database.url, max: 4 });
    client = postgres(database.url, { max: 4, fetch_types: false });
    mysql = createPool({ uri: mysqlUri, connectionLimit: 4 });
    db = drizzle(pool, { schema });
    dbOfPostgres = drizzlePostgres(client, { schema }) as never;
    dbOfMysql = drizzleMysql(mysql);
    await dbOfMysql.execute(sql`CREATE TABLE ${mysqlOrders} (id int PRIMARY KEY, buyerId int)`);
    await dbOfMysql
      .insert(mysqlOrders)
      .values([107, 114, 121, 128, 135].map(id => ({ id, buyerId: 7 * id })));
    test = await startApp({});
  });
  afterAll(async () => {
    await dbOfMysql.execute(sql`DROP TABLE ${mysqlOrders}`);
    await Promise.all([pool.end(), client.end(), mysql.end()]);
    await database.drop();
  });

  it.each<[name: string, driver: string, work: () => Promise<unknown>]>([
    ...Object.entries({ ...works(() => db), ...transactions }).map(
      ([name, work]) => [name, 'pg', work] as never,
    ),
    ...Object.entries(works(() => dbOfPostgres)).map(([name, work]) => [name, 'postgres', work] as never),
    ...Object.entries(worksOfMysql).map(([name, work]) => [name, 'mysql2', work] as never),
  ])('names the lines of the application: %s, on %s', async (name, driver, work) => {
    await lines.expect(test, `${driver} ${name}`, name, work);
  });

  it('gives the application what it would give', async () => {
    const all = await db.select().from(orders);
    await findingsOf(test, 'results', async () => {
      let isDone = false;
      const query = db.select().from(orders);
      expect(await query.finally(() => (isDone = true))).toEqual(all);
      expect(isDone).toBe(true);
      await expect(db.execute(sql`SELECT * FROM line_nothing`)).rejects.toMatchObject({
        cause: { code: '42P01' },
      });
      expect(await db.execute(sql`SELECT * FROM line_nothing`).catch(() => 'caught')).toBe('caught');
    });
  });

  it.each([
    ['log', { queries: 2 }],
    ['throw', { queries: 2 }],
    ['log', { hard: { queries: 2 } }],
  ] as const)('names the line that breaks a budget: onExceeded %j, %j', async (onExceeded, budget) => {
    const limited = await startApp({ budget, onExceeded });
    const work = async (): Promise<void> => {
      for (let run = 0; run < 4; run += 1) {
        await db.select().from(orders).where(eq(orders.id, run)); // breach
      }
    };
    // A report of the same handler is held back for a while.
    await findingsOf(limited, `breach ${onExceeded} ${Object.keys(budget)[0]}`, () =>
      work().catch(() => undefined),
    );
    const [line] = limited.logs.of('error', 'QueryBudget');
    // The cause names it, where its statement is known to come from there.
    expect(line).toMatch(new RegExp(`(?:line +| {4})${lines.of('breach').replaceAll('.', '\\.')} work`));
    await limited.close();
  });

  // The last one: it closes the application.
  it('is what it was when the last application has closed', async () => {
    expect(methods().map((method, i) => method === bare[i])).toEqual([false, false]);
    await test.close();
    expect(methods()).toEqual(bare);
  });
});
