import DataLoader from 'dataloader';
import Cursor from 'pg-cursor';
import { chunks, each, innocent } from './labelled-handler';
import type { Query, Row } from './shop';

const ORDERS = 'SELECT id, buyer_id, seller_id, status, total FROM orders ORDER BY id LIMIT $1';
const ITEMS = 'SELECT * FROM order_items WHERE order_id = $1';
const USER = 'SELECT id, email FROM users WHERE id = $1';

// Locked in one order, so that requests at once wait, and do not clash.
const CHANGE_OF_ORDERS = `UPDATE payments SET amount = amount + 0 WHERE id IN
  (SELECT id FROM payments WHERE order_id = ANY($1) ORDER BY id FOR UPDATE)`;

const ids = (rows: readonly Row[], column = 'id'): unknown[] => rows.map(row => row[column]);

/** Loads items of many orders at once; half of people's loaders limit their batches. */
function itemsLoader(q: Query, maxBatchSize?: number): DataLoader<unknown, Row[]> {
  return new DataLoader<unknown, Row[]>(
    async keys => {
      const found = await q('SELECT * FROM order_items WHERE order_id = ANY($1)', [keys]);
      return keys.map(key => found.filter(item => item['order_id'] === key));
    },
    maxBatchSize === undefined ? {} : { maxBatchSize },
  );
}

const batches = innocent('batches', 'pg', {
  'ANY for all': async ({ q }, { size }) => {
    const orders = await q(ORDERS, [size]);
    return q('SELECT * FROM order_items WHERE order_id = ANY($1)', [ids(orders)]);
  },
  'ANY for ten at a time': async ({ q }, { size }) => {
    const orders = await q(ORDERS, [size * 4]);
    for (const some of chunks(ids(orders), 10))
      await q('SELECT * FROM order_items WHERE order_id = ANY($1)', [some]);
  },
  'IN for three at a time': async ({ q }, { size }) => {
    const orders = await q(ORDERS, [size * 3]);
    for (const some of chunks(ids(orders), 3)) {
      const places = some.map((_, i) => `$${i + 1}`).join(', ');
      await q(`SELECT * FROM order_items WHERE order_id IN (${places})`, some);
    }
  },
  'written in chunks of five': async ({ q }, { size }) => {
    const orders = await q(ORDERS, [size * 2]);
    for (const some of chunks(ids(orders), 5)) {
      const rows = some.map((_, i) => `($${i + 1}, 'pdf')`).join(', ');
      await q(`INSERT INTO exports (order_id, format) VALUES ${rows}`, some);
    }
  },
  'written with unnest, in chunks': async ({ q, kind }, { size }) => {
    const type = kind === 'uuid' ? 'uuid' : 'int';
    for (const some of chunks(ids(await q(ORDERS, [size * 2])), 6))
      await q(`INSERT INTO exports (order_id) SELECT * FROM unnest($1::${type}[])`, [some]);
  },
  'updated with ANY, in chunks': async ({ q }, { size }) => {
    const orders = await q(ORDERS, [size * 2]);
    for (const some of chunks(ids(orders), 5)) await q(CHANGE_OF_ORDERS, [some]);
  },
  'a DataLoader': async ({ q }, { size }) => {
    const loader = itemsLoader(q);
    await Promise.all((await q(ORDERS, [size])).map(({ id }) => loader.load(id)));
  },
  'a DataLoader of three at a time': async ({ q }, { size }) => {
    const loader = itemsLoader(q, 3);
    await Promise.all((await q(ORDERS, [size * 2])).map(({ id }) => loader.load(id)));
  },
  'two DataLoaders in a row': async ({ q }, { size }) => {
    const orders = await q(ORDERS, [size]);
    const items = itemsLoader(q);
    const buyers = new DataLoader<unknown, Row | undefined>(async keys => {
      const found = await q('SELECT * FROM customers WHERE id = ANY($1)', [keys]);
      return keys.map(key => found.find(({ id }) => id === key));
    });
    await Promise.all(
      orders.map(async order => [await buyers.load(order['buyer_id']), await items.load(order['id'])]),
    );
  },
  'a tree, level by level': async ({ q, id }) => {
    let level: unknown[] = [id('categories', 1)];
    while (level.length > 0)
      level = ids(await q('SELECT id FROM categories WHERE parent_id = ANY($1)', [level]));
  },
  'a join': async ({ q }, { size }) =>
    q('SELECT * FROM orders o JOIN order_items i ON i.order_id = o.id ORDER BY o.id LIMIT $1', [size]),
});

