import { once } from 'node:events';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { drizzle } from 'drizzle-orm/mysql2';
import { eq } from 'drizzle-orm';
import { int, mysqlTable, varchar } from 'drizzle-orm/mysql-core';
import createKnex from 'knex';
import { Kysely, MysqlDialect } from 'kysely';
import mysql from 'mysql2';
import { createConnection, createPool, type Connection, type Pool, type RowDataPacket } from 'mysql2/promise';
import { DataTypes, Sequelize } from 'sequelize';
import { DataSource, EntitySchema } from 'typeorm';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { mysql2Instrumentation } from '../../lib/drivers/mysql2/mysql2.driver';
import { startApp, type TestApp } from '../support/platforms';
import { recordOfUnit } from '../support/units';
import { proven, repeatsOf } from '../support/repeats-of-unit';

const uri = process.env['TEST_MARIADB_URL'] ?? 'mysql://root@127.0.0.1:3306/test';
const orders = `orders_${process.pid}`;
const lines = `order_lines_${process.pid}`;
const scans = `scans_${process.pid}`;
const list = `list_orders_${process.pid}`;

/** Irregular, as 1, 2, 3 is asked for by whoever counts. */
const ids = [11, 1_204, 1_377, 4_096, 5_003, 7_919, 8_128, 9_461];
const LIST = `SELECT id, buyer_id FROM ${orders} ORDER BY id`;
const LINES = `SELECT * FROM ${lines} WHERE order_id = ?`;
/** What is to be found of LIST and LINES. */
const linesOfOrders = [proven(lines, orders, 'id')];

type Row = Record<string, unknown>;
type Ask = (id: unknown) => Promise<unknown>;

let test: TestApp;
let connection: Connection;
let pool: Pool;
let raw: mysql.Connection;
let rawPool: mysql.Pool;

const asking: Ask = id => connection.query(LINES, [id]);
const each = async (values: Iterable<unknown>, ask: Ask = asking): Promise<void> => {
  for (const value of values) await ask(value);
};
const idsOf = (rows: unknown): unknown[] => (rows as Row[]).map(({ id }) => id);
const byCallback = <T = unknown>(
  run: (done: (error: unknown, result?: unknown) => void) => unknown,
): Promise<T> =>
  new Promise((resolve, reject) =>
    run((error, result) => (error ? reject(error as Error) : resolve(result as T))),
  );

beforeAll(async () => {
  test = await startApp({ instrumentations: [mysql2Instrumentation()] });
  connection = await createConnection({ uri, multipleStatements: true });
  await connection.query(`CREATE TABLE ${orders} (id bigint PRIMARY KEY, buyer_id int, uuid binary(16))`);
  await connection.query(`CREATE TABLE ${lines} (order_id bigint, n int, text varchar(9))`);
  await connection.query(`CREATE TABLE ${scans} (order_uuid binary(16))`);
  for (const id of ids)
    await connection.query(`INSERT INTO ${orders} VALUES (?, ?, UNHEX(MD5(?)))`, [id, id * 7, id]);
  await connection.query(`INSERT INTO ${lines} SELECT id, 1, 'a' FROM ${orders}`);
  await connection.query(`CREATE PROCEDURE ${list}() BEGIN ${LIST}; END`);
  pool = createPool({ uri, connectionLimit: 2 });
  raw = mysql.createConnection(uri);
  rawPool = mysql.createPool({ uri, connectionLimit: 2 });
});
afterAll(async () => {
  await connection.query(`DROP PROCEDURE ${list}`);
  await connection.query(`DROP TABLE ${orders}, ${lines}, ${scans}`);
  await Promise.all([connection.end(), pool.end(), raw.promise().end(), rawPool.promise().end()]);
  await test.close();
});

