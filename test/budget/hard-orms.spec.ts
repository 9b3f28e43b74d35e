import { EntitySchema as MikroSchema, MikroORM } from '@mikro-orm/core';
import { PostgreSqlDriver } from '@mikro-orm/postgresql';
import { Controller, Get, Param } from '@nestjs/common';
import { PrismaPg } from '@prisma/adapter-pg';
import { drizzle as drizzleMysql } from 'drizzle-orm/mysql2';
import { int, mysqlTable, varchar } from 'drizzle-orm/mysql-core';
import { drizzle } from 'drizzle-orm/node-postgres';
import { integer, pgTable, text } from 'drizzle-orm/pg-core';
import createKnex from 'knex';
import { createConnection, createPool } from 'mysql2/promise';
import { Client, Pool } from 'pg';
import { DataSource, EntitySchema } from 'typeorm';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { QueryBudget } from 'nestjs-async-context';
import { databaseUrl, isEmbedded } from '../support/database';
import { platforms, startApp, type TestApp } from '../support/platforms';
import { generatePrisma } from '../support/prisma';
import { isReachable } from '../support/servers';

const mariadbUri = process.env['TEST_MARIADB_URL'] ?? 'mysql://root@127.0.0.1:3306/test';
const hasMariadb =
  Boolean(process.env['CI']) || (await isReachable(Number(new URL(mariadbUri).port || 3306)));
if (!hasMariadb) console.warn('hard-orms.spec.ts: MariaDB is not reachable, its tests are skipped');

const TIMES = 100;
/** Prisma's client has its name in it. An embedded engine has one database. */
const TABLE = 'orm_orders';
const MARIADB_TABLE = `hard_orders_${process.pid}`;
const DATABASE = isEmbedded ? undefined : `hard_orms_${process.pid}`;

type Insert = (id: number) => Promise<unknown>;

/** An ORM with one connection. */
interface Orm {
  /** Runs it in a transaction that is committed when it has succeeded. */
  transaction(work: (insert: Insert) => Promise<void>): Promise<unknown>;
  count(): Promise<number>;
  close(): Promise<unknown>;
}

function url(): string {
  const found = new URL(databaseUrl());
  if (DATABASE !== undefined) found.pathname = DATABASE;
  return found.href;
}

async function runOn(connectionString: string, ...texts: string[]): Promise<void> {
  const client = new Client({ connectionString });
  await client.connect();
  for (const one of texts) await client.query(one);
  await client.end();
}

async function runOnMariadb(...texts: string[]): Promise<void> {
  const connection = await createConnection(mariadbUri);
  for (const one of texts) await connection.query(one);
  await connection.end();
}

interface Order {
  id: number;
  name: string;
}

async function typeorm(type: 'postgres' | 'mysql'): Promise<Orm> {
  const entity = new EntitySchema<Order>({
    name: type === 'postgres' ? TABLE : MARIADB_TABLE,
    columns: { id: { type: Number, primary: true }, name: { type: String } },
  });
  const source = await new DataSource({
    type,
    url: type === 'postgres' ? url() : mariadbUri,
    entities: [entity],
    poolSize: 1,
  }).initialize();
  return {
    transaction: work =>
      source.transaction(manager => work(id => manager.insert(entity, { id, name: 'one' }))),
    count: () => source.getRepository(entity).count(),
    close: () => source.destroy(),
  };
}

async function withDrizzle(): Promise<Orm> {
  const orders = pgTable(TABLE, { id: integer().primaryKey(), name: text().notNull() });
  const pool = new Pool({ connectionString: url(), max: 1 });
  const db = drizzle(pool);
  return {
    transaction: work =>
      db.transaction(inside => work(async id => inside.insert(orders).values({ id, name: 'one' }))),
    count: () => db.$count(orders),
    close: () => pool.end(),
  };
}

async function withDrizzleMysql(): Promise<Orm> {
  const orders = mysqlTable(MARIADB_TABLE, {
    id: int().primaryKey(),
    name: varchar({ length: 100 }).notNull(),
  });
  const pool = createPool({ uri: mariadbUri, connectionLimit: 1 });
  const db = drizzleMysql({ client: pool });
  return {
    transaction: work =>
      db.transaction(inside => work(async id => inside.insert(orders).values({ id, name: 'one' }))),
    count: () => db.$count(orders),
    close: () => pool.end(),
  };
}

async function withKnex(client: 'pg' | 'mysql2'): Promise<Orm> {
  const connection = client === 'pg' ? url() : mariadbUri;
  const table = client === 'pg' ? TABLE : MARIADB_TABLE;
  const knex = createKnex({ client, connection, pool: { min: 0, max: 1 } });
  return {
    transaction: work =>
      knex.transaction(inside => work(async id => inside(table).insert({ id, name: 'one' }))),
    count: async () => Number((await knex(table).count({ n: '*' }))[0]!['n']),
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
    clientUrl: url(),
    entities: [schema],
    pool: { min: 0, max: 1 },
    discovery: { warnWhenNoEntities: false },
  });
  return {
    transaction: work =>
      orm.em.fork().transactional(manager => work(id => manager.insert(schema, { id, name: 'one' }))),
    count: () => orm.em.fork().count(schema),
    close: () => orm.close(),
  };
}

