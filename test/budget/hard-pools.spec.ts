import { createRequire } from 'node:module';
import { EntitySchema as MikroSchema, MikroORM } from '@mikro-orm/core';
import { PostgreSqlDriver } from '@mikro-orm/postgresql';
import { Controller, Get, Param } from '@nestjs/common';
import { PrismaPg } from '@prisma/adapter-pg';
import { int, mysqlTable } from 'drizzle-orm/mysql-core';
import { drizzle as drizzleMysql } from 'drizzle-orm/mysql2';
import { drizzle } from 'drizzle-orm/node-postgres';
import { integer, pgTable } from 'drizzle-orm/pg-core';
import { drizzle as drizzlePostgresJs } from 'drizzle-orm/postgres-js';
import createKnex from 'knex';
import { Kysely, MysqlDialect, PostgresDialect } from 'kysely';
import mysql from 'mysql2';
import { createPool, type Pool as MysqlPool } from 'mysql2/promise';
import { Model } from 'objection';
import { Client, Pool } from 'pg';
import postgres from 'postgres';
import { DataTypes, Sequelize } from 'sequelize';
import { DataSource, EntitySchema } from 'typeorm';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { QueryBudget } from 'nestjs-async-context';
import { databaseUrl, isEmbedded } from '../support/database';
import { startApp, type TestApp, until } from '../support/platforms';
import { generatePrisma } from '../support/prisma';
import { isReachable } from '../support/servers';

const mariadbUri = process.env['TEST_MARIADB_URL'] ?? 'mysql://root@127.0.0.1:3306/test';
const hasMariadb =
  Boolean(process.env['CI']) || (await isReachable(Number(new URL(mariadbUri).port || 3306)));
if (!hasMariadb) console.warn('hard-pools.spec.ts: MariaDB is not reachable, its tests are skipped');

// Sequelize loads it later than the application starts.
createRequire(import.meta.url)('mariadb');

/** Prisma's client has its name in it. */
const TABLE = 'orm_orders';
const DATABASE = `hard_pools_${process.pid}`;
/** Of connections in each pool, and fewer than there are transactions. */
const SIZE = 2;
const TRANSACTIONS = 5;

interface Inside {
  insert(id: number): Promise<unknown>;
  /** A transaction in this one: a savepoint. */
  nested?(work: (inside: Inside) => Promise<unknown>): Promise<unknown>;
}

/** An ORM with a pool. */
interface Orm {
  transaction(work: (inside: Inside) => Promise<unknown>): Promise<unknown>;
  count(): Promise<number>;
  /** How many connections are checked out, where it tells. */
  busy?(): number;
  close(): Promise<unknown>;
}

interface Order {
  id: number;
  name: string;
}

function on(base: string): string {
  const found = new URL(base);
  found.pathname = DATABASE;
  return found.href;
}

const busyOf = (pool: Pool): number => pool.totalCount - pool.idleCount;

/** The driver says only which ones are free. */
function busyOfMysql(pool: mysql.Pool): number {
  const { _allConnections: all, _freeConnections: free } = pool as unknown as Record<
    string,
    { readonly length: number }
  >;
  return all!.length - free!.length;
}

async function typeorm(type: 'postgres' | 'mysql'): Promise<Orm> {
  const entity = new EntitySchema<Order>({
    name: TABLE,
    columns: { id: { type: Number, primary: true }, name: { type: String } },
  });
  const url = on(type === 'postgres' ? databaseUrl() : mariadbUri);
  const source = await new DataSource({ type, url, entities: [entity], poolSize: SIZE }).initialize();
  const inside = (manager: typeof source.manager): Inside => ({
    insert: id => manager.insert(entity, { id, name: 'one' }),
    nested: work => manager.transaction(inner => work(inside(inner))),
  });
  const pool = type === 'postgres' ? 'master' : 'pool';
  return {
    transaction: work => source.transaction(manager => work(inside(manager))),
    count: () => source.getRepository(entity).count(),
    busy: () => {
      const found = (source.driver as unknown as Record<string, unknown>)[pool];
      return type === 'postgres' ? busyOf(found as Pool) : busyOfMysql(found as mysql.Pool);
    },
    close: () => source.destroy(),
  };
}

const drizzleOrders = pgTable(TABLE, { id: integer().primaryKey() });

interface DrizzleLike {
  insert(into: typeof drizzleOrders): { values(row: { id: number }): PromiseLike<unknown> };
  transaction(work: (inner: DrizzleLike) => Promise<unknown>): Promise<unknown>;
}

