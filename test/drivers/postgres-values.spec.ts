import { createRequire } from 'node:module';
import postgres from 'postgres';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { postgresInstrumentation } from '../../lib/drivers/postgres/postgres.driver';
import { databaseUrl, isEmbedded } from '../support/database';
import { startApp, type TestApp } from '../support/platforms';
import { recordOfUnit } from '../support/units';
import { foundBy, idOf, ITEMS_OF_ORDERS, MANY, named } from '../support/values';

type Sql = ReturnType<typeof postgres>;
type Row = Record<string, unknown>;

const instrumentations = [postgresInstrumentation()];
const schema = `values_pgjs_${process.pid}`;
const options: postgres.Options<Record<string, never>> = {
  max: 1,
  onnotice: () => undefined,
  connection: { search_path: schema },
};

let test: TestApp;
let sql: Sql;
let second: Sql;

beforeAll(async () => {
  test = await startApp({ instrumentations });
  sql = postgres(databaseUrl(), options);
  second = postgres(databaseUrl(), options);
  await sql.unsafe(`CREATE SCHEMA ${schema}`);
  await sql.unsafe(
    'CREATE TABLE orders (id bigint PRIMARY KEY, key uuid DEFAULT gen_random_uuid(), tags bigint[])',
  );
  await sql.unsafe('CREATE TABLE order_items (id serial, order_id bigint, order_key uuid)');
  for (let n = 1; n <= MANY; n++) {
    await sql`INSERT INTO orders (id, tags) VALUES (${idOf(n)}, ${[idOf(n)]})`;
    await sql`INSERT INTO order_items (order_id, order_key) SELECT id, key FROM orders WHERE id = ${idOf(n)}`;
  }
});
afterAll(async () => {
  await sql.unsafe(`DROP SCHEMA ${schema} CASCADE`);
  await second.end();
  await sql.end();
  await test.close();
});

const itemsOf = (id: unknown): PromiseLike<unknown> =>
  sql`SELECT * FROM order_items WHERE order_id = ${id as string}`;

async function itemsOfEach(ids: Iterable<unknown>): Promise<void> {
  for (const id of ids) await itemsOf(id);
}

