import { createRequire } from 'node:module';
import { MikroORM, type EntityManager } from '@mikro-orm/core';
import { PostgreSqlDriver } from '@mikro-orm/postgresql';
import { PrismaPg } from '@prisma/adapter-pg';
import type BetterSqlite3 from 'better-sqlite3';
import type { Database } from 'better-sqlite3';
import { drizzle, type NodePgDatabase } from 'drizzle-orm/node-postgres';
import { Redis } from 'ioredis';
import createKnex, { type Knex } from 'knex';
import { Kysely, PostgresDialect } from 'kysely';
import { createPool as createMariadbPool, type Pool as MariadbPool } from 'mariadb';
import { type Db, MongoClient } from 'mongodb';
import mongoose from 'mongoose';
import { createConnection, createPool, type Pool as Mysql2Pool } from 'mysql2/promise';
import { Client, Pool } from 'pg';
import postgres, { type Sql } from 'postgres';
import { Sequelize } from 'sequelize';
import { DataSource } from 'typeorm';
import { databaseUrl } from '../../support/database';
import { type MongoServer, startMongoServer } from '../../support/mongo-server';
import { generatePrisma } from '../../support/prisma';
import { hasRedis, redisKey, redisUrl } from '../../support/redis-server';
import { isReachable } from '../../support/servers';
import { type IdKind, type Id, idsOf } from './ids';
import type { Client as ClientName } from './labelled-handler';
import {
  drizzleTables,
  type KyselyTables,
  mikroEntities,
  mongooseModels,
  type PrismaShop,
  sequelizeModels,
  type SequelizeModels,
  typeormEntities,
} from './models';
import { mariadbSeed, postgresSeed, tablesOf } from './seed';

const mariadbUri = process.env['TEST_MARIADB_URL'] ?? 'mysql://root@127.0.0.1:3306/test';
const hasMariadb =
  Boolean(process.env['CI']) || (await isReachable(Number(new URL(mariadbUri).port || 3306)));
if (!hasMariadb) console.warn('skipped: no MariaDB for the handlers of mysql2 and mariadb');

// better-sqlite3 13 ends a process of Node 20 when a database is opened.
const hasSqlite = Number.parseInt(process.versions.node, 10) >= 22;
if (!hasSqlite) console.warn('skipped: better-sqlite3 wants Node 22 for its handlers');

/** Whether what a client needs is on this machine; in CI it has to be. */
export function isThere(client: ClientName): boolean {
  if (client === 'mysql2' || client === 'mariadb') return hasMariadb;
  if (client === 'better-sqlite3') return hasSqlite;
  return client === 'redis' ? hasRedis : true;
}

export type Row = Record<string, unknown>;
/** Rows of a statement. */
export type Query = (text: string, values?: readonly unknown[]) => Promise<Row[]>;

/** Connections of a pool: as many as requests come at once, some of which hold one and want another. */
const MAX = 24;
const MAX_OF_ORM = 4;
const TENANTS = 4;

export interface Shop {
  readonly kind: IdKind;
  /** The id of the n-th row of a table. */
  id(table: string, n: number): Id;
  /** What a service that calls itself a database does: sends with `pg`. */
  readonly q: Query;
  readonly pool: Pool;
  transaction<T>(work: (q: Query) => Promise<T>): Promise<T>;
  /** One database each, with orders of one tenant. */
  readonly tenants: readonly Query[];
  /** Schemas with the same table. */
  readonly tenantSchemas: readonly string[];
  readonly sql: Sql;
  readonly typeorm: DataSource;
  readonly entities: ReturnType<typeof typeormEntities>;
  readonly drizzle: NodePgDatabase;
  readonly tables: ReturnType<typeof drizzleTables>;
  readonly kysely: Kysely<KyselyTables>;
  readonly knex: Knex;
  readonly sequelize: SequelizeModels;
  /** An entity manager of the request. */
  mikro(): EntityManager;
  /** Of ids that are numbers: its client has their type in it. */
  readonly prisma: PrismaShop;
  readonly mysql: Query;
  readonly mysql2: Mysql2Pool;
  readonly mariadb: MariadbPool;
  readonly sqlite: Database;
  readonly mongo: Db;
  readonly mongoose: ReturnType<typeof mongooseModels>;
  readonly redis: Redis;
  readonly redisKey: string;
}

export interface OpenShop extends Shop {
  close(): Promise<void>;
}

