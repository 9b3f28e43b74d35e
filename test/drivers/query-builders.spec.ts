import knex from 'knex';
import { Kysely, PostgresDialect, sql } from 'kysely';
import { Model } from 'objection';
import { Pool } from 'pg';
import { DataTypes, Sequelize } from 'sequelize';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { databaseUrl, isEmbedded } from '../support/database';
import { startApp, type TestApp } from '../support/platforms';
import { costOf, costs, type StatementCost } from '../support/units';

const table = `builder_orders_${process.pid}`;
const max = isEmbedded ? 1 : 2;

/** What a test asks of each; ten orders are there. */
interface Builder {
  all(): Promise<unknown>;
  one(id: number): Promise<unknown>;
  rename(id: number): Promise<unknown>;
  wrong(): Promise<unknown>;
  close(): Promise<unknown>;
}

function withKysely(): Builder {
  const db = new Kysely<Record<string, { id: number; name: string }>>({
    dialect: new PostgresDialect({ pool: new Pool({ connectionString: databaseUrl(), max }) }),
  });
  return {
    all: () => db.selectFrom(table).selectAll().execute(),
    one: id => db.selectFrom(table).selectAll().where('id', '=', id).execute(),
    rename: id =>
      db.transaction().execute(tx => tx.updateTable(table).set({ name: 'n' }).where('id', '=', id).execute()),
    wrong: () => sql`SELECT * FROM nowhere`.execute(db),
    close: () => db.destroy(),
  };
}

function withObjection(): Builder {
  const db = knex({ client: 'pg', connection: databaseUrl(), pool: { min: 1, max } });
  class Order extends Model {
    static override tableName = table;
    id!: number;
    name!: string;
  }
  Order.knex(db);
  return {
    all: async () => Order.query(),
    one: async id => Order.query().where('id', id),
    rename: id => Order.transaction(async tx => Order.query(tx).patch({ name: 'n' }).where('id', id)),
    wrong: async () => db.raw('SELECT * FROM nowhere'),
    close: () => db.destroy(),
  };
}

function withSequelize(): Builder {
  const db = new Sequelize(databaseUrl(), { logging: false, pool: { max } });
  const order = db.define('order', { name: DataTypes.TEXT }, { tableName: table, timestamps: false });
  return {
    all: () => order.findAll(),
    one: id => order.findAll({ where: { id } }),
    rename: id => db.transaction(transaction => order.update({ name: 'n' }, { where: { id }, transaction })),
    wrong: () => db.query('SELECT * FROM nowhere'),
    close: () => db.close(),
  };
}

describe.each<[string, () => Builder]>([
  ['Kysely', withKysely],
  ['Objection on Knex', withObjection],
  ['Sequelize', withSequelize],
])('%s on pg', (_name, open) => {
  let test: TestApp;
  let builder: Builder;
  let admin: Pool;

  beforeAll(async () => {
    test = await startApp({});
    admin = new Pool({ connectionString: databaseUrl(), max: 1 });
    await admin.query(`CREATE TABLE ${table} (id int PRIMARY KEY, name text)`);
    await admin.query(`INSERT INTO ${table} SELECT n, 'order' FROM generate_series(1, 10) AS n`);
    if (isEmbedded) await admin.end();
    builder = open();
    // A first connection asks for the server's version, or sets its session up.
    await builder.all();
  });
  afterAll(async () => {
    await builder.close();
    if (isEmbedded) admin = new Pool({ connectionString: databaseUrl(), max: 1 });
    await admin.query(`DROP TABLE ${table}`);
    await admin.end();
    await test.close();
  });

  it.each<[string, (builder: Builder) => Promise<unknown>, Partial<StatementCost>]>([
    ['all', one => one.all(), { rows: 10, table }],
    ['one', one => one.one(3), { rows: 1, table }],
    ['nothing', one => one.one(99), { rows: 0, table }],
    ['a change in a transaction', one => one.rename(3), { rows: 1, writes: 1, transactions: 2, table }],
    ['an error', one => one.wrong(), { rows: 0, errors: 1, table: 'nowhere' }],
  ])('is counted exactly: %s', async (_what, work, expected) => {
    const { shape, ...cost } = await costOf(test, () => work(builder));
    const { shape: _shape, ...wanted } = costs(expected);
    expect(cost).toEqual(wanted);
    expect(shape).not.toMatch(/\b3\b|\b99\b/);
  });
});