const pages = innocent('pages', 'pg', {
  'four pages': async ({ q }, { size }) => {
    for (let page = 0; page < 4; page++)
      await q('SELECT id FROM orders ORDER BY id LIMIT $1 OFFSET $2', [size, page * size]);
  },
  'pages of one, as many as there are rows': async ({ q }, { size }) => {
    const orders = await q(ORDERS, [size]);
    // The offsets are 1..n, as the ids of a young table.
    for (let page = 1; page <= orders.length; page++)
      await q('SELECT body FROM reviews ORDER BY id LIMIT 1 OFFSET $1', [page]);
  },
  'pages after the last id': async ({ q }, { size }) => {
    let page = await q('SELECT id FROM orders ORDER BY id LIMIT $1', [size]);
    for (let i = 0; i < 4 && page.length > 0; i++)
      page = await q('SELECT id FROM orders WHERE id > $1 ORDER BY id LIMIT $2', [page.at(-1)!['id'], size]);
  },
  'pages after the last day and id': async ({ q }, { size }) => {
    let page = await q('SELECT id, placed_on FROM orders ORDER BY placed_on, id LIMIT $1', [size]);
    for (let i = 0; i < 4 && page.length > 0; i++) {
      const last = page.at(-1)!;
      page = await q(
        'SELECT id, placed_on FROM orders WHERE (placed_on, id) > ($1, $2) ORDER BY placed_on, id LIMIT $3',
        [last['placed_on'], last['id'], size],
      );
    }
  },
  'a cursor that is read to its end': async ({ pool }, { size }) => {
    const client = await pool.connect();
    try {
      const cursor = client.query(new Cursor<Row>(ORDERS, [size * 3]));
      while ((await cursor.read(4)).length > 0);
      await cursor.close();
    } finally {
      client.release();
    }
  },
  'FETCH until there is no more': ({ transaction }, { size }) =>
    transaction(async q => {
      await q(`DECLARE page CURSOR FOR SELECT id FROM orders ORDER BY id LIMIT ${size * 3}`);
      while ((await q('FETCH 5 FROM page')).length > 0);
      await q('CLOSE page');
    }),
});

const few = innocent('few or none', 'pg', {
  'no rows': async ({ q }) =>
    each(await q('SELECT id FROM orders WHERE total < 0'), ({ id }) => q(ITEMS, [id])),
  'one row': async ({ q }) => each(await q(ORDERS, [1]), ({ id }) => q(ITEMS, [id])),
  'two rows': async ({ q }) => each(await q(ORDERS, [2]), ({ id }) => q(ITEMS, [id])),
  'the first two of many': async ({ q }, { size }) =>
    each((await q(ORDERS, [size + 8])).slice(0, 2), ({ id }) => q(ITEMS, [id])),
  'the author, the reviewer and the approver of one post': async ({ q, id }) => {
    const [post] = await q('SELECT * FROM posts WHERE id = $1', [id('posts', 9)]);
    await q(USER, [post!['author_id']]);
    await q(USER, [post!['reviewer_id']]);
    await q(USER, [post!['approver_id']]);
  },
  'the same three, all at once, of the first post of a list': async ({ q }, { size }) => {
    const [post] = await q('SELECT * FROM posts ORDER BY id LIMIT $1', [size + 1]);
    const people = [post!['author_id'], post!['reviewer_id'], post!['approver_id']];
    await Promise.all(people.map(person => q(USER, [person])));
  },
  'all that belongs to one order': async ({ q, id }) => {
    const [order] = await q('SELECT * FROM orders WHERE id = $1', [id('orders', 17)]);
    await q(ITEMS, [order!['id']]);
    await q('SELECT * FROM payments WHERE order_id = $1', [order!['id']]);
    await q('SELECT * FROM shipments WHERE order_id = $1', [order!['id']]);
    await q('SELECT * FROM customers WHERE id = $1', [order!['buyer_id']]);
  },
  'the detail page of one of a list': async ({ q }, { size }) => {
    const orders = await q(ORDERS, [size + 1]);
    const order = orders[Math.floor(orders.length / 2)]!;
    await q(ITEMS, [order['id']]);
    await q('SELECT * FROM customers WHERE id = $1', [order['buyer_id']]);
    await q('SELECT * FROM customers WHERE id = $1', [order['seller_id']]);
  },
  'from one to the next, to the end': async ({ q, id }) => {
    let node: unknown = id('nodes', 40);
    while (node !== null)
      node = (await q('SELECT next_id FROM nodes WHERE id = $1', [node]))[0]?.['next_id'] ?? null;
  },
  'up to the root': async ({ q, id }) => {
    let category: unknown = id('categories', 30);
    while (category !== null)
      category =
        (await q('SELECT parent_id FROM categories WHERE id = $1', [category]))[0]?.['parent_id'] ?? null;
  },
  'who manages whom, four levels up': async ({ q, id }) => {
    let user: unknown = id('users', 3);
    for (let level = 0; level < 4; level++)
      user = (await q('SELECT manager_id FROM users WHERE id = $1', [user]))[0]!['manager_id'];
  },
});

export const innocentLists = [...batches, ...pages, ...few];