export async function openShop(kind: IdKind, tenants: Tenants): Promise<OpenShop> {
  const schema = `labelled_${kind}_${process.pid}`;
  const id = idsOf(kind);
  const open: (() => Promise<unknown> | unknown)[] = [];
  const closing = <T>(value: T, close: (value: T) => unknown): T => {
    open.unshift(() => close(value));
    return value;
  };

  const tenantSchemas = Array.from({ length: TENANTS }, (_, i) => `${schema}_t${i + 1}`);
  await runOn(databaseUrl(), postgresSeed(kind, schema, id), ...tenantSchemas.map(tenantSeed));
  open.unshift(() => runOn(databaseUrl(), `DROP SCHEMA ${[schema, ...tenantSchemas]} CASCADE`));
  const options = `-c search_path=${schema}`;
  const own = { connectionString: databaseUrl(), options };
  const pool = closing(new Pool({ ...own, max: MAX }), one => one.end());

  const typeorm = await new DataSource({
    type: 'postgres',
    url: databaseUrl(),
    extra: { options, max: MAX_OF_ORM },
    entities: Object.values(typeormEntities(kind)),
  }).initialize();
  closing(typeorm, one => one.destroy());

  const sequelize = new Sequelize(databaseUrl(), {
    logging: false,
    pool: { max: MAX_OF_ORM },
    dialectOptions: { options },
  });
  closing(sequelize, one => one.close());

  const mikro = await MikroORM.init({
    driver: PostgreSqlDriver,
    clientUrl: databaseUrl(),
    driverOptions: { connection: { options } },
    entities: mikroEntities(kind),
    pool: { min: 0, max: MAX_OF_ORM },
  });
  closing(mikro, one => one.close());

  const servers = await openServers(kind, id, closing);
  const { Order, Item, Customer, Product } = sequelizeModels(sequelize, kind);

  return {
    kind,
    id,
    pool,
    q: queryOf(pool),
    transaction: work => inTransaction(pool, work),
    tenants: tenants.queries,
    tenantSchemas,
    sql: closing(
      postgres(databaseUrl(), {
        max: MAX_OF_ORM,
        connection: { search_path: schema },
        onnotice: () => undefined,
      }),
      one => one.end(),
    ),
    typeorm,
    entities: typeormEntities(kind),
    drizzle: drizzle(pool),
    tables: drizzleTables(schema),
    // Its own close() would end the pool.
    kysely: new Kysely<KyselyTables>({ dialect: new PostgresDialect({ pool }) }),
    knex: closing(createKnex({ client: 'pg', connection: own, pool: { min: 0, max: MAX_OF_ORM } }), one =>
      one.destroy(),
    ),
    sequelize: { Order, Item, Customer, Product },
    mikro: () => mikro.em.fork(),
    prisma: await openPrisma(own, schema, closing),
    ...servers,
    async close() {
      for (const close of open) await close();
    },
  };
}

type Closing = <T>(value: T, close: (value: T) => unknown) => T;

function queryOf(pool: Pool): Query {
  return async (text, values) => (await pool.query<Row>(text, values && [...values])).rows;
}

async function inTransaction<T>(pool: Pool, work: (q: Query) => Promise<T>): Promise<T> {
  const client = await pool.connect();
  try {
    await client.query('BEGIN');
    const result = await work(
      async (text, values) => (await client.query<Row>(text, values && [...values])).rows,
    );
    await client.query('COMMIT');
    return result;
  } catch (error) {
    await client.query('ROLLBACK');
    throw error;
  } finally {
    client.release();
  }
}

async function runOn(connectionString: string, ...texts: string[]): Promise<void> {
  const client = new Client({ connectionString });
  await client.connect();
  for (const text of texts) await client.query(text);
  await client.end();
}

const tenantOrders = (table: string): string =>
  `CREATE TABLE ${table} AS SELECT n AS id, 'open' AS status, n::text AS tenant_id FROM generate_series(1, 9) AS n`;

const tenantSeed = (schema: string): string => `CREATE SCHEMA ${schema}; ${tenantOrders(`${schema}.orders`)}`;

export interface Tenants {
  readonly queries: readonly Query[];
  close(): Promise<void>;
}

/** Once for all shops: to make and to drop a database takes longer than all tables of a shop. */
export async function openTenants(): Promise<Tenants> {
  const names = Array.from({ length: TENANTS }, (_, i) => `labelled_${process.pid}_tenant_${i + 1}`);
  const pools: Pool[] = [];
  for (const name of names) {
    await runOn(databaseUrl(), `CREATE DATABASE ${name}`);
    const url = new URL(databaseUrl());
    url.pathname = name;
    await runOn(url.href, tenantOrders('orders'));
    pools.push(new Pool({ connectionString: url.href, max: 2 }));
  }
  return {
    queries: pools.map(queryOf),
    async close() {
      for (const pool of pools) await pool.end();
      for (const name of names) await runOn(databaseUrl(), `DROP DATABASE ${name} WITH (FORCE)`);
    },
  };
}

/** Made once: it takes seconds. */
let prismaClient: ReturnType<typeof generatePrisma<PrismaShop>> | undefined;