function insideDrizzle(tx: DrizzleLike): Inside {
  return {
    insert: async id => tx.insert(drizzleOrders).values({ id }),
    nested: work => tx.transaction(inner => work(insideDrizzle(inner))),
  };
}

async function withDrizzle(): Promise<Orm> {
  const pool = new Pool({ connectionString: on(databaseUrl()), max: SIZE });
  const db = drizzle(pool);
  return {
    transaction: work => db.transaction(tx => work(insideDrizzle(tx as unknown as DrizzleLike))),
    count: () => db.$count(drizzleOrders),
    busy: () => busyOf(pool),
    close: () => pool.end(),
  };
}

async function withDrizzlePostgresJs(): Promise<Orm> {
  const client = postgres(on(databaseUrl()), { max: SIZE, onnotice: () => undefined });
  const db = drizzlePostgresJs(client);
  return {
    transaction: work => db.transaction(tx => work(insideDrizzle(tx as unknown as DrizzleLike))),
    count: () => db.$count(drizzleOrders),
    close: () => client.end(),
  };
}

async function withDrizzleMysql(config?: { isolationLevel: 'serializable' }): Promise<Orm> {
  const orders = mysqlTable(TABLE, { id: int().primaryKey() });
  const pool: MysqlPool = createPool({ uri: on(mariadbUri), connectionLimit: SIZE });
  const db = drizzleMysql({ client: pool });
  type Tx = Parameters<Parameters<typeof db.transaction>[0]>[0];
  const inside = (tx: Tx): Inside => ({
    insert: async id => tx.insert(orders).values({ id }),
    nested: work => tx.transaction(inner => work(inside(inner))),
  });
  return {
    transaction: work => db.transaction(tx => work(inside(tx)), config),
    count: () => db.$count(orders),
    busy: () => busyOfMysql((pool as unknown as { pool: mysql.Pool }).pool),
    close: () => pool.end(),
  };
}

type KnexLike = ReturnType<typeof createKnex>;

const busyOfKnex = (knex: { client: unknown }): number =>
  (knex.client as { pool: { numUsed(): number } }).pool.numUsed();

async function withKnex(client: 'pg' | 'mysql2'): Promise<Orm> {
  const connection = on(client === 'pg' ? databaseUrl() : mariadbUri);
  const knex = createKnex({ client, connection, pool: { min: 0, max: SIZE } });
  const inside = (tx: KnexLike): Inside => ({
    insert: async id => tx(TABLE).insert({ id }),
    nested: work => tx.transaction(inner => work(inside(inner))),
  });
  return {
    transaction: work => knex.transaction(tx => work(inside(tx))),
    count: async () => Number((await knex(TABLE).count({ n: '*' }))[0]!['n']),
    busy: () => busyOfKnex(knex),
    close: () => knex.destroy(),
  };
}

async function withObjection(): Promise<Orm> {
  const knex = createKnex({ client: 'pg', connection: on(databaseUrl()), pool: { min: 0, max: SIZE } });
  class OrderModel extends Model {
    static override tableName = TABLE;
  }
  OrderModel.knex(knex);
  return {
    transaction: work =>
      OrderModel.transaction(tx =>
        work({ insert: async id => OrderModel.query(tx).insert({ id } as Partial<OrderModel>) }),
      ),
    count: () => OrderModel.query().resultSize(),
    busy: () => busyOfKnex(knex),
    close: () => knex.destroy(),
  };
}

async function mikro(): Promise<Orm> {
  const schema = new MikroSchema<Order>({
    name: 'Order',
    tableName: TABLE,
    properties: { id: { type: 'number', primary: true }, name: { type: 'string' } },
  });
  const orm = await MikroORM.init({
    driver: PostgreSqlDriver,
    clientUrl: on(databaseUrl()),
    entities: [schema],
    pool: { min: 0, max: SIZE },
    discovery: { warnWhenNoEntities: false },
  });
  const inside = (manager: typeof orm.em): Inside => ({
    insert: id => manager.insert(schema, { id, name: 'one' }),
    nested: work => manager.transactional(inner => work(inside(inner))),
  });
  return {
    transaction: work => orm.em.fork().transactional(manager => work(inside(manager))),
    count: () => orm.em.fork().count(schema),
    busy: () => busyOfKnex(orm.em.getConnection().getKnex()),
    close: () => orm.close(),
  };
}

