import Cursor from 'pg-cursor';
import QueryStream from 'pg-query-stream';
import { each, guilty, nPlusOne } from './labelled-handler';
import type { Row } from './shop';

const ORDERS = 'SELECT id, buyer_id, status FROM orders ORDER BY id LIMIT $1';
const ITEMS = 'SELECT * FROM order_items WHERE order_id = $1';
const PRODUCT = 'SELECT * FROM products WHERE id = $1';

const quoted = (value: unknown): string => (typeof value === 'number' ? `${value}` : `'${String(value)}'`);

const values = guilty('values', 'pg', {
  'written into the text': {
    repeats: [nPlusOne('order_items', 'orders.id')],
    run: async ({ q }, { size }) =>
      each(await q(`SELECT id FROM orders ORDER BY id LIMIT ${size}`), ({ id }) =>
        q(`SELECT * FROM order_items WHERE order_id = ${quoted(id)}`),
      ),
  },
  'written into the text, of another column': {
    repeats: [nPlusOne('customers', 'orders.buyer_id')],
    run: async ({ q }, { size }) =>
      each(await q(`SELECT id, buyer_id FROM orders ORDER BY id LIMIT ${size}`), order =>
        q(`SELECT name FROM customers c WHERE c.id = ${quoted(order['buyer_id'])}`),
      ),
  },
  'two keys together': {
    repeats: [nPlusOne('stock', 'reservations.product_id or reservations.warehouse_id')],
    run: async ({ q }, { size }) =>
      each(await q('SELECT warehouse_id, product_id FROM reservations ORDER BY id LIMIT $1', [size]), row =>
        q('SELECT quantity FROM stock WHERE warehouse_id = $1 AND product_id = $2', [
          row['warehouse_id'],
          row['product_id'],
        ]),
      ),
  },
  'two keys together, as a row': {
    repeats: [nPlusOne('stock', 'reservations.product_id or reservations.warehouse_id')],
    run: async ({ q }, { size }) =>
      each(await q('SELECT * FROM reservations ORDER BY id LIMIT $1', [size]), row =>
        q('SELECT quantity FROM stock WHERE (warehouse_id, product_id) = ($1, $2)', [
          row['warehouse_id'],
          row['product_id'],
        ]),
      ),
  },
  'a key and a constant': {
    repeats: [nPlusOne('order_items', 'orders.id')],
    run: async ({ q }, { size }) =>
      each(await q(ORDERS, [size]), ({ id }) =>
        q('SELECT * FROM order_items WHERE quantity > $1 AND order_id = $2', [0, id]),
      ),
  },
  'UUIDs as text': {
    repeats: [nPlusOne('pushes', 'devices.id')],
    run: async ({ q }, { size }) =>
      each(await q('SELECT id FROM devices ORDER BY id LIMIT $1', [size]), ({ id }) =>
        q('SELECT * FROM pushes WHERE device_id = $1', [id]),
      ),
  },
  'bigint, a string in the rows': {
    repeats: [nPlusOne('transfers', 'accounts.id')],
    run: async ({ q }, { size }) =>
      each(await q('SELECT id FROM accounts ORDER BY id LIMIT $1', [size]), ({ id }) =>
        q('SELECT * FROM transfers WHERE account_id = $1', [id]),
      ),
  },
  'bigint, a BigInt in the parameter': {
    repeats: [nPlusOne('transfers', 'accounts.id')],
    run: async ({ q }, { size }) =>
      each(await q('SELECT id FROM accounts ORDER BY id LIMIT $1', [size]), ({ id }) =>
        q('SELECT * FROM transfers WHERE account_id = $1', [BigInt(String(id))]),
      ),
  },
  'bigint, a number in the parameter': {
    repeats: [nPlusOne('accounts', 'transfers.account_id')],
    run: async ({ q }, { size }) =>
      each(await q('SELECT account_id, amount FROM transfers ORDER BY id DESC LIMIT $1', [size]), row =>
        q('SELECT name FROM accounts WHERE id = $1', [Number(row['account_id'])]),
      ),
  },
  numeric: {
    repeats: [nPlusOne('invoice_lines', 'invoices.number')],
    run: async ({ q }, { size }) =>
      each(await q('SELECT number FROM invoices ORDER BY number LIMIT $1', [size]), invoice =>
        q('SELECT * FROM invoice_lines WHERE invoice_number = $1', [invoice['number']]),
      ),
  },
  'ids made strings': {
    repeats: [nPlusOne('order_items', 'orders.id')],
    run: async ({ q }, { size }) => {
      const ids = (await q(ORDERS, [size])).map(({ id }) => String(id));
      await each(ids, id => q(ITEMS, [id]));
    },
  },
  'days that are far apart': {
    repeats: [nPlusOne('shifts', 'holidays.day')],
    run: async ({ q }, { size }) =>
      each(await q('SELECT day, name FROM holidays ORDER BY day LIMIT $1', [size]), ({ day }) =>
        q('SELECT * FROM shifts WHERE day = $1', [day]),
      ),
  },
  'times to the millisecond': {
    repeats: [nPlusOne('posts', 'sitemap.changed_at')],
    run: async ({ q }, { size }) =>
      each(await q('SELECT changed_at FROM sitemap ORDER BY id LIMIT $1', [size]), row =>
        q('SELECT id FROM posts WHERE published_at = $1', [row['changed_at']]),
      ),
  },
  'e-mail addresses': {
    repeats: [nPlusOne('customers', 'users.email')],
    run: async ({ q }, { size }) =>
      each(await q('SELECT id, email FROM users ORDER BY id LIMIT $1', [size]), ({ email }) =>
        q('SELECT id FROM customers WHERE email = $1', [email]),
      ),
  },
  slugs: {
    repeats: [nPlusOne('posts', 'sitemap.slug')],
    run: async ({ q }, { size }) =>
      each(await q('SELECT slug FROM sitemap ORDER BY id LIMIT $1', [size]), ({ slug }) =>
        q('SELECT id, title FROM posts WHERE slug = $1', [slug]),
      ),
  },
  'article numbers': {
    repeats: [nPlusOne('products', 'order_items.sku')],
    run: async ({ q }, { size }) =>
      each(await q('SELECT sku, quantity FROM order_items ORDER BY id LIMIT $1', [size]), ({ sku }) =>
        q('SELECT id, stock FROM products WHERE sku = $1', [sku]),
      ),
  },
  'an array in each row': {
    repeats: [nPlusOne('products', 'orders.product_ids')],
    run: async ({ q }, { size }) => {
      for (const order of await q('SELECT id, product_ids FROM orders ORDER BY id LIMIT $1', [size])) {
        for (const id of order['product_ids'] as unknown[]) await q(PRODUCT, [id]);
      }
    },
  },
  'a JSON column in each row': {
    repeats: [nPlusOne('coupons', 'orders.metadata')],
    run: async ({ q }, { size }) =>
      each(await q('SELECT id, metadata FROM orders ORDER BY id LIMIT $1', [size]), order =>
        q('SELECT code FROM coupons WHERE id = $1', [(order['metadata'] as { couponId: unknown }).couponId]),
      ),
  },
  'a JSON aggregate in each row': {
    repeats: [nPlusOne('products', 'orders.items or order_items.items')],
    run: async ({ q }, { size }) => {
      const orders = await q(
        `SELECT o.id, (SELECT json_agg(json_build_object('productId', i.product_id))
           FROM order_items i WHERE i.order_id = o.id) AS items FROM orders o ORDER BY o.id LIMIT $1`,
        [size],
      );
      for (const { items } of orders) {
        for (const item of items as { productId: unknown }[]) await q(PRODUCT, [item.productId]);
      }
    },
  },
  'a key that is made of an id': {
    repeats: [nPlusOne('cache_entries', 'orders.id')],
    run: async ({ q }, { size }) =>
      each(await q(ORDERS, [size]), ({ id }) =>
        q('SELECT value FROM cache_entries WHERE key = $1', [`order:${String(id)}`]),
      ),
  },
});