async function openPrisma(
  own: { connectionString: string; options: string },
  schema: string,
  closing: Closing,
): Promise<PrismaShop> {
  prismaClient ??= generatePrisma<PrismaShop>('test/cost/labelled/schema.prisma', 'prisma-labelled');
  const PrismaClient = await prismaClient;
  const adapter = new PrismaPg({ ...own, max: MAX_OF_ORM }, { schema });
  return closing(new PrismaClient({ adapter }), one => one.$disconnect());
}

type Servers = Pick<
  Shop,
  'mysql' | 'mysql2' | 'mariadb' | 'sqlite' | 'mongo' | 'redis' | 'redisKey' | 'mongoose'
>;

/** What is not there is not opened; its handlers are left out. */
async function openServers(kind: IdKind, id: Shop['id'], closing: Closing): Promise<Servers> {
  const servers: { -readonly [K in keyof Servers]?: Servers[K] } = { redisKey: redisKey(`labelled-${kind}`) };
  if (hasSqlite) servers.sqlite = closing(openSqlite(id), one => one.close());
  if (hasMariadb) Object.assign(servers, await openMariadb(kind, id, closing));
  const server: MongoServer = closing(await startMongoServer(), one => one.close());
  const client = closing(await new MongoClient(server.url, { maxPoolSize: MAX }).connect(), one =>
    one.close(),
  );
  servers.mongo = client.db('shop');
  await seedMongo(servers.mongo, id);
  const options = { autoIndex: false, autoCreate: false, maxPoolSize: MAX_OF_ORM, dbName: 'shop' };
  const connection = await mongoose.createConnection(server.url, options).asPromise();
  servers.mongoose = mongooseModels(
    closing(connection, one => one.close()),
    kind,
  );
  if (hasRedis) {
    servers.redis = closing(new Redis(redisUrl), one => one.quit());
    const ids = Array.from({ length: 60 }, (_, i) => id('orders', 1 + ((i * 7) % 60)));
    await servers.redis.rpush(servers.redisKey!, ...ids);
    closing(servers.redis, one => one.del(servers.redisKey!));
  }
  return servers as Servers;
}

async function openMariadb(
  kind: IdKind,
  id: Shop['id'],
  closing: Closing,
): Promise<Pick<Shop, 'mysql' | 'mysql2' | 'mariadb'>> {
  const database = `labelled_${kind}_${process.pid}`;
  const admin = closing(await createConnection(mariadbUri), one => one.end());
  await admin.query(`CREATE DATABASE ${database}`);
  closing(database, () => admin.query(`DROP DATABASE ${database}`));
  await admin.query(`USE ${database}`);
  for (const statement of mariadbSeed(kind, id)) await admin.query(statement);
  const { hostname, port, username, password } = new URL(mariadbUri);
  const address = {
    host: hostname,
    port: Number(port || 3306),
    user: decodeURIComponent(username),
    password: decodeURIComponent(password),
    database,
  };
  const mysql2 = closing(createPool({ ...address, connectionLimit: MAX_OF_ORM }), one => one.end());
  const mariadb = closing(createMariadbPool({ ...address, connectionLimit: MAX_OF_ORM }), one => one.end());
  return {
    mysql2,
    mariadb,
    mysql: async (text, values) => (await mysql2.query(text, values && [...values]))[0] as Row[],
  };
}

async function seedMongo(mongo: Db, id: Shop['id']): Promise<void> {
  const tables = tablesOf(id);
  const named = (name: string, ...columns: string[]): Row[] =>
    tables[name]![1].map(cells => Object.fromEntries(columns.map((column, i) => [column, cells[i]])));
  await mongo.collection('orders').insertMany(named('orders', '_id', 'buyerId', 'sellerId'));
  await mongo.collection('customers').insertMany(named('customers', '_id', 'name'));
  await mongo.collection('items').insertMany(named('order_items', '_id', 'orderId', 'productId'));
}

function openSqlite(id: Shop['id']): Database {
  const Sqlite = createRequire(import.meta.url)('better-sqlite3') as typeof BetterSqlite3;
  const db = new Sqlite(':memory:');
  const tables = tablesOf(id);
  for (const name of ['customers', 'products', 'order_items']) {
    const [columns, rows] = tables[name]!;
    db.exec(`CREATE TABLE ${name} (${columns.replaceAll(/\bID\b/g, 'ANY')})`);
    const insert = db.prepare(`INSERT INTO ${name} VALUES (${rows[0]!.map(() => '?')})`);
    for (const row of rows) insert.run(...row);
  }
  db.exec('CREATE TABLE orders (id ANY, buyer_id ANY, status TEXT)');
  const insert = db.prepare('INSERT INTO orders VALUES (?, ?, ?)');
  for (const cells of tables['orders']![1]) insert.run(cells[0], cells[1], cells[4]);
  return db;
}
