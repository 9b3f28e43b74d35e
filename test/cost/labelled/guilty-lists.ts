import { each, guilty, nPlusOne } from './labelled-handler';
import type { Query, Row } from './shop';

const ORDERS = 'SELECT id, buyer_id, seller_id, status, total FROM orders ORDER BY id LIMIT $1';
const ITEMS = 'SELECT * FROM order_items WHERE order_id = $1';
const CUSTOMER = 'SELECT * FROM customers WHERE id = $1';
const PRODUCT = 'SELECT * FROM products WHERE id = $1';
const PAYMENT = 'SELECT * FROM payments WHERE order_id = $1';
const USER = 'SELECT id, email FROM users WHERE id = $1';

const itemsOfOrders = [nPlusOne('order_items', 'orders.id')];
const buyersOfOrders = [nPlusOne('customers', 'orders.buyer_id')];

/** So many statements that differ: a dashboard that asks one thing after the other. */
async function manyShapes(q: Query, count: number): Promise<void> {
  for (let i = 0; i < count; i++) await q(`SELECT key AS part_${i} FROM settings`);
}

const knownBefore = guilty('what was known before', 'pg', {
  'whether the buyer is there, then the reviews of the buyer': {
    repeats: [nPlusOne('customers', 'orders.buyer_id'), nPlusOne('reviews', 'orders.buyer_id')],
    run: async ({ q }, { size }) =>
      each(await q(ORDERS, [size]), async ({ buyer_id }) => {
        const [buyer] = await q('SELECT id FROM customers WHERE id = $1 LIMIT 1', [buyer_id]);
        if (buyer !== undefined) await q('SELECT * FROM reviews WHERE author_id = $1', [buyer['id']]);
      }),
  },
  'the item of each order, read again by its own id': {
    repeats: [nPlusOne('orders', 'orders.id'), nPlusOne('order_items', 'orders.id')],
    run: async ({ q }, { size }) =>
      each(await q(ORDERS, [size]), async ({ id }) => {
        const [order] = await q('SELECT id, status FROM orders WHERE id = $1', [id]);
        await q(ITEMS, [order!['id']]);
      }),
  },
  'the items of orders that are read again by their ids': {
    repeats: itemsOfOrders,
    run: async ({ q }, { size }) => {
      const ids = (await q(ORDERS, [size])).map(({ id }) => id);
      await each(await q('SELECT * FROM orders WHERE id = ANY ($1)', [ids]), ({ id }) => q(ITEMS, [id]));
    },
  },
  'the items of orders, after a count of each buyer': {
    repeats: itemsOfOrders,
    run: async ({ q }, { size }) => {
      await q('SELECT buyer_id, count(*)::int AS id FROM orders GROUP BY buyer_id ORDER BY buyer_id');
      await q('SELECT status, count(*)::int FROM orders GROUP BY status ORDER BY count(*)');
      await each(await q(ORDERS, [size]), ({ id }) => q(ITEMS, [id]));
    },
  },
  'the orders of each buyer that was counted': {
    repeats: [nPlusOne('customers', 'orders.buyer_id')],
    run: async ({ q }, { size }) => {
      const counted = await q(
        'SELECT buyer_id, count(*)::int AS n FROM (SELECT * FROM orders ORDER BY id LIMIT $1) AS orders GROUP BY buyer_id ORDER BY md5(buyer_id::text)',
        [size],
      );
      await each(counted, ({ buyer_id }) => q(CUSTOMER, [buyer_id]));
    },
  },
});