describe('the rows of mysql2 show what a statement is run for', () => {
  it.each<[string, () => Promise<unknown>]>([
    ['query of a connection', async () => each(idsOf((await connection.query(LIST))[0]))],
    ['query of a pool', async () => each(idsOf((await pool.query(LIST))[0]))],
    ['execute of a connection', async () => each(idsOf((await connection.execute(LIST))[0]))],
    ['execute of a pool', async () => each(idsOf((await pool.execute(LIST))[0]))],
    [
      'a connection of a pool',
      async () => {
        const one = await pool.getConnection();
        const [rows] = await one.query(LIST);
        await each(idsOf(rows), id => one.query(LINES, [id]));
        one.release();
      },
    ],
    [
      'prepared by hand',
      async () => {
        const statement = await connection.prepare(LIST);
        const [rows] = (await statement.execute([])) as [unknown, unknown];
        const child = await connection.prepare(LINES);
        await each(idsOf(rows), id => child.execute([id]));
      },
    ],
    ['query with a callback', async () => each(idsOf(await byCallback(done => raw.query(LIST, done))))],
    ['execute with a callback', async () => each(idsOf(await byCallback(done => raw.execute(LIST, done))))],
    [
      'query of a pool with callbacks',
      async () => each(idsOf(await byCallback(done => rawPool.query(LIST, done)))),
    ],
    [
      'execute of a pool with callbacks',
      async () => each(idsOf(await byCallback(done => rawPool.execute(LIST, [], done)))),
    ],
    [
      'rows as arrays',
      async () => {
        const [rows] = await connection.query({ sql: LIST, rowsAsArray: true });
        await each((rows as unknown[][]).map(([id]) => id));
      },
    ],
    [
      'rows as arrays, executed',
      async () => {
        const [rows] = await connection.execute({ sql: LIST, rowsAsArray: true });
        await each((rows as unknown[][]).map(([id]) => id));
      },
    ],
    [
      'values of a function that reads them',
      async () => {
        const typeCast = (field: { string(): string | null }): unknown => field.string();
        await each(idsOf((await connection.query({ sql: LIST, typeCast }))[0]));
      },
    ],
    [
      'numbers as text',
      async () => {
        const options = { sql: LIST, supportBigNumbers: true, bigNumberStrings: true };
        const [rows] = await connection.query<RowDataPacket[]>(options);
        expect(rows[0]).toEqual({ id: '11', buyer_id: 77 });
        await each(idsOf(rows), id => connection.query(LINES, [Number(id)]));
      },
    ],
    ['BigInt', async () => each(idsOf((await connection.query(LIST))[0]).map(id => BigInt(id as number)))],
    [
      'the first of two results',
      async () => {
        const [[rows]] = await connection.query<RowDataPacket[][]>(`${LIST}; SELECT 1 AS one`);
        await each(idsOf(rows));
      },
    ],
    [
      'the first of two that has rows',
      async () => {
        const [[, rows]] = await connection.query<RowDataPacket[][]>(`SET @a = 1; ${LIST}`);
        await each(idsOf(rows));
      },
    ],
    [
      'rows as arrays, the first of two results',
      async () => {
        const [[rows]] = (await connection.query({
          sql: `${LIST}; SELECT 1 AS one`,
          rowsAsArray: true,
        })) as unknown as [unknown[][][]];
        await each(rows!.map(([id]) => id));
      },
    ],
    [
      'a stream',
      async () => {
        for await (const { id } of raw.query(LIST).stream()) await asking(id);
      },
    ],
    [
      'a stream of a pool',
      async () => {
        for await (const { id } of rawPool.query(LIST).stream()) await asking(id);
      },
    ],
    [
      'a stream that is executed',
      async () => {
        for await (const { id } of raw.execute(LIST).stream()) await asking(id);
      },
    ],
    [
      'a stream of arrays',
      async () => {
        for await (const [id] of raw.query({ sql: LIST, rowsAsArray: true }).stream()) await asking(id);
      },
    ],
    [
      'events',
      async () => {
        const found: unknown[] = [];
        await once(
          raw.query(LIST).on('result', row => found.push(row)),
          'end',
        );
        await each(idsOf(found));
      },
    ],
    [
      'events of what was prepared by hand',
      async () => {
        const statement = await byCallback<{ execute(values: unknown[]): NodeJS.EventEmitter }>(done =>
          raw.prepare(LIST, done),
        );
        const found: unknown[] = [];
        await once(
          statement.execute([]).on('result', row => found.push(row)),
          'end',
        );
        await each(idsOf(found));
      },
    ],
  ])('%s', async (_what, work) => {
    expect(await repeatsOf(test, work)).toEqual(linesOfOrders);
  });

  it('of a procedure', async () => {
    const [[rows]] = await connection.query<RowDataPacket[][]>(`CALL ${list}()`);
    expect(idsOf(rows)).toEqual(ids);
    const found = await repeatsOf(test, async () => {
      const [[some]] = await connection.query<RowDataPacket[][]>(`CALL ${list}()`);
      await each(idsOf(some));
    });
    expect(found).toMatchObject([{ table: lines, confidence: 'proven', parents: [{ column: 'id' }] }]);
  });

  it('of tables that are nested', async () => {
    const ofOrders = `FROM ${orders} JOIN ${lines} ON order_id = id ORDER BY id`;
    const joined = `SELECT ${orders}.id, ${lines}.n ${ofOrders}`;
    const found = await repeatsOf(test, async () => {
      const [rows] = await connection.query<RowDataPacket[]>({ sql: joined, nestTables: true });
      await each(rows.map(row => (row[orders] as Row)['id']));
    });
    expect(found).toEqual([proven(lines, orders, `${orders}.id`)]);
    const withAlias = `SELECT o.id FROM ${orders} o ORDER BY id`;
    const flat = await repeatsOf(test, async () => {
      const [rows] = await connection.query<RowDataPacket[]>({ sql: withAlias, nestTables: '_' });
      await each(rows.map(row => row['o_id']));
    });
    expect(flat).toEqual(linesOfOrders);
  });

  it('by bytes', async () => {
    const found = await repeatsOf(test, async () => {
      const [rows] = await pool.query<RowDataPacket[]>(`SELECT id, uuid FROM ${orders} ORDER BY id`);
      await each(
        rows.map(({ uuid }) => uuid),
        uuid => pool.execute(`SELECT * FROM ${scans} WHERE order_uuid = ?`, [uuid as Buffer]),
      );
    });
    expect(found).toEqual([proven(scans, orders, 'uuid')]);
  });

  it('of a stream that is long, by its first rows', async () => {
    const many = `SELECT o.id * 100 + n.seq AS id FROM ${orders} o JOIN seq_1_to_100 n ORDER BY n.seq DESC, o.id`;
    let asked = 0;
    const record = await recordOfUnit(test, async () => {
      for await (const { id } of raw.query(many).stream()) {
        await asking(id);
        asked += 1;
      }
    });
    expect(asked).toBe(800);
    expect(record.findings).toMatchObject([{ table: lines, confidence: 'proven', count: 800 }]);
  });
});