async function withKysely(type: 'pg' | 'mysql2'): Promise<Orm> {
  const pool = new Pool({ connectionString: on(databaseUrl()), max: SIZE });
  const mysqlPool = mysql.createPool({ uri: on(mariadbUri), connectionLimit: SIZE });
  const dialect = type === 'pg' ? new PostgresDialect({ pool }) : new MysqlDialect({ pool: mysqlPool });
  const db = new Kysely<{ [TABLE]: { id: number } }>({ dialect });
  return {
    transaction: work =>
      db
        .transaction()
        .execute(tx => work({ insert: id => tx.insertInto(TABLE).values({ id }).executeTakeFirst() })),
    count: async () => (await db.selectFrom(TABLE).selectAll().execute()).length,
    busy: () => (type === 'pg' ? busyOf(pool) : busyOfMysql(mysqlPool)),
    close: async () => {
      await db.destroy();
      if (type === 'pg') mysqlPool.end();
      else await pool.end();
    },
  };
}

async function sequelize(dialect: 'postgres' | 'mysql' | 'mariadb'): Promise<Orm> {
  const url = new URL(on(dialect === 'postgres' ? databaseUrl() : mariadbUri));
  url.protocol = dialect;
  const db = new Sequelize(url.href, { dialect, logging: false, pool: { max: SIZE, acquire: 5_000 } });
  const model = db.define(
    'order',
    { id: { type: DataTypes.INTEGER, primaryKey: true } },
    {
      tableName: TABLE,
      timestamps: false,
    },
  );
  type Tx = Awaited<ReturnType<typeof db.transaction>>;
  const inside = (transaction: Tx): Inside => ({
    insert: id => model.create({ id }, { transaction }),
    nested: work => db.transaction({ transaction }, inner => work(inside(inner))),
  });
  const { pool } = db.connectionManager as unknown as { pool: { readonly using: number } };
  return {
    transaction: work => db.transaction(tx => work(inside(tx))),
    count: () => model.count(),
    busy: () => pool.using,
    close: () => db.close(),
  };
}

interface PrismaLike {
  order: { create(query: unknown): Promise<unknown>; count(): Promise<number> };
  $transaction(work: (inside: PrismaLike) => Promise<unknown>): Promise<unknown>;
  $disconnect(): Promise<void>;
}

async function prisma(): Promise<Orm> {
  const PrismaClient = await generatePrisma<PrismaLike>('test/budget/prisma/pools.prisma', 'prisma-pools');
  const pool = new Pool({ connectionString: on(databaseUrl()), max: SIZE });
  const client = new PrismaClient({ adapter: new PrismaPg(pool) });
  return {
    transaction: work =>
      client.$transaction(tx => work({ insert: id => tx.order.create({ data: { id, name: 'one' } }) })),
    count: () => client.order.count(),
    busy: () => busyOf(pool),
    close: async () => {
      await client.$disconnect();
      await pool.end();
    },
  };
}

let orm: Orm;
let errors: unknown[] = [];
const note = (error: unknown): void => void errors.push(error);

type Path = 'propagated' | 'caught' | 'nested' | 'inner';

/** What a handler may do with the transactions that it goes on to make. */
const PATHS: Record<Path, (id: number) => Promise<unknown>> = {
  propagated: id => orm.transaction(inside => inside.insert(id)),
  caught: id => orm.transaction(inside => inside.insert(id).catch(note)),
  nested: id => orm.transaction(({ nested }) => nested!(inner => inner.insert(id))),
  inner: id =>
    orm.transaction(async ({ nested }) => {
      for (let i = 0; i < 3; i++) await nested!(inner => inner.insert(id + 10 * i)).catch(note);
    }),
};

@Controller()
class OrdersController {
  @Get('stopped/:path')
  @QueryBudget({ hard: { queries: 2 } })
  async stopped(@Param('path') path: Path) {
    for (let i = 0; i < 3; i++) await orm.count().catch(note);
    for (let i = 0; i < TRANSACTIONS; i++) await PATHS[path](i).catch(note);
    return 'stopped';
  }

  @Get('others')
  async others() {
    await Promise.all([1, 2, 3, 4].map(id => orm.transaction(inside => inside.insert(1_000 + id))));
    return orm.count();
  }
}

async function onPg(connectionString: string, ...texts: string[]): Promise<unknown[]> {
  const client = new Client({ connectionString });
  await client.connect();
  let rows: unknown[] = [];
  for (const one of texts) ({ rows } = await client.query(one));
  await client.end();
  return rows;
}