const loops = guilty('loops', 'pg', {
  'the items of each order': {
    repeats: itemsOfOrders,
    run: async ({ q }, { size }) => each(await q(ORDERS, [size]), ({ id }) => q(ITEMS, [id])),
  },
  'the items of all orders at once': {
    repeats: itemsOfOrders,
    run: async ({ q }, { size }) => Promise.all((await q(ORDERS, [size])).map(({ id }) => q(ITEMS, [id]))),
  },
  'the items of four orders at a time': {
    repeats: itemsOfOrders,
    run: async ({ q }, { size }) => {
      const queue = await q(ORDERS, [size]);
      const worker = async (): Promise<void> => {
        for (let order = queue.shift(); order !== undefined; order = queue.shift())
          await q(ITEMS, [order['id']]);
      };
      await Promise.all([worker(), worker(), worker(), worker()]);
    },
  },
  'the last order first': {
    repeats: itemsOfOrders,
    run: async ({ q }, { size }) => each((await q(ORDERS, [size])).toReversed(), ({ id }) => q(ITEMS, [id])),
  },
  'the dearest order first': {
    repeats: itemsOfOrders,
    run: async ({ q }, { size }) => {
      const orders = await q(ORDERS, [size]);
      orders.sort((a, b) => Number(b['total']) - Number(a['total']));
      await each(orders, ({ id }) => q(ITEMS, [id]));
    },
  },
  'the comment count of each post': {
    repeats: [nPlusOne('comments', 'posts.id')],
    run: async ({ q }, { size }) => {
      const posts = await q('SELECT id, title FROM posts ORDER BY published_at DESC LIMIT $1', [size]);
      for (const post of posts) {
        const [row] = await q('SELECT count(*)::int AS n FROM comments WHERE post_id = $1', [post['id']]);
        post['comments'] = row!['n'];
      }
      return posts;
    },
  },
  'with a named statement': {
    repeats: itemsOfOrders,
    run: async ({ q, pool }, { size }) =>
      each(await q(ORDERS, [size]), ({ id }) =>
        pool.query({ name: 'items-of-order', text: ITEMS, values: [id] }),
      ),
  },
  'rows as arrays': {
    repeats: itemsOfOrders,
    run: async ({ pool, q }, { size }) => {
      const { rows } = await pool.query<unknown[]>({ text: ORDERS, values: [size], rowMode: 'array' });
      await each(rows, row => q(ITEMS, [row[0]]));
    },
  },
  'with IN for one': {
    repeats: itemsOfOrders,
    run: async ({ q }, { size }) =>
      each(await q(ORDERS, [size]), ({ id }) => q('SELECT * FROM order_items WHERE order_id IN ($1)', [id])),
  },
  'with ANY of one': {
    repeats: itemsOfOrders,
    run: async ({ q }, { size }) =>
      each(await q(ORDERS, [size]), ({ id }) =>
        q('SELECT * FROM order_items WHERE order_id = ANY($1)', [[id]]),
      ),
  },
  'with a function of the database': {
    repeats: [nPlusOne('items_of or nothing', 'orders.id')],
    run: async ({ q }, { size }) =>
      each(await q(ORDERS, [size]), ({ id }) => q('SELECT * FROM items_of($1)', [id])),
  },
  'a permission check for each order': {
    repeats: [nPlusOne('permissions', 'orders.id')],
    run: async ({ q, id }, { size }) => {
      const allowed: Row[] = [];
      for (const order of await q(ORDERS, [size])) {
        const found = await q('SELECT 1 FROM permissions WHERE resource_id = $1 AND user_id = $2', [
          order['id'],
          id('users', 1),
        ]);
        if (found.length > 0) allowed.push(order);
      }
      return allowed;
    },
  },
  'rows that are taken out of the list': {
    repeats: itemsOfOrders,
    run: async ({ q }, { size }) => {
      const orders = await q(ORDERS, [size]);
      while (orders.length > 0) {
        const [order] = orders.splice(0, 1);
        await q(ITEMS, [order!['id']]);
      }
    },
  },
  'rows that get a public id': {
    repeats: itemsOfOrders,
    run: async ({ q }, { size }) => {
      const orders = await q(ORDERS, [size]);
      for (const order of orders) {
        order['items'] = await q(ITEMS, [order['id']]);
        order['id'] = `ord_${String(order['id'])}`;
      }
      return orders;
    },
  },
});