describe('the values that mysql2 is given are read', () => {
  it.each<[string, Ask]>([
    ['one that is no list', id => connection.query(LINES, id as number)],
    ['in the options', id => connection.query({ sql: LINES, values: [id] })],
    ['beside the options', id => connection.execute({ sql: LINES }, [id as number])],
    [
      'alone in the options',
      id => byCallback(done => rawPool.query({ sql: LINES, values: id as number }, done)),
    ],
    ['with a name of the table', id => connection.query('SELECT * FROM ?? WHERE order_id = ?', [lines, id])],
    ['in a list of one', id => connection.query(`SELECT * FROM ${lines} WHERE order_id IN (?)`, [[id]])],
    [
      'written into the text',
      id => connection.query(`SELECT * FROM ${lines} WHERE order_id = ${String(id)}`),
    ],
    [
      'by name',
      id =>
        connection.query(
          { sql: `SELECT * FROM ${lines} WHERE n > :n AND order_id = :id`, namedPlaceholders: true },
          { n: 0, id: id as number },
        ),
    ],
    [
      'by name, executed',
      id =>
        connection.execute(
          { sql: `SELECT * FROM ${lines} WHERE n > :n AND order_id = :id`, namedPlaceholders: true },
          { n: 0, id: id as number },
        ),
    ],
    [
      'by name, in the options',
      id =>
        pool.query({
          sql: `SELECT * FROM ${lines} WHERE order_id = :id`,
          namedPlaceholders: true,
          values: { id: id as number },
        }),
    ],
  ])('%s', async (_what, ask) => {
    const found = await repeatsOf(test, async () => each(idsOf((await pool.query(LIST))[0]), ask));
    expect(found).toEqual(linesOfOrders);
  });

  it('but no getter of the options is called once more', async () => {
    let asked = 0;
    const options = {
      sql: `SELECT * FROM ${lines} WHERE order_id = :id`,
      namedPlaceholders: true,
      get values() {
        asked += 1;
        return { id: 11 };
      },
    };
    // Spread, and read, as the driver does without this package.
    await connection.query(options);
    const alone = asked;
    await recordOfUnit(test, () => connection.query(options));
    expect(asked).toBe(2 * alone);
  });

  it('and several at once are a batch', async () => {
    const found = await repeatsOf(test, async () => {
      const all = idsOf((await pool.query(LIST))[0]);
      for (let i = 0; i < all.length; i += 2)
        await pool.query(`SELECT * FROM ${lines} WHERE order_id IN (?)`, [all.slice(i, i + 2)]);
      for (const id of all) {
        await pool.query(`INSERT INTO ${lines} (order_id, n) VALUES ?`, [
          [
            [id, 2],
            [id, 3],
          ],
        ]);
      }
    });
    expect(found.filter(({ confidence }) => confidence === 'proven')).toEqual([]);
  });
});