describe('the rows of postgres that its queries run for', () => {
  it.each<[string, () => unknown]>([
    ['a tagged template', async () => itemsOfEach((await sql`SELECT id FROM orders`).map(({ id }) => id))],
    ['all at once', async () => Promise.all((await sql`SELECT id FROM orders`).map(({ id }) => itemsOf(id)))],
    ['unsafe()', async () => itemsOfEach((await sql.unsafe('SELECT id FROM orders')).map(({ id }) => id))],
    [
      'unsafe() with parameters, for a statement with parameters',
      async () => {
        const orders = await sql.unsafe<Row[]>('SELECT id FROM orders WHERE id > $1', [0]);
        for (const { id } of orders)
          await sql.unsafe('SELECT * FROM order_items WHERE id > $2 AND order_id = $1', [id as string, 0]);
      },
    ],
    [
      'several statements',
      async () => {
        const [, orders] = await sql.unsafe('SELECT * FROM orders LIMIT 1; SELECT id FROM orders').simple();
        await itemsOfEach((orders as unknown as Row[]).map(({ id }) => id));
      },
    ],
    [
      'values()',
      async () => itemsOfEach((await sql`SELECT key, id FROM orders`.values()).map(([, id]) => id)),
    ],
    ['raw()', async () => itemsOfEach((await sql`SELECT id FROM orders`.raw()).map(([id]) => String(id)))],
    [
      'a cursor',
      async () => {
        for await (const batch of sql`SELECT id FROM orders`.cursor(5)) {
          ids(batch).forEach(id => found.push(id));
        }
        await itemsOfEach(found.splice(0));
      },
    ],
    [
      'a cursor with a function',
      async () => {
        await sql`SELECT id FROM orders`.cursor(5, batch => void found.push(...ids(batch)));
        await itemsOfEach(found.splice(0));
      },
    ],
    [
      'a cursor of one row at a time',
      async () => {
        await sql`SELECT id FROM orders`.cursor(batch => void found.push(...ids(batch)));
        await itemsOfEach(found.splice(0));
      },
    ],
    [
      'forEach()',
      async () => {
        await sql`SELECT id FROM orders`.forEach(({ id }) => void found.push(id));
        await itemsOfEach(found.splice(0));
      },
    ],
    [
      'forEach() of values()',
      async () => {
        const query = sql`SELECT key, id FROM orders`.values() as unknown as postgres.PendingQuery<Row[]>;
        await query.forEach(row => void found.push((row as unknown as unknown[])[1]));
        await itemsOfEach(found.splice(0));
      },
    ],
    [
      'a transaction',
      () =>
        sql.begin(async tx => {
          for (const { id } of await tx`SELECT id FROM orders`)
            await tx`SELECT * FROM order_items WHERE order_id = ${id}`;
        }),
    ],
    [
      'a fragment',
      async () => {
        for (const { id } of await sql`SELECT id FROM ${sql('orders')} WHERE ${sql`id > ${0}`}`)
          await sql`SELECT * FROM ${sql('order_items')} WHERE ${sql`id > ${0} AND order_id = ${id}`} LIMIT ${9}`;
      },
    ],
    [
      'a typed value',
      async () => {
        for (const { id } of await sql`SELECT id FROM orders`)
          await sql`SELECT * FROM order_items WHERE order_id = ${sql.typed(id, 20)}`;
      },
    ],
    [
      'a list of one',
      async () => {
        for (const { id } of await sql`SELECT id FROM orders`)
          await sql`SELECT * FROM order_items WHERE order_id IN ${sql([id])}`;
      },
    ],
    [
      'an array of one',
      async () => {
        for (const { id } of await sql`SELECT id FROM orders`)
          await sql`SELECT * FROM order_items WHERE order_id = ANY(${[id]}::bigint[])`;
      },
    ],
    [
      'a row that is written',
      async () => {
        for (const { id } of await sql`SELECT id FROM orders`)
          await sql`INSERT INTO order_items ${sql({ order_id: id as string, order_key: null })}`;
      },
    ],
    [
      'values that are written',
      async () => {
        for (const { id } of await sql`SELECT id FROM orders`)
          await sql`INSERT INTO order_items (id, order_id) VALUES ${sql([[0, id as string]])}`;
      },
    ],
    [
      'a row that is changed',
      async () => {
        for (const { id } of await sql`SELECT id FROM orders`)
          await sql`UPDATE order_items SET ${sql({ order_key: null })} WHERE order_id = ${id}`;
      },
    ],
  ])('are named: %s', async (_what, work) => {
    expect(await foundBy(test, work)).toEqual(ITEMS_OF_ORDERS);
  });

  const found: unknown[] = [];
  const ids = (rows: readonly Row[]): unknown[] => rows.map(({ id }) => id);

  it.skipIf(isEmbedded)('are named while a cursor is open', async () => {
    const found = await foundBy(test, async () => {
      for await (const batch of sql`SELECT id FROM orders`.cursor(4))
        for (const id of ids(batch)) await second`SELECT * FROM order_items WHERE order_id = ${id as string}`;
    });
    expect(found).toEqual(ITEMS_OF_ORDERS);
  });

  it('are named by a UUID, a BigInt and the elements of an array', async () => {
    const byKey = await foundBy(test, async () => {
      for (const { key } of await sql`SELECT key FROM orders`)
        await sql`SELECT * FROM order_items WHERE order_key = ${key}`;
    });
    expect(byKey).toEqual([named('order_items', 'orders.key')]);
    const bigints = postgres(databaseUrl(), { ...options, types: { bigint: postgres.BigInt } });
    const byBigint = await foundBy(test, async () => {
      for (const { id } of await bigints`SELECT id FROM orders`) {
        expect(id).toBeTypeOf('bigint');
        await bigints`SELECT * FROM order_items WHERE order_id = ${id}`;
      }
    });
    await bigints.end();
    expect(byBigint).toEqual(ITEMS_OF_ORDERS);
  });

  it('are named under the names that the client gives its columns', async () => {
    const camel = postgres(databaseUrl(), { ...options, transform: postgres.camel });
    const found = await foundBy(test, async () => {
      for (const { orderId } of await camel`SELECT id AS order_id FROM orders`)
        await camel`SELECT * FROM order_items WHERE order_id = ${orderId}`;
    });
    await camel.end();
    expect(found).toEqual([named('order_items', 'orders.orderId')]);
  });

  it('are those of a loop over two hundred and more', async () => {
    const found = await foundBy(test, async () => {
      const ids: unknown[] = [];
      await sql`SELECT n * n AS order_id FROM generate_series(1, 300) AS n`.forEach(
        ({ order_id: id }) => void ids.push(id),
      );
      await itemsOfEach(ids);
    });
    expect(found).toMatchObject([{ table: 'order_items', confidence: 'proven' }]);
  });

  it('of the build for require() are named as well', async () => {
    const required = (createRequire(import.meta.url)('postgres') as typeof postgres)(databaseUrl(), options);
    const again = await startApp({ instrumentations });
    const found = await foundBy(again, async () => {
      for (const { id } of await required`SELECT id FROM orders`)
        await required`SELECT * FROM order_items WHERE order_id = ${id}`;
    });
    await again.close();
    await required.end();
    expect(found).toEqual(ITEMS_OF_ORDERS);
  });
});