const parts = guilty('parts of a list', 'pg', {
  'a page that asks for one more': {
    repeats: itemsOfOrders,
    run: async ({ q }, { size }) => {
      const orders = await q(ORDERS, [size + 1]);
      const hasNext = orders.length > size;
      await each(orders.slice(0, size), ({ id }) => q(ITEMS, [id]));
      return hasNext;
    },
  },
  'every second order has to be paid': {
    repeats: [nPlusOne('payments', 'orders.id')],
    run: async ({ q }, { size }) => {
      const unpaid = (await q(ORDERS, [size])).filter(({ status }) =>
        ['open', 'packed', 'returned'].includes(String(status)),
      );
      await each(unpaid, ({ id }) => q(PAYMENT, [id]));
    },
  },
  'the buyers of every second order': {
    repeats: buyersOfOrders,
    run: async ({ q }, { size }) => {
      const orders = (await q(ORDERS, [2 * size])).filter((_, i) => i % 2 === 0);
      await each(orders, order => q(CUSTOMER, [order['buyer_id']]));
    },
  },
  'the first of forty orders': {
    repeats: itemsOfOrders,
    run: async ({ q }, { size }) => each((await q(ORDERS, [40])).slice(0, size), ({ id }) => q(ITEMS, [id])),
  },
  'three pages, a loop in each': {
    repeats: [nPlusOne('payments', 'orders.id')],
    run: async ({ q }, { size }) => {
      for (let page = 0; page < 3; page++) {
        const orders = await q('SELECT id FROM orders ORDER BY id LIMIT $1 OFFSET $2', [size, page * size]);
        await each(orders, ({ id }) => q(PAYMENT, [id]));
      }
    },
  },
  'a page with its total': {
    repeats: itemsOfOrders,
    run: async ({ q }, { size }) => {
      const [total, orders] = await Promise.all([
        q('SELECT count(*) AS total FROM orders'),
        q(`${ORDERS} OFFSET 5`, [size]),
      ]);
      await each(orders, ({ id }) => q(ITEMS, [id]));
      return total;
    },
  },
  'buyers that the request has not seen': {
    repeats: buyersOfOrders,
    run: async ({ q }, { size }) => {
      const seen = new Map<unknown, Promise<Row[]>>();
      for (const order of await q(ORDERS, [size])) {
        const id = order['buyer_id'];
        if (!seen.has(id)) seen.set(id, q(CUSTOMER, [id]));
        await seen.get(id);
      }
    },
  },
  'each different buyer': {
    repeats: buyersOfOrders,
    run: async ({ q }, { size }) => {
      const orders = await q(
        'SELECT DISTINCT buyer_id FROM (SELECT * FROM orders ORDER BY id LIMIT $1) AS page',
        [size],
      );
      await each(orders, order => q(CUSTOMER, [order['buyer_id']]));
    },
  },
  'the best buyers': {
    repeats: buyersOfOrders,
    run: async ({ q }, { size }) => {
      const best = await q(
        'SELECT buyer_id, sum(total) AS spent FROM orders GROUP BY buyer_id ORDER BY spent DESC LIMIT $1',
        [size],
      );
      await each(best, row => q(CUSTOMER, [row['buyer_id']]));
    },
  },
  'two GraphQL fields that overlap': {
    repeats: itemsOfOrders,
    run: async ({ q }, { size }) => {
      const recent = await q(ORDERS, [size]);
      await each(recent, ({ id }) => q(ITEMS, [id]));
      const mine = await q('SELECT id FROM orders ORDER BY id OFFSET 3 LIMIT $1', [size]);
      await each(mine, ({ id }) => q(ITEMS, [id]));
    },
  },
});