it('a loop over the databases of tenants is no N+1 of mysql2', async () => {
  const tenants = ids.slice(0, 4).map(id => ({ id, name: `tenant_${process.pid}_${id}` }));
  for (const { name } of tenants) {
    await connection.query(`CREATE DATABASE ${name}`);
    await connection.query(`CREATE TABLE ${name}.${lines} (order_id int)`);
  }
  const pools = new Map(
    tenants.map(({ id, name }) => [id, createPool({ uri: new URL(`/${name}`, uri).href })]),
  );
  const found = await repeatsOf(test, async () => {
    const [rows] = await connection.query<RowDataPacket[]>(`${LIST} LIMIT 4`);
    await each(idsOf(rows), id => pools.get(id as number)!.query(LINES, [id]));
  });
  for (const one of pools.values()) await one.end();
  for (const { name } of tenants) await connection.query(`DROP DATABASE ${name}`);
  expect(found).toEqual([]);
});

describe('what the application gets of mysql2 is as it was', () => {
  const plain = ids.map(id => ({ id, buyer_id: id * 7 }));

  it('rows and columns', async () => {
    await recordOfUnit(test, async () => {
      const [rows, fields] = await connection.query<RowDataPacket[]>(LIST);
      expect(rows).toEqual(plain);
      expect(Object.getOwnPropertyNames(rows)).toEqual([...ids.map((_, i) => String(i)), 'length']);
      expect(fields.map(({ name }) => name)).toEqual(['id', 'buyer_id']);
      const [arrays] = await connection.execute({ sql: LIST, rowsAsArray: true });
      expect(arrays).toEqual(plain.map(row => Object.values(row)));
      const [both] = await connection.query(`${LIST}; SELECT 1 AS one`);
      expect(both).toEqual([plain, [{ one: 1 }]]);
    });
  });

  it('a stream', async () => {
    await recordOfUnit(test, async () => {
      expect(await raw.query(LIST).stream().toArray()).toEqual(plain);
      expect(await raw.query(`${LIST} DESC`).stream({ highWaterMark: 2 }).toArray()).toEqual(
        plain.toReversed(),
      );
    });
  });

  it('rows that it changes', async () => {
    const found = await repeatsOf(test, async () => {
      const [rows] = await connection.query<RowDataPacket[]>(LIST);
      for (let row = rows.shift(); row !== undefined; row = rows.shift()) await asking(row['id']);
    });
    expect(found).toEqual(linesOfOrders);
  });

  it('no rows, and errors', async () => {
    const none = `SELECT id FROM ${orders} WHERE id < 0`;
    const record = await recordOfUnit(test, async () => {
      expect((await connection.query(none))[0]).toEqual([]);
      expect((await connection.execute({ sql: none, rowsAsArray: true }))[0]).toEqual([]);
      expect(await raw.query(none).stream().toArray()).toEqual([]);
      expect((await connection.query(`${none}; ${none}`))[0]).toEqual([[], []]);
      for (const ask of ids
        .slice(3)
        .map(id => () => connection.query(`SELECT * FROM nowhere WHERE id = ?`, [id])))
        await expect(ask()).rejects.toThrow('nowhere');
      await expect(raw.query('SELECT * FROM nowhere').stream().toArray()).rejects.toThrow('nowhere');
      await expect(connection.query(`${LIST}; SELECT * FROM nowhere`)).rejects.toThrow('nowhere');
    });
    expect(record.findings?.filter(({ kind }) => kind === 'n-plus-one') ?? []).toEqual([]);
  });

  it('nor is a value recorded', async () => {
    const record = await recordOfUnit(test, async () => {
      const [rows] = await connection.query<RowDataPacket[]>(
        `SELECT CONCAT('SECRET-', id) AS text FROM ${orders} ORDER BY id`,
      );
      await each(
        rows.map(({ text }) => text),
        text => connection.query(`SELECT * FROM ${lines} WHERE text = ?`, [text]),
      );
      await nextTurn();
    });
    expect(record.queries.count).toBe(1 + ids.length);
    expect(JSON.stringify(record)).not.toContain('SECRET');
  });
});