interface PrismaLike {
  order: { create(query: unknown): Promise<unknown>; count(): Promise<number> };
  $transaction(work: (inside: PrismaLike) => Promise<void>): Promise<void>;
  $disconnect(): Promise<void>;
}

async function prisma(): Promise<Orm> {
  const PrismaClient = await generatePrisma<PrismaLike>('test/budget/prisma/schema.prisma', 'prisma-hard');
  const client = new PrismaClient({ adapter: new PrismaPg({ connectionString: url(), max: 1 }) });
  return {
    transaction: work =>
      client.$transaction(inside => work(id => inside.order.create({ data: { id, name: 'one' } }))),
    count: () => client.order.count(),
    close: () => client.$disconnect(),
  };
}

let orm: Orm;

@Controller()
@QueryBudget({ hard: { writes: 2 } })
class OrdersController {
  /** As a handler does that goes on with what it has. */
  @Get('caught/:n')
  async caught(@Param('n') n: string) {
    await orm.transaction(async insert => {
      for (let i = 0; i < 3; i++) await insert(10 * Number(n) + i).catch(() => undefined);
    });
  }

  @Get('propagated/:n')
  async propagated(@Param('n') n: string) {
    await orm.transaction(async insert => {
      for (let i = 0; i < 3; i++) await insert(10 * Number(n) + i);
    });
  }

  @Get('allowed')
  async allowed() {
    await orm.transaction(async insert => {
      for (let i = 0; i < 2; i++) await insert(100_000 + i);
    });
  }
}

const create = (table: string): string =>
  `CREATE TABLE ${table} (id int PRIMARY KEY, name varchar(100) NOT NULL)`;
const drop = (table: string): string => `DROP TABLE IF EXISTS ${table}`;

beforeAll(async () => {
  if (DATABASE !== undefined) await runOn(databaseUrl(), `CREATE DATABASE ${DATABASE}`);
  await runOn(url(), drop(TABLE), create(TABLE));
  if (hasMariadb) await runOnMariadb(create(MARIADB_TABLE));
});
afterAll(async () => {
  await runOn(url(), drop(TABLE));
  if (DATABASE !== undefined) await runOn(databaseUrl(), `DROP DATABASE ${DATABASE} WITH (FORCE)`);
  if (hasMariadb) await runOnMariadb(drop(MARIADB_TABLE));
});

const onPostgres: [name: string, open: () => Promise<Orm>][] = [
  ['TypeORM', () => typeorm('postgres')],
  ['Drizzle', withDrizzle],
  ['Knex', () => withKnex('pg')],
  ['MikroORM', mikro],
  ['Prisma with adapter-pg', prisma],
];
const onMariadb: typeof onPostgres = hasMariadb
  ? [
      ['TypeORM on MariaDB', () => typeorm('mysql')],
      ['Drizzle on MariaDB', withDrizzleMysql],
      ['Knex on MariaDB', () => withKnex('mysql2')],
    ]
  : [];

const all = [...onPostgres, ...onMariadb].flatMap(([name, open]) =>
  platforms.map(platform => [name, platform, open] as const),
);

describe.each(all)('a hard breach in a transaction of %s, on %s', (_name, platform, open) => {
  let test: TestApp;

  beforeAll(async () => {
    test = await startApp({ platform, controllers: [OrdersController], breachWindowMs: 0 });
    orm = await open();
    await orm.count();
  });
  afterAll(async () => {
    await orm.close();
    await test.close();
  });

  it.each(['caught', 'propagated'])(
    `keeps nothing, ${TIMES} times on one connection, where it is %s`,
    async path => {
      const bodies = new Set<string>();
      for (let n = 0; n < TIMES; n++) {
        const response = await fetch(`${test.url}/${path}/${n}`);
        expect(response.status).toBe(503);
        bodies.add(await response.text());
      }
      expect([...bodies]).toEqual([expect.stringContaining('"reason":"hard-budget"')]);
      expect([...bodies][0]).not.toMatch(/orm_orders|INSERT/i);
      expect(await orm.count()).toBe(0);
    },
  );

  it('leaves the connection to whoever keeps to the limit', async () => {
    expect((await fetch(`${test.url}/allowed`)).status).toBe(200);
    expect(await orm.count()).toBe(2);
    await runOn(url(), `DELETE FROM ${TABLE}`);
    if (hasMariadb) await runOnMariadb(`DELETE FROM ${MARIADB_TABLE}`);
  });
});