const nested = guilty('nested', 'pg', {
  'orders, items, products': {
    repeats: [...itemsOfOrders, nPlusOne('products', 'order_items.product_id')],
    run: async ({ q }, { size }) =>
      each(await q(ORDERS, [size]), async ({ id }) =>
        each(await q(ITEMS, [id]), item => q(PRODUCT, [item['product_id']])),
      ),
  },
  'orders, items, products, all at once': {
    repeats: [...itemsOfOrders, nPlusOne('products', 'order_items.product_id')],
    run: async ({ q }, { size }) =>
      Promise.all(
        (await q(ORDERS, [size])).map(async ({ id }) =>
          Promise.all((await q(ITEMS, [id])).map(item => q(PRODUCT, [item['product_id']]))),
        ),
      ),
  },
  'posts, comments, their authors': {
    repeats: [nPlusOne('comments', 'posts.id'), nPlusOne('users', 'comments.author_id')],
    run: async ({ q }, { size }) =>
      each(await q('SELECT id FROM posts ORDER BY id LIMIT $1', [size]), async ({ id }) =>
        each(await q('SELECT * FROM comments WHERE post_id = $1', [id]), comment =>
          q(USER, [comment['author_id']]),
        ),
      ),
  },
  'posts, comments, likes': {
    repeats: [nPlusOne('comments', 'posts.id'), nPlusOne('likes', 'comments.id')],
    run: async ({ q }, { size }) =>
      each(await q('SELECT id, title FROM posts ORDER BY id LIMIT $1', [size]), async post =>
        each(await q('SELECT id, body FROM comments WHERE post_id = $1 ORDER BY id', [post['id']]), comment =>
          q('SELECT count(*) AS likes FROM likes WHERE comment_id = $1', [comment['id']]),
        ),
      ),
  },
  'a chain: order, buyer, country': {
    repeats: [...buyersOfOrders, nPlusOne('countries', 'customers.country_id or orders.buyer_id')],
    run: async ({ q }, { size }) =>
      each(await q(ORDERS, [size]), async order => {
        const [buyer] = await q(CUSTOMER, [order['buyer_id']]);
        await q('SELECT name FROM countries WHERE id = $1', [buyer!['country_id']]);
      }),
  },
  'a chain: review, product, supplier': {
    repeats: [
      nPlusOne('products', 'reviews.product_id'),
      nPlusOne('suppliers', 'products.supplier_id or reviews.product_id'),
    ],
    run: async ({ q }, { size }) =>
      Promise.all(
        (await q('SELECT * FROM reviews ORDER BY id LIMIT $1', [size])).map(async review => {
          const [product] = await q(PRODUCT, [review['product_id']]);
          return q('SELECT * FROM suppliers WHERE id = $1', [product!['supplier_id']]);
        }),
      ),
  },
  'a tree, to its leaves': {
    repeats: [nPlusOne('categories', 'categories.id')],
    run: async ({ q, id }) => {
      const visit = async (parent: unknown): Promise<void> =>
        each(await q('SELECT id, name FROM categories WHERE parent_id = $1', [parent]), row =>
          visit(row['id']),
        );
      await visit(id('categories', 1));
    },
  },
});

const several = guilty('several', 'pg', {
  'buyers of orders and authors of reviews': {
    repeats: [nPlusOne('customers', 'orders.buyer_id', 'reviews.author_id')],
    run: async ({ q }, { size }) => {
      await each(await q(ORDERS, [size]), order => q(CUSTOMER, [order['buyer_id']]));
      const reviews = await q('SELECT * FROM reviews ORDER BY id LIMIT $1', [size + 2]);
      await each(reviews, review => q(CUSTOMER, [review['author_id']]));
    },
  },
  'authors of posts and of comments, both lists first': {
    repeats: [nPlusOne('users', 'posts.author_id', 'comments.author_id')],
    run: async ({ q }, { size }) => {
      const posts = await q('SELECT id, author_id FROM posts ORDER BY id LIMIT $1', [size]);
      const comments = await q('SELECT id, author_id FROM comments ORDER BY id LIMIT $1', [size + 1]);
      await each([...posts, ...comments], ({ author_id }) => q(USER, [author_id]));
    },
  },
  'the buyer and the items of each order': {
    repeats: [...buyersOfOrders, ...itemsOfOrders],
    run: async ({ q }, { size }) =>
      each(await q(ORDERS, [size]), order =>
        Promise.all([q(CUSTOMER, [order['buyer_id']]), q(ITEMS, [order['id']])]),
      ),
  },
  'the buyer and the seller of each order': {
    repeats: [nPlusOne('customers', 'orders.buyer_id or orders.seller_id')],
    run: async ({ q }, { size }) =>
      each(await q(ORDERS, [size]), async order => {
        await q(CUSTOMER, [order['buyer_id']]);
        await q(CUSTOMER, [order['seller_id']]);
      }),
  },
  'two loops that have nothing in common': {
    repeats: [nPlusOne('payments', 'orders.id'), nPlusOne('comments', 'posts.id')],
    run: async ({ q }, { size }) => {
      await each(await q(ORDERS, [size]), ({ id }) => q(PAYMENT, [id]));
      const posts = await q('SELECT id FROM posts ORDER BY id LIMIT $1', [size]);
      await each(posts, ({ id }) => q('SELECT * FROM comments WHERE post_id = $1', [id]));
    },
  },
  'the manager of each user': {
    repeats: [nPlusOne('users', 'users.manager_id')],
    run: async ({ q }, { size }) =>
      each(await q('SELECT id, manager_id FROM users ORDER BY id LIMIT $1', [size]), user =>
        q(USER, [user['manager_id']]),
      ),
  },
});

