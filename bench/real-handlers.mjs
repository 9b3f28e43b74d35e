/**
 * What `real.mjs` measures. `prepare` runs in the process of the run and gives what undoes it; `connect` runs in the
 * server and gives the work of a request, which is counted as `counts`. Drivers are imported after OpenTelemetry.
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { Child } from './child.mjs';
import { createOrders, SERVER_URL } from './postgres.mjs';

/** Of this run alone: another may be under way on the same servers. */
const TABLE = process.env.BENCH_TABLE;
const MARIADB_URL = process.env.MARIADB_URL ?? 'mysql://root@127.0.0.1:3306/test';
/** All servers are up at once and one is under load: the others give their connections back. */
const POOL = { connectionString: SERVER_URL, max: 8, idleTimeoutMillis: 2_000 };

const pgPool = async () => new (await import('pg')).Pool(POOL);
const mariadbPool = async () =>
  (await import('mysql2/promise')).createPool({ uri: MARIADB_URL, connectionLimit: 8, idleTimeout: 2_000 });
const redisClient = async () =>
  new (await import('ioredis')).Redis({ retryStrategy: () => null }).on('error', () => {});

let last = 0;
/** The first of ten orders, another one each time. */
const nextId = () => (last = (last % 990) + 1);

/** Calls one after the other; each gives how many it has found. */
async function inTurn(list, call) {
  let found = 0;
  for (const one of list) found += await call(one);
  return { found };
}

const prepareOrders = async () => createOrders(await pgPool(), TABLE);
const onOrders = (queries, connect) => ({ counts: { queries }, prepare: prepareOrders, connect });

const pgQueries = columns =>
  onOrders(columns.length, async () => {
    const pool = await pgPool();
    const texts = columns.map(list => `SELECT ${list} FROM ${TABLE} WHERE id = $1`);
    return () => inTurn(texts, async text => (await pool.query(text, [nextId()])).rows.length);
  });

async function pgTransaction() {
  const pool = await pgPool();
  return async (id = nextId()) => {
    const client = await pool.connect();
    try {
      await client.query('BEGIN');
      await client.query(`SELECT id, name FROM ${TABLE} WHERE id = $1`, [id]);
      const { rows } = await client.query(`SELECT id FROM ${TABLE}_items WHERE order_id = $1`, [id]);
      await client.query(`UPDATE ${TABLE} SET seen = seen + 1 WHERE id = $1`, [id]);
      await client.query('COMMIT');
      return { found: rows.length };
    } finally {
      client.release();
    }
  };
}

async function typeorm() {
  const { Between, DataSource, EntitySchema } = await import('typeorm');
  const columns = { id: { type: Number, primary: true }, name: { type: String } };
  const items = { type: 'one-to-many', target: 'Item', inverseSide: 'order' };
  const order = { type: 'many-to-one', target: 'Order', joinColumn: { name: 'order_id' } };
  const entities = [
    new EntitySchema({ name: 'Order', tableName: TABLE, columns, relations: { items } }),
    new EntitySchema({ name: 'Item', tableName: `${TABLE}_items`, columns, relations: { order } }),
  ];
  const source = new DataSource({ type: 'postgres', url: SERVER_URL, extra: POOL, entities });
  const orders = (await source.initialize()).getRepository('Order');
  const find = id => orders.find({ where: { id: Between(id, id + 4) }, relations: { items: true } });
  return () => find(nextId());
}

const PRISMA = fileURLToPath(new URL(`../.cache/${TABLE}/`, import.meta.url));

async function preparePrisma() {
  const schema = `generator client {\nprovider = "prisma-client-js"\noutput = "./client"\n}
    datasource db {\nprovider = "postgresql"\n}
    model Order {\nid Int @id\nname String\n@@map("${TABLE}")\n}`;
  mkdirSync(PRISMA, { recursive: true });
  writeFileSync(`${PRISMA}schema.prisma`, schema);
  const cli = fileURLToPath(import.meta.resolve('prisma/build/index.js'));
  const call = [cli, 'generate', '--schema', `${PRISMA}schema.prisma`];
  // The schema engine is a download and is needed for migrations only.
  const env = { ...process.env, PRISMA_SCHEMA_ENGINE_BINARY: '/bin/true', CHECKPOINT_DISABLE: '1' };
  execFileSync(process.execPath, call, { env, stdio: 'ignore' });
  const drop = await prepareOrders();
  return () => drop().finally(() => rmSync(PRISMA, { recursive: true }));
}

async function prisma() {
  const { PrismaPg } = await import('@prisma/adapter-pg');
  const { PrismaClient } = await import(`${PRISMA}client/index.js`);
  const { order } = new PrismaClient({ adapter: new PrismaPg(POOL) });
  const find = async id => (await order.findMany({ where: { id: { gte: id, lt: id + 5 } } })).length;
  return () => inTurn([nextId(), nextId()], find);
}

const redis = {
  counts: { cache: 10 },
  openTelemetry: '@opentelemetry/instrumentation-ioredis',
  prepare: async () => {
    const client = await redisClient();
    await client.ping();
    return () => client.del(TABLE).finally(() => client.disconnect());
  },
  connect: async () => {
    const client = await redisClient();
    const setAndGet = async id => {
      await client.hset(TABLE, id, 'order');
      return (await client.hget(TABLE, id)).length;
    };
    return () => inTurn(Array.from({ length: 5 }, nextId), setAndGet);
  },
};

const mariadb = {
  counts: { queries: 5 },
  openTelemetry: '@opentelemetry/instrumentation-mysql2',
  prepare: async () => {
    const pool = await mariadbPool();
    const rows = "SELECT seq AS id, 'order' AS name FROM seq_1_to_1000";
    await pool.query(`CREATE TABLE ${TABLE} (id INT PRIMARY KEY) ${rows}`);
    return () => pool.query(`DROP TABLE ${TABLE}`).finally(() => pool.end());
  },
  connect: async () => {
    const pool = await mariadbPool();
    const texts = Array(5).fill(`SELECT id, name FROM ${TABLE} WHERE id = ?`);
    return () => inTurn(texts, async text => (await pool.query(text, [nextId()]))[0].length);
  },
};

const outboundFetch = {
  counts: { http: 1 },
  openTelemetry: '@opentelemetry/instrumentation-undici',
  prepare: async () => {
    const target = new Child('./server.mjs', { args: ['bare', 'fastify', 'none'] });
    process.env.BENCH_TARGET = `http://127.0.0.1:${(await target.answer()).port}/hello`;
    return () => target.end();
  },
  connect: () => async () => (await fetch(process.env.BENCH_TARGET)).text(),
};

export const HANDLERS = {
  'pg-query': pgQueries(Array(5).fill('id, name')),
  'pg-shapes': pgQueries(['id', 'name', 'seen', 'id, name', 'id, seen']),
  'pg-transaction': onOrders(3, pgTransaction),
  typeorm: onOrders(1, typeorm),
  prisma: { ...onOrders(2, prisma), prepare: preparePrisma },
  redis,
  mariadb,
  fetch: outboundFetch,
};
