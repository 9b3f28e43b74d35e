import { PGlite, type Results, type Transaction } from '@electric-sql/pglite';
import { identifier, raw, sql as fragment } from '@electric-sql/pglite/template';
import { asc, eq } from 'drizzle-orm';
import { bigint, pgTable, serial } from 'drizzle-orm/pg-core';
import { drizzle } from 'drizzle-orm/pglite';
import { createRequire } from 'node:module';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { pgliteInstrumentation } from '../../lib/drivers/pglite.driver';
import { startApp, type TestApp } from '../support/platforms';
import { recordOfUnit } from '../support/units';
import { foundBy, idOf, ITEMS_OF_ORDERS, MANY, named } from '../support/values';

type Row = Record<string, unknown>;

const instrumentations = [pgliteInstrumentation()];
const ORDERS = 'SELECT id FROM orders';
const ITEMS = 'SELECT * FROM order_items WHERE order_id = $1';

let test: TestApp;
let db: PGlite;

async function fill(engine: PGlite): Promise<void> {
  await engine.exec(`
    CREATE TABLE orders (id bigint PRIMARY KEY, key uuid DEFAULT gen_random_uuid());
    CREATE TABLE order_items (id serial, order_id bigint, order_key uuid);
  `);
  for (let n = 1; n <= MANY; n++) {
    await engine.query('INSERT INTO orders VALUES ($1)', [idOf(n)]);
    await engine.query(
      'INSERT INTO order_items (order_id, order_key) SELECT id, key FROM orders WHERE id = $1',
      [idOf(n)],
    );
  }
}

beforeAll(async () => {
  test = await startApp({ instrumentations });
  db = await PGlite.create();
  await fill(db);
});
afterAll(async () => {
  await db.close();
  await test.close();
});

const idsOf = ({ rows }: Results<unknown>): unknown[] => rows.map(row => (row as Row)['id']);

async function itemsOfEach(ids: readonly unknown[], on: Pick<Transaction, 'query'> = db): Promise<void> {
  for (const id of ids) await on.query(ITEMS, [id]);
}

describe('the rows of PGlite that its queries run for', () => {
  it.each<[string, () => unknown]>([
    ['query()', async () => itemsOfEach(idsOf(await db.query(ORDERS)))],
    ['all at once', async () => Promise.all(idsOf(await db.query(ORDERS)).map(id => db.query(ITEMS, [id])))],
    [
      'sql',
      async () => {
        for (const id of idsOf(await db.sql`SELECT id FROM orders`))
          await db.sql`SELECT * FROM order_items WHERE order_id = ${id}`;
      },
    ],
    ['exec()', async () => itemsOfEach(idsOf((await db.exec(ORDERS))[0]!))],
    [
      'exec() of several statements',
      async () =>
        itemsOfEach(idsOf((await db.exec('SELECT key FROM orders LIMIT 1; SELECT id FROM orders')).at(-1)!)),
    ],
    [
      'exec() of what is written into the text',
      async () => {
        for (const id of idsOf(await db.query(ORDERS)))
          await db.exec(`SELECT * FROM order_items WHERE order_id = ${id as number}`);
      },
    ],
    [
      'rows as arrays',
      async () => {
        const { rows } = await db.query<unknown[]>('SELECT key, id FROM orders', [], { rowMode: 'array' });
        await itemsOfEach(rows.map(([, id]) => id));
      },
    ],
    ['a transaction', () => db.transaction(async tx => itemsOfEach(idsOf(await tx.query(ORDERS)), tx))],
    [
      'sql in a transaction',
      () =>
        db.transaction(async tx => {
          for (const id of idsOf(await tx.sql`SELECT id FROM orders`))
            await tx.sql`SELECT * FROM order_items WHERE order_id = ${id}`;
        }),
    ],
    [
      'names and fragments in a transaction',
      () =>
        db.transaction(async tx => {
          for (const id of idsOf(await tx.sql`SELECT id FROM ${identifier`orders`} WHERE ${raw`id > 0`}`))
            await tx.sql`SELECT * FROM ${identifier`order_items`} WHERE ${fragment`id > ${0} AND order_id = ${id}`}`;
        }),
    ],
    [
      'an INSERT',
      async () => {
        for (const id of idsOf(await db.query(ORDERS)))
          await db.query('INSERT INTO order_items (order_key, order_id) VALUES ($1, $2)', [null, id]);
      },
    ],
    [
      'Drizzle',
      async () => {
        const orders = pgTable('orders', { id: bigint({ mode: 'number' }) });
        const items = pgTable('order_items', {
          id: serial(),
          orderId: bigint('order_id', { mode: 'number' }),
        });
        const orm = drizzle(db);
        for (const { id } of await orm.select().from(orders).orderBy(asc(orders.id)))
          await orm.select().from(items).where(eq(items.orderId, id!));
      },
    ],
  ])('are named: %s', async (_what, work) => {
    expect(await foundBy(test, work)).toEqual(ITEMS_OF_ORDERS);
  });

  it('are named by a UUID', async () => {
    const found = await foundBy(test, async () => {
      const { rows } = await db.query<Row>('SELECT key FROM orders');
      for (const { key } of rows) await db.query('SELECT * FROM order_items WHERE order_key = $1', [key]);
    });
    expect(found).toEqual([named('order_items', 'orders.key')]);
  });

  it('of the build for require() are named as well', async () => {
    const required = createRequire(import.meta.url)('@electric-sql/pglite') as { PGlite: typeof PGlite };
    const again = await startApp({ instrumentations });
    const other = await required.PGlite.create();
    await fill(other);
    const found = await foundBy(again, async () => {
      for (const id of idsOf(await other.query(ORDERS))) await other.query(ITEMS, [id]);
    });
    await other.close();
    await again.close();
    expect(found).toEqual(ITEMS_OF_ORDERS);
  });

  it.each<[string, () => unknown]>([
    ['an empty result', async () => itemsOfEach(idsOf(await db.query(`${ORDERS} WHERE id < 0`)))],
    [
      'errors',
      async () => {
        for (const id of [1, 2, 3]) await db.query('SELECT 1 / ($1::int - $1)', [id]).catch(() => undefined);
      },
    ],
    [
      'several at once',
      async () => {
        const ids = idsOf(await db.query(ORDERS));
        for (let at = 0; at < MANY; at += 3)
          await db.query('SELECT * FROM order_items WHERE order_id = ANY($1)', [ids.slice(at, at + 3)]);
      },
    ],
  ])('are not there: %s', async (_what, work) => {
    const found = await foundBy(test, work);
    expect(found.filter(({ confidence }) => confidence === 'proven')).toEqual([]);
  });

  it('are what the application gets without this package', async () => {
    const seen = async (): Promise<unknown[]> => [
      await db.query('SELECT * FROM orders ORDER BY id'),
      await db.query('SELECT id, id FROM orders ORDER BY id', [], { rowMode: 'array' }),
      await db.exec('SELECT 1 AS n; SELECT 2 AS n WHERE false'),
      await db.transaction(tx => tx.sql`SELECT ${1}::int AS ${identifier`n`}`),
    ];
    const bare = await seen();
    let counted: unknown;
    const { queries } = await recordOfUnit(test, async () => {
      counted = await seen();
    });
    expect(counted).toEqual(bare);
    expect(queries.shapes.map(({ shape }) => shape)).toContain('SELECT ?::int AS "n"');
  });
});