const beside = guilty('beside other lists', 'pg', {
  'a sidebar of as many categories before it': {
    repeats: itemsOfOrders,
    run: async ({ q }, { size }) => {
      await q('SELECT id, name FROM categories ORDER BY id LIMIT $1', [size]);
      await each(await q(ORDERS, [size]), ({ id }) => q(ITEMS, [id]));
    },
  },
  'a sidebar of as many posts after it': {
    repeats: itemsOfOrders,
    run: async ({ q }, { size }) => {
      const orders = await q(ORDERS, [size]);
      await q('SELECT id, title FROM posts ORDER BY id LIMIT $1', [size]);
      await each(orders, ({ id }) => q(ITEMS, [id]));
    },
  },
  'as many products, loaded with the orders': {
    repeats: [nPlusOne('payments', 'orders.id')],
    run: async ({ q }, { size }) => {
      const [orders] = await Promise.all([
        q(ORDERS, [size]),
        q('SELECT id, name FROM products ORDER BY id LIMIT $1', [size]),
        q('SELECT id, name FROM suppliers ORDER BY id LIMIT $1', [size]),
      ]);
      await each(orders, ({ id }) => q(PAYMENT, [id]));
    },
  },
  'the buyers in one go, the payments not': {
    repeats: [nPlusOne('payments', 'orders.id')],
    run: async ({ q }, { size }) => {
      const orders = await q(ORDERS, [size]);
      await q('SELECT * FROM customers WHERE id = ANY($1)', [orders.map(order => order['buyer_id'])]);
      await each(orders, ({ id }) => q(PAYMENT, [id]));
    },
  },
  'more than a hundred shapes before it': {
    repeats: itemsOfOrders,
    run: async ({ q }, { size }) => {
      await manyShapes(q, 110);
      await each(await q(ORDERS, [size]), ({ id }) => q(ITEMS, [id]));
    },
  },
  'a list that was loaded twice': {
    repeats: itemsOfOrders,
    run: async ({ q }, { size }) => {
      await q(ORDERS, [size]);
      await each(await q(ORDERS, [size]), ({ id }) => q(ITEMS, [id]));
    },
  },
});

