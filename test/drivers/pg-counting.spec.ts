import { Client, Pool, Query } from 'pg';
import Cursor from 'pg-cursor';
import QueryStream from 'pg-query-stream';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ContextService, type CostRecord } from 'nestjs-async-context';
import { databaseUrl, isEmbedded } from '../support/database';
import { startApp, type TestApp, until } from '../support/platforms';

let test: TestApp;
let client: Client;
let pool: Pool;
let unit = 0;

/** The record of a unit of work. */
async function recordOf(work: () => unknown): Promise<CostRecord> {
  const requestId = `unit-${(unit += 1)}`;
  await test.app.get(ContextService).run({ requestId }, work);
  return until(() => test.sink.records.find(record => record.requestId === requestId), 'record');
}

/** What a statement comes to in the record. */
async function costOf(
  work: () => unknown,
): Promise<Partial<CostRecord['queries']> & { table: string | undefined; shape: string | undefined }> {
  const { queries } = await recordOf(work);
  const { count, rows, writes, transactions, errors } = queries;
  return {
    count,
    rows,
    writes,
    transactions,
    errors,
    table: queries.shapes[0]?.table,
    shape: queries.shapes[0]?.shape,
  };
}

/** Sends a query object and waits for its end. */
function ended(query: Query): Promise<unknown> {
  return new Promise((resolve, reject) => client.query(query).on('end', resolve).on('error', reject));
}

const none = { count: 0, rows: 0, writes: 0, transactions: 0, errors: 0, table: undefined, shape: undefined };

beforeAll(async () => {
  test = await startApp({});
  client = new Client({ connectionString: databaseUrl() });
  pool = new Pool({ connectionString: databaseUrl(), max: 1 });
  await client.connect();
  await client.query('CREATE TEMPORARY TABLE orders (id int PRIMARY KEY, name text)');
  await client.query('CREATE TEMPORARY TABLE order_items (order_id int, quantity int)');
  await client.query('INSERT INTO orders SELECT n, $1 || n FROM generate_series(1, 10) AS n', ['order ']);
});
afterAll(async () => {
  await client.end();
  await pool.end();
  await test.close();
});