async function onMysql(uri: string, ...texts: string[]): Promise<unknown> {
  const pool = createPool({ uri, connectionLimit: 1 });
  let rows: unknown;
  for (const one of texts) [rows] = await pool.query(one);
  await pool.end();
  return rows;
}

const CREATE = `CREATE TABLE ${TABLE} (id int PRIMARY KEY, name varchar(100) NOT NULL DEFAULT 'one')`;
const COUNT = `SELECT count(*) AS n FROM ${TABLE}`;
const EMPTY = `DELETE FROM ${TABLE}`;

const openOnPg: readonly (readonly [name: string, open: () => Promise<Orm>])[] = [
  ['TypeORM', () => typeorm('postgres')],
  ['Drizzle', withDrizzle],
  ['Drizzle with postgres', withDrizzlePostgresJs],
  ['Knex', () => withKnex('pg')],
  ['Objection', withObjection],
  ['MikroORM', mikro],
  ['Kysely', () => withKysely('pg')],
  ['Sequelize', () => sequelize('postgres')],
  ['Prisma with adapter-pg', prisma],
];
const openOnMariadb: typeof openOnPg = [
  ['TypeORM', () => typeorm('mysql')],
  ['Drizzle', () => withDrizzleMysql()],
  ['Drizzle with an isolation level', () => withDrizzleMysql({ isolationLevel: 'serializable' })],
  ['Knex', () => withKnex('mysql2')],
  ['Kysely', () => withKysely('mysql2')],
  ['Sequelize', () => sequelize('mysql')],
  ['Sequelize with mariadb', () => sequelize('mariadb')],
];

/** What an ORM leaves of its pool and of the table. */
function leavesThePool(
  open: () => Promise<Orm>,
  rows: () => Promise<unknown>,
  empty: () => Promise<unknown>,
) {
  let test: TestApp;
  beforeAll(async () => {
    test = await startApp({ controllers: [OrdersController], breachWindowMs: 0 });
    orm = await open();
    await orm.count();
  });
  afterAll(async () => {
    await orm.close();
    await test.close();
  });

  const get = async (path: string): Promise<string> =>
    (await fetch(`${test.url}/${path}`, { signal: AbortSignal.timeout(10_000) })).text();

  it.for(['propagated', 'caught', 'nested', 'inner'] as const)(
    `has its whole pool after ${TRANSACTIONS} transactions that follow the stop, %s`,
    { timeout: 20_000 },
    async (path, { skip }) => {
      const isNested = path === 'nested' || path === 'inner';
      if (isNested && !(await hasNested())) skip('it has no nested transactions');
      errors = [];
      expect(await get(`stopped/${path}`)).toBe('stopped');
      expect(errors.length).toBeGreaterThanOrEqual(1 + TRANSACTIONS);
      // A connection that is rolled back is on its way.
      await until(() => (orm.busy?.() ?? 0) === 0, 'the pool');
      expect(await rows()).toEqual(0);
      expect(await get('others')).toBe('4');
      await until(() => (orm.busy?.() ?? 0) === 0, 'the pool');
      await empty();
    },
  );

  async function hasNested(): Promise<boolean> {
    let has = false;
    await orm.transaction(async ({ nested }) => (has = nested !== undefined));
    return has;
  }
}

const numberOf = (rows: unknown): number => Number((rows as { n: unknown }[])[0]!.n);

describe.skipIf(isEmbedded)('PostgreSQL', () => {
  beforeAll(async () => {
    await onPg(databaseUrl(), `CREATE DATABASE ${DATABASE}`);
    await onPg(on(databaseUrl()), CREATE);
  });
  afterAll(() => onPg(databaseUrl(), `DROP DATABASE ${DATABASE} WITH (FORCE)`));

  describe.each(openOnPg)('%s', (_name, open) =>
    leavesThePool(
      open,
      async () => numberOf(await onPg(on(databaseUrl()), COUNT)),
      () => onPg(on(databaseUrl()), EMPTY),
    ),
  );
});

describe.skipIf(!hasMariadb)('MariaDB', () => {
  beforeAll(async () => {
    await onMysql(mariadbUri, `CREATE DATABASE ${DATABASE}`);
    await onMysql(on(mariadbUri), CREATE);
  });
  afterAll(() => onMysql(mariadbUri, `DROP DATABASE ${DATABASE}`));

  describe.each(openOnMariadb)('%s', (_name, open) =>
    leavesThePool(
      open,
      async () => numberOf(await onMysql(on(mariadbUri), COUNT)),
      () => onMysql(on(mariadbUri), EMPTY),
    ),
  );
});
