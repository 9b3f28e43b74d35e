import { once } from 'node:events';
import { createRequire } from 'node:module';
import { createConnection, createPool, type Connection, type Pool } from 'mariadb';
import type * as Callbacks from 'mariadb/callback';
import { DataTypes, Sequelize } from 'sequelize';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { mariadbInstrumentation } from '../../lib/drivers/mariadb/mariadb.driver';
import { parametersOf } from '../../lib/drivers/mariadb/mariadb-params';
import { startApp, type TestApp } from '../support/platforms';
import { proven, repeatsOf } from '../support/repeats-of-unit';
import { recordOfUnit } from '../support/units';

const address = new URL(process.env['TEST_MARIADB_URL'] ?? 'mysql://root@127.0.0.1:3306/test');
const options = {
  host: address.hostname,
  port: Number(address.port || 3306),
  user: decodeURIComponent(address.username),
  password: decodeURIComponent(address.password),
  database: address.pathname.slice(1),
};
const orders = `orders_${process.pid}`;
const lines = `order_lines_${process.pid}`;
const scans = `scans_${process.pid}`;
const exported = `exports_${process.pid}`;
const list = `list_orders_${process.pid}`;

/** Irregular, as 1, 2, 3 is asked for by whoever counts. */
const ids = [11, 1_204, 1_377, 4_096, 5_003, 7_919, 8_128, 9_461];
const LIST = `SELECT id, buyer_id FROM ${orders} ORDER BY id`;
const LINES = `SELECT * FROM ${lines} WHERE order_id = ?`;
/** What is to be found of LIST and LINES. */
const linesOfOrders = [proven(lines, orders, 'id')];

type Row = Record<string, unknown>;
type Ask = (id: unknown) => Promise<unknown>;

const load = createRequire(import.meta.url);
const callbacks = load('mariadb/callback') as typeof Callbacks;
// The build that Sequelize has.
load('mariadb');

let test: TestApp;
let connection: Connection;
let pool: Pool;
let raw: Callbacks.Connection;
let rawPool: Callbacks.Pool;

const asking: Ask = id => pool.query(LINES, [id]);
const each = async (values: Iterable<unknown>, ask: Ask = asking): Promise<void> => {
  for (const value of values) await ask(value);
};
const idsOf = (rows: unknown): unknown[] => (rows as Row[]).map(({ id }) => id);
const firstOf = (rows: unknown): unknown[] => (rows as unknown[][]).map(([id]) => id);
const byCallback = <T = unknown>(
  run: (done: (error: unknown, result?: unknown) => void) => unknown,
): Promise<T> =>
  new Promise((resolve, reject) =>
    run((error, result) => (error ? reject(error as Error) : resolve(result as T))),
  );

beforeAll(async () => {
  test = await startApp({ instrumentations: [mariadbInstrumentation()] });
  connection = await createConnection({ ...options, multipleStatements: true });
  await connection.query(`CREATE TABLE ${orders} (id bigint PRIMARY KEY, buyer_id int, uuid binary(16))`);
  await connection.query(`CREATE TABLE ${lines} (order_id bigint, n int, text varchar(9))`);
  await connection.query(`CREATE TABLE ${scans} (order_uuid binary(16))`);
  await connection.query(`CREATE TABLE ${exported} (order_id bigint, format varchar(9))`);
  for (const id of ids)
    await connection.query(`INSERT INTO ${orders} VALUES (?, ?, UNHEX(MD5(?)))`, [id, id * 7, id]);
  await connection.query(`INSERT INTO ${lines} SELECT id, 1, 'a' FROM ${orders}`);
  await connection.query(`CREATE PROCEDURE ${list}() BEGIN ${LIST}; END`);
  pool = createPool({ ...options, connectionLimit: 2 });
  rawPool = callbacks.createPool({ ...options, connectionLimit: 2 });
  raw = callbacks.createConnection({ ...options, multipleStatements: true });
  await byCallback(done => raw.ping(done as never));
});
afterAll(async () => {
  await connection.query(`DROP PROCEDURE ${list}`);
  await connection.query(`DROP TABLE ${orders}, ${lines}, ${scans}, ${exported}`);
  await Promise.all([
    connection.end(),
    pool.end(),
    byCallback(done => raw.end(done)),
    byCallback(done => rawPool.end(done)),
  ]);
  await test.close();
});