describe('a statement of pg', () => {
  it.each<[string, () => unknown, Partial<Awaited<ReturnType<typeof costOf>>>]>([
    [
      'SELECT',
      () => client.query('SELECT * FROM orders WHERE id > $1', [5]),
      { count: 1, rows: 5, table: 'orders', shape: 'SELECT * FROM orders WHERE id > ?' },
    ],
    [
      'SELECT of nothing',
      () => client.query('SELECT * FROM orders WHERE id = 0'),
      { count: 1, rows: 0, table: 'orders', shape: 'SELECT * FROM orders WHERE id = ?' },
    ],
    [
      'JOIN',
      () => client.query('SELECT 1 FROM order_items JOIN orders ON orders.id = order_id'),
      { count: 1, rows: 0, table: 'order_items' },
    ],
    [
      'INSERT',
      () => client.query("INSERT INTO orders VALUES (11, 'x'), (12, 'y')"),
      { count: 1, rows: 2, writes: 1, table: 'orders', shape: 'INSERT INTO orders VALUES (?)' },
    ],
    [
      'INSERT … SELECT',
      () => client.query('INSERT INTO order_items SELECT id, 1 FROM orders WHERE id <= 3'),
      { count: 1, rows: 3, writes: 1, table: 'order_items' },
    ],
    [
      'INSERT … RETURNING',
      () => client.query('INSERT INTO order_items VALUES (1, 1) RETURNING *'),
      { count: 1, rows: 1, writes: 1, table: 'order_items' },
    ],
    [
      'UPDATE',
      () => client.query('UPDATE orders SET name = $1 WHERE id <= 4', ['z']),
      { count: 1, rows: 4, writes: 1, table: 'orders' },
    ],
    [
      'UPDATE … FROM',
      () => client.query('UPDATE orders SET name = name FROM order_items WHERE order_id = id'),
      { count: 1, writes: 1, table: 'orders' },
    ],
    [
      'DELETE … USING',
      () => client.query('DELETE FROM order_items USING orders WHERE order_id = id AND id = 99'),
      { count: 1, rows: 0, writes: 1, table: 'order_items' },
    ],
    [
      'WITH',
      () => client.query('WITH recent AS (SELECT * FROM orders LIMIT 2) SELECT * FROM recent'),
      { count: 1, rows: 2, writes: 0, table: 'orders' },
    ],
    [
      'several statements in one text',
      () => client.query('SELECT 1 FROM orders LIMIT 3; SELECT 2 FROM orders LIMIT 4'),
      { count: 1, rows: 7, table: 'orders' },
    ],
    ['an empty text', () => client.query(''), { count: 1, rows: 0 }],
    ['no table', () => client.query('SELECT 1'), { count: 1, rows: 1, table: undefined, shape: 'SELECT ?' }],
  ])('%s is counted with its rows and its table', async (_name, send, expected) => {
    expect(await costOf(send)).toMatchObject({ errors: 0, transactions: 0, ...expected });
  });

  it.each<[string, () => Promise<unknown>, number]>([
    ['promise', () => client.query('SELECT * FROM orders LIMIT 3'), 3],
    [
      'callback',
      () => new Promise(resolve => client.query('SELECT * FROM orders LIMIT 3', resolve as never)),
      3,
    ],
    [
      'values and callback',
      () => new Promise(resolve => client.query('SELECT * FROM orders LIMIT $1', [3], resolve as never)),
      3,
    ],
    [
      'config with a callback of its own',
      () =>
        new Promise(callback => client.query({ text: 'SELECT * FROM orders LIMIT 3', callback } as never)),
      3,
    ],
    ['rows as arrays', () => client.query({ text: 'SELECT * FROM orders LIMIT 3', rowMode: 'array' }), 3],
    ['prepared', () => client.query({ name: 'three', text: 'SELECT * FROM orders LIMIT 3' }), 3],
    ['prepared again', () => client.query({ name: 'three', text: 'SELECT * FROM orders LIMIT 3' }), 3],
    [
      'a query object',
      () =>
        new Promise(resolve => client.query(new Query('SELECT * FROM orders LIMIT 3')).on('end', resolve)),
      3,
    ],
    [
      'a cursor read to its end',
      async () => {
        const cursor = client.query(new Cursor('SELECT * FROM orders WHERE id <= 7'));
        while ((await cursor.read(2)).length > 0);
      },
      7,
    ],
    [
      'a cursor closed early',
      async () => {
        const cursor = client.query(new Cursor('SELECT * FROM orders WHERE id <= 7'));
        await cursor.read(2);
        await cursor.close();
      },
      2,
    ],
    [
      'a stream',
      async () => {
        const stream = client.query(
          new QueryStream('SELECT * FROM orders WHERE id <= 7', [], { batchSize: 3 }),
        );
        for await (const row of stream) void row;
      },
      7,
    ],
  ])('sent as %s is one query with its rows', async (_name, send, rows) => {
    expect(await costOf(send)).toMatchObject({ count: 1, rows, errors: 0, table: 'orders' });
  });

  it.each<[string, () => Promise<unknown>]>([
    ['pool.query()', () => pool.query('SELECT n FROM generate_series(1, 3) AS n')],
    [
      'pool.query() with a callback',
      () => new Promise(resolve => pool.query('SELECT n FROM generate_series(1, 3) AS n', resolve as never)),
    ],
    [
      'pool.connect() and client.query()',
      async () => {
        const one = await pool.connect();
        await one.query('SELECT n FROM generate_series(1, 3) AS n');
        one.release();
      },
    ],
  ])('sent by %s is counted once', async (_name, send) => {
    expect(await costOf(send)).toMatchObject({ count: 1, rows: 3, errors: 0 });
  });

  it.each<[string, () => Promise<unknown>, number]>([
    [
      'selects and writes',
      () => ended(new Query("SELECT * FROM orders LIMIT 3; UPDATE orders SET name = 'q' WHERE id <= 2")),
      5,
    ],
    ['writes and returns', () => ended(new Query('UPDATE orders SET id = id WHERE id <= 2 RETURNING *')), 2],
    ['writes', () => ended(new Query('DELETE FROM order_items WHERE order_id = -1')), 0],
    [
      'is read from a pool as a stream',
      async () => {
        const stream = new QueryStream('SELECT n FROM generate_series(1, 7) AS n', [], { batchSize: 3 });
        const answer = pool.query(stream as never);
        for await (const row of stream) void row;
        await answer;
      },
      7,
    ],
  ])('as a query object that %s has all of its rows', async (_name, send, rows) => {
    expect(await costOf(send)).toMatchObject({ count: 1, rows, errors: 0 });
  });

  it('that a type parser refuses is one error, as a promise and as a query object', async () => {
    const types = {
      getTypeParser: () => () => {
        throw new RangeError('not this type');
      },
    };
    const cost = await costOf(async () => {
      await expect(client.query({ text: 'SELECT 1', types } as never)).rejects.toThrow('not this type');
      await expect(ended(new Query({ text: 'SELECT 1', types } as never))).rejects.toThrow('not this type');
    });
    expect(cost).toMatchObject({ count: 2, errors: 2 });
  });

  it('that controls a transaction or the session is counted apart', async () => {
    const cost = await costOf(async () => {
      for (const text of [
        'BEGIN',
        'SAVEPOINT a',
        'SELECT 1',
        'ROLLBACK TO SAVEPOINT a',
        'RELEASE SAVEPOINT a',
        'SET LOCAL statement_timeout = 1000',
        'COMMIT',
        'START TRANSACTION',
        'ROLLBACK',
      ]) {
        await client.query(text);
      }
    });
    expect(cost).toMatchObject({ count: 1, transactions: 8, rows: 1, shape: 'SELECT ?' });
  });

  it.each<[string, () => Promise<unknown>]>([
    ['is refused by the server', () => client.query('SELECT * FROM no_such_table')],
    ['has a parameter of the wrong kind', () => client.query('SELECT $1::int', ['x'])],
    ['is refused by the driver', () => client.query('SELECT $1', 5 as never)],
    ['fails as a cursor', () => client.query(new Cursor('SELECT * FROM no_such_table')).read(1)],
    [
      'takes longer than query_timeout',
      () => client.query({ text: 'SELECT pg_sleep(0.2)', query_timeout: 20 } as never),
    ],
  ])('that %s is one query and one error', async (_name, send) => {
    expect(await costOf(() => send().catch(() => undefined))).toMatchObject({ count: 1, errors: 1, rows: 0 });
  });

  it.skipIf(isEmbedded && !process.env['CI'])(
    `that is cancelled is one query and one error${isEmbedded ? ' (skipped: set DATABASE_URL to a PostgreSQL server)' : ''}`,
    async () => {
      const { rows } = await client.query<{ pid: number }>('SELECT pg_backend_pid() AS pid');
      // Again and again, because the first may come before the server has begun to sleep.
      const canceller = setInterval(
        () => void pool.query('SELECT pg_cancel_backend($1)', [rows[0]!.pid]),
        20,
      );
      const cost = await costOf(async () => {
        const error: unknown = await client.query('SELECT pg_sleep(5)').catch((reason: unknown) => reason);
        clearInterval(canceller);
        expect(error).toMatchObject({ code: '57014' });
      });
      expect(cost).toMatchObject({ count: 1, errors: 1 });
    },
  );

  it('that is sent again is counted again', async () => {
    const cost = await costOf(async () => {
      await client.query('SELECT * FROM no_such_table').catch(() => undefined);
      await client.query('SELECT * FROM orders LIMIT 1');
    });
    expect(cost).toMatchObject({ count: 2, errors: 1, rows: 1 });
  });

  it('counts each of ten that are sent at once on one client', async () => {
    const { queries } = await recordOf(() =>
      Promise.all(Array.from({ length: 10 }, () => client.query('SELECT 1'))),
    );
    expect(queries).toMatchObject({ count: 10, rows: 10, maxConcurrent: 10 });
    expect(queries.busyMs).toBeLessThanOrEqual(queries.durationMs);
  });

  it('counts what a client in pipeline mode sends, and the cursor that it refuses', async () => {
    const piped = new Client({ connectionString: databaseUrl(), pipeline: true } as never);
    await piped.connect();
    const { queries } = await recordOf(async () => {
      const answers = await Promise.allSettled([
        piped.query('SELECT n FROM generate_series(1, 3) AS n'),
        piped.query('SELECT * FROM no_such_table'),
        piped.query({ text: 'SELECT $1::int AS n', values: [1], rowMode: 'array' }),
      ]);
      expect(answers.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled']);
      await expect(piped.query(new Cursor('SELECT 1')).read(1)).rejects.toThrow('pipeline mode');
    });
    await piped.end();
    expect(queries).toMatchObject({ count: 4, rows: 4, errors: 2, maxConcurrent: 3 });
  });

  it('is recorded without a literal, a parameter or a comment', async () => {
    const record = await recordOf(async () => {
      await client.query(
        "SELECT 'secret-1' /* secret-2 */ FROM orders WHERE name = $1 AND name <> $$secret-3$$ -- secret-4",
        ['secret-5'],
      );
      await client.query("SELECT 'secret-6' FROM no_such_table").catch(() => undefined);
      await client.query({ name: 'secret"7', text: 'SELECT 8' });
    });
    expect(JSON.stringify(record)).not.toMatch(/secret-/);
  });

  it('keeps the 100 most frequent shapes, and counts the rest', async () => {
    const { queries } = await recordOf(async () => {
      for (let i = 0; i < 101; i++) await client.query(`SELECT 1 AS column_${i} FROM orders LIMIT 1`);
      await client.query('SELECT 1 AS column_100 FROM orders LIMIT 1');
    });
    expect(queries).toMatchObject({ count: 102, rows: 102, shapesDropped: 1 });
    expect(queries.shapes).toHaveLength(100);
    expect(queries.byTable['orders']).toMatchObject({ count: 102, rows: 102 });
  });

  it('counts nothing that the application did not send', async () => {
    expect(await costOf(() => undefined)).toEqual(none);
  });
});
