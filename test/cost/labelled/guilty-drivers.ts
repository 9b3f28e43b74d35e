import { each, guilty, nPlusOne } from './labelled-handler';
import type { Row } from './shop';

const ORDERS = 'SELECT id, buyer_id, status FROM orders ORDER BY id LIMIT ?';
const ITEMS = 'SELECT * FROM order_items WHERE order_id = ?';
const itemsOfOrders = [nPlusOne('order_items', 'orders.id')];
const buyersOfOrders = [nPlusOne('customers', 'orders.buyer_id')];

const mysql2 = guilty('drivers', 'mysql2', {
  'query in a loop': {
    repeats: itemsOfOrders,
    run: async ({ mysql }, { size }) => each(await mysql(ORDERS, [size]), ({ id }) => mysql(ITEMS, [id])),
  },
  'execute in a loop': {
    repeats: buyersOfOrders,
    run: async ({ mysql2: pool }, { size }) => {
      const [orders] = await pool.query(ORDERS, [size]);
      await each(orders as Row[], order =>
        pool.execute('SELECT name FROM customers WHERE id = ?', [order['buyer_id'] as string]),
      );
    },
  },
  'nested, all at once': {
    repeats: [...itemsOfOrders, nPlusOne('products', 'order_items.product_id')],
    run: async ({ mysql }, { size }) =>
      Promise.all(
        (await mysql(ORDERS, [size])).map(async ({ id }) =>
          Promise.all(
            (await mysql(ITEMS, [id])).map(item =>
              mysql('SELECT * FROM products WHERE id = ?', [item['product_id']]),
            ),
          ),
        ),
      ),
  },
  'written into the text': {
    repeats: itemsOfOrders,
    run: async ({ mysql }, { size }) =>
      each(await mysql(ORDERS, [size]), ({ id }) =>
        mysql(`SELECT * FROM order_items WHERE order_id = '${String(id)}'`),
      ),
  },
  'rows as arrays': {
    repeats: buyersOfOrders,
    run: async ({ mysql2: pool, mysql }, { size }) => {
      const [orders] = await pool.query({ sql: ORDERS, values: [size], rowsAsArray: true });
      await each(orders as unknown[][], order =>
        mysql('SELECT name FROM customers WHERE id = ?', [order[1]]),
      );
    },
  },
});

const binary = [
  ...guilty('drivers', 'mysql2', {
    'UUIDs as Buffer': {
      repeats: [nPlusOne('scans', 'parcels.id')],
      run: async ({ mysql }, { size }) =>
        each(await mysql('SELECT id, name FROM parcels ORDER BY id LIMIT ?', [size]), ({ id }) =>
          mysql('SELECT place FROM scans WHERE parcel_id = ?', [id]),
        ),
    },
  }),
  ...guilty('drivers', 'mariadb', {
    'UUIDs as Buffer': {
      repeats: [nPlusOne('scans', 'parcels.id')],
      run: async ({ mariadb: pool }, { size }) =>
        each(await pool.query<Row[]>('SELECT id FROM parcels ORDER BY id LIMIT ?', [size]), ({ id }) =>
          pool.execute('SELECT place FROM scans WHERE parcel_id = ?', [id]),
        ),
    },
  }),
];

const mariadb = guilty('drivers', 'mariadb', {
  'query in a loop': {
    repeats: itemsOfOrders,
    run: async ({ mariadb: pool }, { size }) =>
      each(await pool.query<Row[]>(ORDERS, [size]), ({ id }) => pool.query(ITEMS, [id])),
  },
  'buyers, all at once': {
    repeats: buyersOfOrders,
    run: async ({ mariadb: pool }, { size }) =>
      Promise.all(
        (await pool.query<Row[]>(ORDERS, [size])).map(order =>
          pool.execute('SELECT * FROM customers WHERE id = ?', [order['buyer_id']]),
        ),
      ),
  },
  'a row written for each row': {
    repeats: [nPlusOne('exports', 'orders.id')],
    run: async ({ mariadb: pool }, { size }) =>
      each(await pool.query<Row[]>(ORDERS, [size]), ({ id }) =>
        pool.query('INSERT INTO exports (order_id, format) VALUES (?, ?)', [id, 'pdf']),
      ),
  },
  'a page that asks for one more': {
    repeats: itemsOfOrders,
    run: async ({ mariadb: pool }, { size }) => {
      const orders = await pool.query<Row[]>(ORDERS, [size + 1]);
      await each(orders.slice(0, size), ({ id }) => pool.query(ITEMS, [id]));
    },
  },
});

const postgres = guilty('drivers', 'postgres', {
  'items in a loop': {
    repeats: itemsOfOrders,
    run: async ({ sql }, { size }) =>
      each(
        await sql`SELECT id, status FROM orders ORDER BY id LIMIT ${size}`,
        async ({ id }) => sql`SELECT * FROM order_items WHERE order_id = ${id as string}`,
      ),
  },
  'buyers, all at once': {
    repeats: buyersOfOrders,
    run: async ({ sql }, { size }) => {
      const orders = await sql`SELECT id, buyer_id FROM orders ORDER BY id LIMIT ${size}`;
      await Promise.all(
        orders.map(order => sql`SELECT name FROM customers WHERE id = ${order['buyer_id'] as string}`),
      );
    },
  },
});

const sqlite = guilty('drivers', 'better-sqlite3', {
  'all in a loop': {
    repeats: itemsOfOrders,
    run: async ({ sqlite: db }, { size }) => {
      for (const { id } of db.prepare(ORDERS).all(size) as Row[]) db.prepare(ITEMS).all(id);
    },
  },
  'get of one prepared statement': {
    repeats: buyersOfOrders,
    run: async ({ sqlite: db }, { size }) => {
      const buyer = db.prepare('SELECT * FROM customers WHERE id = ?');
      return (db.prepare(ORDERS).all(size) as Row[]).map(order => buyer.get(order['buyer_id']));
    },
  },
});

const mongodb = guilty('drivers', 'mongodb', {
  'findOne in a loop': {
    repeats: [nPlusOne('customers', 'orders.buyerId')],
    run: async ({ mongo }, { size }) => {
      const orders = await mongo.collection('orders').find().limit(size).toArray();
      await each(orders, order => mongo.collection('customers').findOne({ _id: order['buyerId'] }));
    },
  },
  'find for each document': {
    repeats: [nPlusOne('items', 'orders._id')],
    run: async ({ mongo }, { size }) => {
      const orders = await mongo.collection('orders').find().limit(size).toArray();
      await Promise.all(orders.map(({ _id }) => mongo.collection('items').find({ orderId: _id }).toArray()));
    },
  },
});

export const guiltyDrivers = [...mysql2, ...mariadb, ...binary, ...postgres, ...sqlite, ...mongodb];