const joins = guilty('joins', 'pg', {
  'orders joined with their items': {
    repeats: [nPlusOne('payments', 'orders.id or orders.order_id')],
    run: async ({ q }, { size }) => {
      const rows = await q(
        `SELECT o.id AS order_id, i.id AS item_id, i.quantity
           FROM (SELECT * FROM orders ORDER BY id LIMIT $1) AS page
           JOIN orders o ON o.id = page.id LEFT JOIN order_items i ON i.order_id = o.id ORDER BY o.id`,
        [size],
      );
      await each(new Set(rows.map(row => row['order_id'])), id => q(PAYMENT, [id]));
    },
  },
  'posts joined with their comments': {
    repeats: [nPlusOne('users', 'posts.author_id')],
    run: async ({ q }, { size }) => {
      const rows = await q(
        `SELECT p.id, p.author_id, c.id AS comment_id, c.body FROM posts p
           JOIN comments c ON c.post_id = p.id ORDER BY p.id LIMIT $1`,
        [3 * size],
      );
      const authors = new Map(rows.map(row => [row['id'], row['author_id']]));
      await each(authors.values(), author => q(USER, [author]));
    },
  },
  'the product of each joined item': {
    repeats: [nPlusOne('products', 'orders.product_id or order_items.product_id')],
    run: async ({ q }, { size }) => {
      const rows = await q(
        `SELECT o.id, o.status, i.product_id FROM orders o
           JOIN order_items i ON i.order_id = o.id ORDER BY i.id LIMIT $1`,
        [size],
      );
      await each(rows, row => q(PRODUCT, [row['product_id']]));
    },
  },
  'a list from a common table expression': {
    repeats: [nPlusOne('order_items', 'orders.id or recent.id')],
    run: async ({ q }, { size }) => {
      const recent = await q(
        'WITH recent AS (SELECT id, total FROM orders ORDER BY placed_on DESC LIMIT $1) SELECT * FROM recent',
        [size],
      );
      await each(recent, ({ id }) => q(ITEMS, [id]));
    },
  },
  'a column with an alias': {
    repeats: [nPlusOne('order_items', 'orders.orderId or orders.id')],
    run: async ({ q }, { size }) =>
      each(await q('SELECT id AS "orderId", status AS "orderStatus" FROM orders LIMIT $1', [size]), row =>
        q(ITEMS, [row['orderId']]),
      ),
  },
  'wide rows': {
    repeats: [nPlusOne('wide_details', 'wide.id')],
    run: async ({ q }, { size }) =>
      each(await q('SELECT * FROM wide ORDER BY id LIMIT $1', [size]), ({ id }) =>
        q('SELECT id FROM wide_details WHERE wide_id = $1', [id]),
      ),
  },
  'rows with long texts and files': {
    repeats: [nPlusOne('document_versions', 'documents.id')],
    run: async ({ q }, { size }) =>
      each(await q('SELECT id, name, body, scan FROM documents ORDER BY id LIMIT $1', [size]), ({ id }) =>
        q('SELECT id FROM document_versions WHERE document_id = $1', [id]),
      ),
  },
});

const sometimes = guilty('now and then', 'pg', {
  'expanded in 95 % of the requests': {
    repeats: itemsOfOrders,
    quiet: ({ turn }) => turn % 20 === 3,
    run: async ({ q }, { size, turn }) => {
      const orders = await q(ORDERS, [size]);
      if (turn % 20 !== 3) await each(orders, ({ id }) => q(ITEMS, [id]));
    },
  },
  'expanded now and then': {
    repeats: [nPlusOne('payments', 'orders.id')],
    quiet: ({ turn }) => turn % 8 !== 5,
    run: async ({ q }, { size, turn }) => {
      const orders = await q(ORDERS, [size]);
      if (turn % 8 === 5) await each(orders, ({ id }) => q(PAYMENT, [id]));
    },
  },
  'behind a cache that is cold now and then': {
    repeats: buyersOfOrders,
    quiet: ({ turn }) => turn % 4 !== 0,
    run: async ({ q }, { size, turn }) => {
      const orders = await q(ORDERS, [size]);
      if (turn % 4 === 0) await each(orders, order => q(CUSTOMER, [order['buyer_id']]));
    },
  },
  'behind a cache that knows every second one': {
    repeats: [nPlusOne('products', 'order_items.product_id')],
    run: async ({ q }, { size, turn }) => {
      const items = await q('SELECT id, product_id FROM order_items ORDER BY id LIMIT $1', [2 * size]);
      const unknown = items.filter((_, i) => (i + turn) % 2 === 0);
      await each(unknown, item => q(PRODUCT, [item['product_id']]));
    },
  },
  'one of two ways through the handler': {
    repeats: [nPlusOne('shipments', 'orders.id')],
    quiet: ({ turn }) => turn % 2 === 1,
    run: async ({ q }, { size, turn }) => {
      const orders = await q(ORDERS, [size]);
      const ids = orders.map(({ id }) => id);
      if (turn % 2 === 1) await q('SELECT * FROM shipments WHERE order_id = ANY($1)', [ids]);
      else await each(ids, id => q('SELECT * FROM shipments WHERE order_id = $1', [id]));
    },
  },
});

export const guiltyLists = [
  ...knownBefore,
  ...loops,
  ...parts,
  ...nested,
  ...several,
  ...beside,
  ...joins,
  ...sometimes,
];