describe('an N+1 of mysql2 is named through', () => {
  it('TypeORM', async () => {
    const columns = {
      id: { type: Number, primary: true },
      buyerId: { type: Number, name: 'buyer_id' },
    } as const;
    const Order = new EntitySchema<{ id: number; buyerId: number }>({
      name: 'Order',
      tableName: orders,
      columns,
    });
    const Line = new EntitySchema<{ orderId: number; n: number }>({
      name: 'Line',
      tableName: lines,
      columns: { orderId: { type: Number, name: 'order_id', primary: true }, n: { type: Number } },
    });
    const source = await new DataSource({ type: 'mysql', url: uri, entities: [Order, Line] }).initialize();
    const found = await repeatsOf(test, async () => {
      for (const { id } of await source.getRepository(Order).find({ order: { id: 'ASC' } }))
        await source.getRepository(Line).findBy({ orderId: id });
    });
    const streamed = await repeatsOf(test, async () => {
      const rows = await source.getRepository(Order).createQueryBuilder('Order').orderBy('Order.id').stream();
      for await (const row of rows)
        await source.getRepository(Line).findBy({ orderId: (row as Row)['Order_id'] as number });
    });
    await source.destroy();
    expect(found).toEqual(linesOfOrders);
    expect(streamed).toEqual(linesOfOrders);
  });

  it('Sequelize', async () => {
    const db = new Sequelize(uri, { logging: false });
    const of = { timestamps: false };
    const Order = db.define('order', { buyer_id: DataTypes.INTEGER }, { ...of, tableName: orders });
    const Line = db.define(
      'line',
      { order_id: { type: DataTypes.BIGINT, primaryKey: true } },
      { ...of, tableName: lines },
    );
    const found = await repeatsOf(test, async () => {
      for (const order of await Order.findAll({ order: ['id'] }))
        await Line.findAll({ where: { order_id: order.get('id') as number } });
    });
    await db.close();
    expect(found).toEqual(linesOfOrders);
  });

  it('Knex', async () => {
    const db = createKnex({ client: 'mysql2', connection: uri });
    const found = await repeatsOf(test, async () => {
      for (const { id } of await db(orders).select('id').orderBy('id'))
        await db(lines).where({ order_id: id });
    });
    const streamed = await repeatsOf(test, async () => {
      for await (const { id } of db(orders).select('id').orderBy('id').stream())
        await db(lines).where({ order_id: id });
    });
    await db.destroy();
    expect(found).toEqual(linesOfOrders);
    expect(streamed).toEqual(linesOfOrders);
  });

  it('Drizzle', async () => {
    const Orders = mysqlTable(orders, { id: int('id').primaryKey(), buyer: int('buyer_id') });
    const Lines = mysqlTable(lines, {
      order: int('order_id'),
      n: int('n'),
      text: varchar('text', { length: 9 }),
    });
    const db = drizzle(pool);
    const found = await repeatsOf(test, async () => {
      for (const { id } of await db.select().from(Orders).orderBy(Orders.id))
        await db.select().from(Lines).where(eq(Lines.order, id));
    });
    const all = db.select().from(Orders).orderBy(Orders.id).prepare();
    const streamed = await repeatsOf(test, async () => {
      for await (const { id } of all.iterator()) await db.select().from(Lines).where(eq(Lines.order, id));
    });
    expect(found).toEqual(linesOfOrders);
    expect(streamed).toEqual(linesOfOrders);
  });

  it('Kysely', async () => {
    const db = new Kysely<Record<string, { id: number; order_id: number }>>({
      dialect: new MysqlDialect({ pool: mysql.createPool(uri) }),
    });
    const all = db.selectFrom(orders).select('id').orderBy('id');
    const one = (id: number) => db.selectFrom(lines).selectAll().where('order_id', '=', id).execute();
    const found = await repeatsOf(test, async () => {
      for (const { id } of await all.execute()) await one(id);
    });
    const streamed = await repeatsOf(test, async () => {
      for await (const { id } of all.stream()) await one(id);
    });
    await db.destroy();
    expect(found).toEqual(linesOfOrders);
    expect(streamed).toEqual(linesOfOrders);
  });
});