const streams = guilty('streams', 'pg', {
  'rows of a cursor': {
    repeats: [nPlusOne('order_items', 'orders.id')],
    run: async ({ pool, q }, { size }) => {
      const client = await pool.connect();
      try {
        const cursor = client.query(new Cursor<Row>(ORDERS, [size]));
        await each(await cursor.read(size), ({ id }) => q(ITEMS, [id]));
        await cursor.close();
      } finally {
        client.release();
      }
    },
  },
  'rows of a cursor, three at a time': {
    repeats: [nPlusOne('order_items', 'orders.id')],
    run: async ({ pool, q }, { size }) => {
      const client = await pool.connect();
      try {
        const cursor = client.query(new Cursor<Row>(ORDERS, [size]));
        for (let rows = await cursor.read(3); rows.length > 0; rows = await cursor.read(3)) {
          await each(rows, ({ id }) => q(ITEMS, [id]));
        }
        await cursor.close();
      } finally {
        client.release();
      }
    },
  },
  'rows of a stream': {
    repeats: [nPlusOne('customers', 'orders.buyer_id')],
    run: async ({ pool, q }, { size }) => {
      const client = await pool.connect();
      try {
        for await (const row of client.query(new QueryStream(ORDERS, [size]))) {
          await q('SELECT name FROM customers WHERE id = $1', [(row as Row)['buyer_id']]);
        }
      } finally {
        client.release();
      }
    },
  },
});

export const guiltyValues = [...values, ...streams];