describe('what is no N+1 of postgres', () => {
  it.each<[string, () => Promise<unknown>]>([
    ['an empty result', async () => itemsOfEach(ids(await sql`SELECT id FROM orders WHERE id < 0`))],
    [
      'a list of several',
      async () => {
        const orders = ids(await sql`SELECT id FROM orders`) as string[];
        for (let at = 0; at + 3 < orders.length; at += 3)
          await sql`SELECT * FROM order_items WHERE order_id IN ${sql(orders.slice(at, at + 3))}`;
      },
    ],
    [
      'several rows at once',
      async () => {
        const orders = ids(await sql`SELECT id FROM orders`) as string[];
        for (let at = 0; at + 2 < orders.length; at += 2) {
          const rows = orders.slice(at, at + 2).map(id => ({ order_id: id, order_key: null }));
          await sql`INSERT INTO order_items ${sql(rows)}`;
        }
      },
    ],
    [
      'errors',
      async () => {
        for (const { id } of await sql`SELECT id FROM orders WHERE id < 0`) await itemsOf(id);
        for (let n = 0; n < 3; n++) await sql`SELECT * FROM nowhere WHERE id = ${n}`.catch(() => undefined);
      },
    ],
  ])('is not named: %s', async (_what, work) => {
    expect((await foundBy(test, work)).filter(({ confidence }) => confidence === 'proven')).toEqual([]);
  });

  const ids = (rows: readonly Row[]): unknown[] => rows.map(({ id }) => id);

  it.skipIf(isEmbedded)('and leaves what the application gets as it is', async () => {
    const seen = async (): Promise<unknown[]> => {
      const rows: unknown[] = [];
      const row = { id: 7 };
      await sql`SELECT * FROM orders ORDER BY id`.forEach((...args) => void rows.push(args[0]));
      await sql`SELECT * FROM orders ORDER BY id`.cursor(
        3,
        batch => void rows.push([...batch], Object.keys(batch)),
      );
      for await (const batch of sql`SELECT * FROM orders ORDER BY id`.cursor(4)) rows.push([...batch]);
      const raw = await sql`SELECT id FROM orders ORDER BY id`.raw();
      const empty = await sql`SELECT id FROM orders WHERE id < 0`;
      const error = await sql`SELECT 1 / ${0}::int AS n`.catch((thrown: Error) => thrown.message);
      rows.push(raw, Object.keys(raw), empty, empty.count, error, await sql`SELECT ${sql(row)}`.values());
      return rows;
    };
    const bare = await seen();
    let counted: unknown;
    const record = await recordOfUnit(test, async () => {
      counted = await seen();
    });
    expect(counted).toEqual(bare);
    expect(record.queries.count).toBe(7);
  });

  it('and calls no getter of a row that is written more often than the driver', async () => {
    let calls = 0;
    const row = {
      get order_id() {
        calls += 1;
        return 5;
      },
    };
    const write = (): PromiseLike<unknown> => sql`INSERT INTO order_items ${sql(row)}`;
    await write();
    const bare = calls;
    await recordOfUnit(test, write);
    expect(calls).toBe(2 * bare);
  });
});