describe('the rows of mariadb show what a statement is run for', () => {
  it.each<[string, () => Promise<unknown>]>([
    ['query of a connection', async () => each(idsOf(await connection.query(LIST)))],
    ['query of a pool', async () => each(idsOf(await pool.query(LIST)))],
    ['execute of a connection', async () => each(idsOf(await connection.execute(LIST)))],
    ['execute of a pool', async () => each(idsOf(await pool.execute(LIST)))],
    [
      'a connection of a pool',
      async () => {
        const one = await pool.getConnection();
        await each(idsOf(await one.query(LIST)), id => one.query(LINES, [id]));
        await one.release();
      },
    ],
    [
      'prepared by hand',
      async () => {
        const statement = await connection.prepare(LIST);
        const child = await connection.prepare(LINES);
        await each(idsOf(await statement.execute()), id => child.execute([id]));
        statement.close();
        child.close();
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
      async () => each(idsOf(await byCallback(done => rawPool.execute(LIST, done)))),
    ],
    [
      'prepared by hand, with callbacks',
      async () => {
        const statement = await byCallback<Callbacks.Prepare>(done => raw.prepare(LIST, done as never));
        await each(idsOf(await byCallback(done => statement.execute([], done as never))));
        statement.close();
      },
    ],
    ['rows as arrays', async () => each(firstOf(await connection.query({ sql: LIST, rowsAsArray: true })))],
    [
      'rows as arrays, executed',
      async () => each(firstOf(await pool.execute({ sql: LIST, rowsAsArray: true }))),
    ],
    [
      'rows as arrays, with a callback',
      async () =>
        each(firstOf(await byCallback(done => raw.query({ sql: LIST, rowsAsArray: true }, done as never)))),
    ],
    [
      'rows and their columns',
      async () => {
        const [rows] = await connection.query({ sql: LIST, metaAsArray: true });
        await each(idsOf(rows));
      },
    ],
    [
      'rows as arrays, and their columns',
      async () => {
        const [rows] = await pool.query({ sql: LIST, metaAsArray: true, rowsAsArray: true });
        await each(firstOf(rows));
      },
    ],
    [
      'columns that are enumerable',
      async () => each(idsOf(await connection.query({ sql: LIST, metaEnumerable: true } as never))),
    ],
    [
      'numbers as text',
      async () => {
        const rows = await connection.query<Row[]>({
          sql: LIST,
          supportBigNumbers: true,
          bigNumberStrings: true,
        });
        await each(idsOf(rows).map(String), id => connection.query(LINES, [Number(id)]));
      },
    ],
    [
      'BigInt',
      async () => {
        const rows = await connection.query<Row[]>(LIST);
        expect(rows[0]).toEqual({ id: 11n, buyer_id: 77 });
        await each(idsOf(rows).map(Number));
      },
    ],
    [
      'values of a function that reads them',
      async () => each(idsOf(await pool.query({ sql: LIST, typeCast: column => column.string() }))),
    ],
    [
      'the first of two results',
      async () => each(idsOf((await connection.query<Row[][]>(`${LIST}; SELECT 1 AS one`))[0])),
    ],
    [
      'the first of two results, and their columns',
      async () => {
        const [[rows]] = await connection.query<[Row[][], unknown]>({
          sql: `${LIST}; SELECT 1 AS one`,
          metaAsArray: true,
        });
        await each(idsOf(rows));
      },
    ],
    [
      'the first of two results, with a callback',
      async () =>
        each(idsOf((await byCallback<Row[][]>(done => raw.query(`${LIST}; SELECT 1 AS one`, done)))[0])),
    ],
    [
      'the first of two that has rows',
      async () => each(idsOf((await connection.query<Row[][]>(`SET @a = 1; ${LIST}`))[1])),
    ],
    [
      'rows as arrays, the first of two results',
      async () => {
        const sql = `${LIST}; SELECT 1 AS one`;
        const [rows] = await connection.query<unknown[][][]>({ sql, rowsAsArray: true });
        await each(firstOf(rows));
      },
    ],
    [
      'a stream',
      async () => {
        for await (const { id } of connection.queryStream(LIST)) await asking(id);
      },
    ],
    [
      'a stream of arrays',
      async () => {
        for await (const [id] of connection.queryStream({ sql: LIST, rowsAsArray: true })) await asking(id);
      },
    ],
    [
      'a stream that is executed',
      async () => {
        const statement = await connection.prepare(LIST);
        for await (const { id } of statement.executeStream([]) as unknown as AsyncIterable<Row>)
          await asking(id);
        statement.close();
      },
    ],
    [
      'a stream of the API with callbacks',
      async () => {
        for await (const { id } of raw.queryStream(LIST)) await asking(id);
      },
    ],
    [
      'events',
      async () => {
        const found: unknown[] = [];
        const query = raw.query(LIST, undefined as never) as never as NodeJS.EventEmitter;
        await once(
          query.on('data', row => found.push(row)),
          'end',
        );
        await each(idsOf(found));
      },
    ],
  ])('%s', async (_what, work) => {
    expect(await repeatsOf(test, work)).toEqual(linesOfOrders);
  });

  it('of a procedure', async () => {
    const found = await repeatsOf(test, async () => {
      const [rows] = await connection.query<Row[][]>(`CALL ${list}()`);
      expect(idsOf(rows).map(Number)).toEqual(ids);
      await each(idsOf(rows));
    });
    expect(found).toMatchObject([{ table: lines, confidence: 'proven', parents: [{ column: 'id' }] }]);
  });

  it('of tables that are nested', async () => {
    const joined = `SELECT ${orders}.id, ${lines}.n FROM ${orders} JOIN ${lines} ON order_id = id ORDER BY id`;
    const found = await repeatsOf(test, async () => {
      const rows = await connection.query<Row[]>({ sql: joined, nestTables: true });
      await each(rows.map(row => (row[orders] as Row)['id']));
    });
    expect(found).toEqual([proven(lines, orders, `${orders}.id`)]);
    const flat = await repeatsOf(test, async () => {
      const rows = await pool.query<Row[]>({
        sql: `SELECT o.id FROM ${orders} o ORDER BY id`,
        nestTables: '_',
      });
      await each(rows.map(row => row['o_id']));
    });
    expect(flat).toEqual(linesOfOrders);
  });

  it('by bytes', async () => {
    const found = await repeatsOf(test, async () => {
      const rows = await pool.query<Row[]>(`SELECT id, uuid FROM ${orders} ORDER BY id`);
      await each(
        rows.map(({ uuid }) => uuid),
        uuid => pool.execute(`SELECT * FROM ${scans} WHERE order_uuid = ?`, [uuid]),
      );
    });
    expect(found).toEqual([proven(scans, orders, 'uuid')]);
  });

  it('of a stream that is long, by its first rows', async () => {
    const many = `SELECT o.id * 100 + n.seq AS id FROM ${orders} o JOIN seq_1_to_100 n ORDER BY n.seq DESC, o.id`;
    let asked = 0;
    const { findings } = await recordOfUnit(test, async () => {
      for await (const { id } of connection.queryStream(many)) {
        await asking(id);
        asked += 1;
      }
    });
    expect(asked).toBe(800);
    expect(findings).toMatchObject([{ table: lines, confidence: 'proven', count: 800 }]);
  });
});

describe('the values that mariadb is given are read', () => {
  const named = { sql: `SELECT * FROM ${lines} WHERE n > :n AND order_id = :id`, namedPlaceholders: true };

  it.each<[string, Ask]>([
    ['one that is no list', id => pool.query(LINES, id)],
    ['one that is no list, executed', id => connection.execute(LINES, id)],
    ['in the options', id => connection.query({ sql: LINES, values: [id] } as never)],
    ['beside the options', id => pool.execute({ sql: LINES }, [id])],
    ['written into the text', id => pool.query(`SELECT * FROM ${lines} WHERE order_id = ${String(id)}`)],
    ['by name', id => pool.query(named, { n: 0, id })],
    ['by name, executed', id => connection.execute(named, { n: 0, id })],
    ['with a callback', id => byCallback(done => raw.query(LINES, [id], done))],
    ['by name, with a callback', id => byCallback(done => rawPool.query(named, { n: 0, id }, done as never))],
    ['of a stream', async id => connection.queryStream(LINES, [id]).toArray()],
  ])('%s', async (_what, ask) => {
    const found = await repeatsOf(test, async () => each(idsOf(await pool.query(LIST)), ask));
    expect(found).toEqual(linesOfOrders);
  });

  const INSERT = `INSERT INTO ${exported} (order_id, format) VALUES (?, ?)`;
  const ONE = `INSERT INTO ${exported} (order_id) VALUES (?)`;
  const NAMED = {
    sql: `INSERT INTO ${exported} (order_id, format) VALUES (:id, :format)`,
    namedPlaceholders: true,
  };

  it.each<[string, (id: unknown) => Promise<unknown>]>([
    ['a row of two', id => pool.batch(INSERT, [[id, 'csv']])],
    ['a row of one', id => pool.batch(ONE, [[id]])],
    ['a row without brackets', id => connection.batch(ONE, [id])],
    ['a row by name', id => connection.batch(NAMED, [{ id, format: 'csv' }])],
  ])('and a batch that is for one is no batch: %s', async (_what, write) => {
    const found = await repeatsOf(test, async () => each(idsOf(await pool.query(LIST)), write));
    expect(found).toEqual([proven(exported, orders, 'id')]);
  });

  it.each<[string, (id: unknown) => Promise<unknown>]>([
    [
      'rows of two',
      id =>
        pool.batch(INSERT, [
          [id, 'csv'],
          [id, 'pdf'],
        ]),
    ],
    [
      'of a connection',
      id =>
        connection.batch(INSERT, [
          [id, 'csv'],
          [id, 'pdf'],
        ]),
    ],
    [
      'one by one',
      id =>
        pool.batch({ sql: INSERT, bulk: false }, [
          [id, 'csv'],
          [id, 'pdf'],
        ]),
    ],
    ['rows of one', id => pool.batch(ONE, [[id], [id]])],
    ['rows without brackets', id => connection.batch(ONE, [id, id])],
    [
      'rows by name',
      id =>
        pool.batch(NAMED, [
          { id, format: 'csv' },
          { id, format: 'pdf' },
        ]),
    ],
    ['with a callback', id => byCallback(done => rawPool.batch(ONE, [[id], [id]], done as never))],
  ])('and a batch stays one: %s', async (_what, write) => {
    const found = await repeatsOf(test, async () => each(idsOf(await pool.query(LIST)), write));
    expect(found).toEqual([]);
  });

  it('as lists of several', () => {
    const both = 'SELECT * FROM a WHERE b IN (?) AND c IN (?)';
    expect(
      parametersOf(
        [
          [1, 2],
          [3, 4],
        ],
        both,
      ),
    ).toEqual([
      [1, 2],
      [3, 4],
    ]);
    expect(parametersOf([[1, 2]], 'DELETE FROM a WHERE b IN (?)')).toEqual([[1, 2]]);
    expect(parametersOf([{ a: 1 }], 'INSERT INTO a (json) VALUES (?)')).toEqual([{ a: 1 }]);
    expect(parametersOf({ a: 1 }, 'INSERT INTO a (json) VALUES (?)')).toEqual([{ a: 1 }]);
    expect(parametersOf(null, both)).toBe(null);
    expect(parametersOf(undefined, both)).toBe(undefined);
    expect(parametersOf([1, 2], 42)).toEqual([1, 2]);
    const { proxy, revoke } = Proxy.revocable<unknown[]>([], {});
    revoke();
    expect(parametersOf(proxy, both)).toBe(proxy);
  });
});

describe('the databases of tenants', () => {
  const tenants = ids.slice(0, 4).map(id => ({ id, database: `tenant_${process.pid}_${id}` }));

  it.each<[string, (one: Pool, id: unknown) => Promise<unknown>]>([
    ['pools', (one, id) => one.query(LINES, [id])],
    [
      'connections of pools',
      async (one, id) => {
        const connection = await one.getConnection();
        await connection.query(LINES, [id]);
        await connection.release();
      },
    ],
  ])('are no N+1: a loop over %s', async (_what, ask) => {
    for (const { database } of tenants) {
      await connection.query(`CREATE DATABASE ${database}`);
      await connection.query(`CREATE TABLE ${database}.${lines} (order_id int)`);
    }
    const pools = new Map(
      tenants.map(({ id, database }) => [id, createPool({ ...options, database, connectionLimit: 1 })]),
    );
    const found = await repeatsOf(test, async () => {
      await each(idsOf(await pool.query(`${LIST} LIMIT 4`)), id => ask(pools.get(Number(id))!, id));
    });
    for (const one of pools.values()) await one.end();
    for (const { database } of tenants) await connection.query(`DROP DATABASE ${database}`);
    expect(found).toEqual([]);
  });

  it('are one, where a pool and its connections are asked', async () => {
    const found = await repeatsOf(test, async () => {
      const one = await pool.getConnection();
      await each(idsOf(await pool.query(`${LIST} LIMIT 4`)), id =>
        Number(id) % 2 === 0 ? one.query(LINES, [id]) : pool.execute(LINES, [id]),
      );
      await one.release();
    });
    expect(found).toEqual(linesOfOrders);
  });
});

describe('what the application gets of mariadb is as it was', () => {
  const plain = ids.map(id => ({ id: BigInt(id), buyer_id: id * 7 }));

  it('rows and columns', async () => {
    await recordOfUnit(test, async () => {
      const rows = await connection.query<Row[] & { meta: { name(): string }[] }>(LIST);
      expect([...rows]).toEqual(plain);
      expect(Object.keys(rows)).toEqual(ids.map((_, i) => String(i)));
      expect(rows.meta.map(column => column.name())).toEqual(['id', 'buyer_id']);
      const arrays = await pool.execute<unknown[][]>({ sql: LIST, rowsAsArray: true });
      expect([...arrays]).toEqual(plain.map(row => Object.values(row)));
      const [first, second] = await connection.query<Row[][]>(`${LIST}; SELECT 1 AS one`);
      expect([[...first!], [...second!]]).toEqual([plain, [{ one: 1 }]]);
    });
  });

  it('a stream', async () => {
    await recordOfUnit(test, async () => {
      expect(await connection.queryStream(LIST).toArray()).toEqual(plain);
      expect(await raw.queryStream(`${LIST} DESC`).toArray()).toEqual(plain.toReversed());
    });
  });

  it('rows that it changes', async () => {
    const found = await repeatsOf(test, async () => {
      const rows = await connection.query<Row[]>(LIST);
      for (let row = rows.shift(); row !== undefined; row = rows.shift()) await asking(row['id']);
    });
    expect(found).toEqual(linesOfOrders);
  });

  it('no rows, and errors', async () => {
    const none = `SELECT id FROM ${orders} WHERE id < 0`;
    const record = await recordOfUnit(test, async () => {
      expect([...(await connection.query<Row[]>(none))]).toEqual([]);
      expect([...(await pool.execute<Row[]>({ sql: none, rowsAsArray: true }))]).toEqual([]);
      expect(await connection.queryStream(none).toArray()).toEqual([]);
      expect((await connection.query<Row[][]>(`${none}; ${none}`)).map(rows => rows.length)).toEqual([0, 0]);
      for (const id of ids.slice(3))
        await expect(pool.query('SELECT * FROM nowhere WHERE id = ?', [id])).rejects.toThrow('nowhere');
      await expect(connection.queryStream('SELECT * FROM nowhere').toArray()).rejects.toThrow('nowhere');
      await expect(connection.query(`${LIST}; SELECT * FROM nowhere`)).rejects.toThrow('nowhere');
    });
    expect(record.findings?.filter(({ kind }) => kind === 'n-plus-one') ?? []).toEqual([]);
  });

  it('nor is a value recorded', async () => {
    const record = await recordOfUnit(test, async () => {
      const rows = await pool.query<Row[]>(`SELECT CONCAT('SECRET-', id) AS text FROM ${orders} ORDER BY id`);
      await each(
        rows.map(({ text }) => text),
        text => pool.query(`SELECT * FROM ${lines} WHERE text = ?`, [text]),
      );
    });
    expect(record.queries.count).toBe(1 + ids.length);
    expect(JSON.stringify(record)).not.toContain('SECRET');
  });
});

it('an N+1 of mariadb is named through Sequelize', async () => {
  const { host, port, user, password, database } = options;
  const db = new Sequelize(database, user, password, { host, port, dialect: 'mariadb', logging: false });
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
