import { innocent } from './labelled-handler';
import type { Row } from './shop';

const ORDERS = 'SELECT id, buyer_id, tenant_id, status, placed_on, total FROM orders ORDER BY id LIMIT $1';
const PRODUCT = 'SELECT * FROM products WHERE id = $1';

const STATUSES = ['open', 'paid', 'packed', 'sent', 'returned'];
const dayOf = (n: number): string => `2026-01-${String(n).padStart(2, '0')}`;

/** Keys that are written down in the code, and so are small numbers. */
const counted = ['counted'] as const;

const words = innocent('fixed words', 'pg', {
  'counts by status': async ({ q }) => {
    for (const status of STATUSES) await q('SELECT count(*) FROM orders WHERE status = $1', [status]);
  },
  'counts by status, after a list with that column': async ({ q }, { size }) => {
    await q(ORDERS, [size]);
    for (const status of STATUSES) await q('SELECT count(*) FROM orders WHERE status = $1', [status]);
  },
  'counts by status in the order of the list': async ({ q }, { size }) => {
    await q(ORDERS, [size]);
    const board = ['paid', 'packed', 'sent', 'returned', 'closed', 'open'];
    await Promise.all(board.map(status => q('SELECT count(*) FROM orders WHERE status = $1', [status])));
  },
  'what the user may do': async ({ q, id }) => {
    const may: Record<string, boolean> = {};
    for (const action of ['read', 'write', 'delete', 'approve']) {
      const found = await q('SELECT 1 FROM permissions WHERE user_id = $1 AND action = $2', [
        id('users', 1),
        action,
      ]);
      may[action] = found.length > 0;
    }
    return may;
  },
  'settings by key': async ({ q }) => {
    for (const key of ['currency', 'locale', 'theme', 'timezone', 'logo'])
      await q('SELECT value FROM settings WHERE key = $1', [key]);
  },
  'settings by key, after all keys': async ({ q }) => {
    const known = new Set((await q('SELECT key FROM settings')).map(({ key }) => key));
    for (const key of ['theme', 'currency', 'logo', 'locale'])
      if (known.has(key)) await q('SELECT value FROM settings WHERE key = $1', [key]);
  },
  'words that are searched for': async ({ q }, { size }) => {
    await q('SELECT id, name FROM products ORDER BY id LIMIT $1', [size]);
    for (const word of ['product 1', 'product 2', 'product 3', 'product 4'])
      await q('SELECT id FROM products WHERE name LIKE $1', [`${word}%`]);
  },
  'channels that are told': async ({ q }, { size }) => {
    await q(ORDERS, [size]);
    for (const channel of ['orders', 'invoices', 'stock', 'mail'])
      await q('SELECT pg_notify($1, $2)', [channel, 'changed']);
  },
});

const times = innocent('fixed times and numbers', 'pg', {
  'the twelve months': async ({ q }, { size }) => {
    await q(ORDERS, [size]);
    for (let month = 1; month <= 12; month++)
      await q('SELECT sum(total) FROM orders WHERE extract(month FROM placed_on) = $1', [month]);
  },
  'the last seven days': async ({ q }, { size }) => {
    await q(ORDERS, [size]);
    for (let n = 8; n >= 2; n--) await q('SELECT count(*) FROM orders WHERE placed_on = $1', [dayOf(n)]);
  },
  'seven days, in the order of the list': async ({ q }, { size }) => {
    await q('SELECT id, placed_on FROM orders ORDER BY id LIMIT $1', [size]);
    for (let n = 2; n <= 8; n++) await q('SELECT count(*) FROM orders WHERE placed_on = $1', [dayOf(n)]);
  },
  'days as Date': async ({ q }, { size }) => {
    await q('SELECT day FROM shifts ORDER BY day LIMIT $1', [size]);
    for (let n = 1; n <= 7; n++)
      await q('SELECT count(*) FROM holidays WHERE day = $1', [new Date(2026, 0, n)]);
  },
  'the five years': async ({ q }, { size }) => {
    await q('SELECT id, title, year FROM posts ORDER BY id LIMIT $1', [size]);
    for (const year of [2022, 2023, 2024, 2025, 2026])
      await q('SELECT count(*) FROM posts WHERE year = $1', [year]);
  },
  'from one month to the next': async ({ q }, { size }) => {
    await q(ORDERS, [size]);
    for (let month = 1; month <= 6; month++)
      await q('SELECT count(*) FROM orders WHERE placed_on BETWEEN $1 AND $2', [
        `2026-0${month}-01`,
        `2026-0${month}-28`,
      ]);
  },
  'steps of a price': async ({ q }, { size }) => {
    await q(ORDERS, [size]);
    for (const price of [10, 50, 100, 200, 500])
      await q('SELECT count(*) FROM orders WHERE total >= $1', [price]);
  },
  'rates by weight': async ({ q }, { size }) => {
    await q('SELECT id, quantity FROM order_items ORDER BY id LIMIT $1', [size]);
    for (const weight of [1, 2, 3, 4, 5]) await q('SELECT price FROM rates WHERE weight = $1', [weight]);
  },
  'tenths of a list': async ({ q }, { size }) => {
    await q('SELECT id, total FROM orders ORDER BY total LIMIT $1', [size]);
    for (let tenth = 0; tenth < 10; tenth++)
      await q('SELECT count(*) FROM orders WHERE total >= $1 AND total < $2', [
        tenth * 100,
        tenth * 100 + 100,
      ]);
  },
});

const dashboards = innocent('dashboards', 'pg', {
  'six counts of six tables': async ({ q }) =>
    Promise.all(
      ['orders', 'customers', 'products', 'posts', 'comments', 'reviews'].map(table =>
        q(`SELECT count(*) FROM ${table}`),
      ),
    ),
  'six products of the front page': async ({ q, id }) =>
    Promise.all([11, 4, 27, 35, 8, 62].map(n => q(PRODUCT, [id('products', n)]))),
  'six products, after a list of orders': async ({ q, id }, { size }) => {
    await q(ORDERS, [size]);
    for (const n of [1, 2, 3, 4, 5, 6]) await q(PRODUCT, [id('products', n)]);
  },
  'as many products as the guard loads permissions': async ({ q, id }) => {
    for (const n of [1, 2, 3, 4]) await q(PRODUCT, [id('products', n)]);
  },
  'tabs of fixed categories, after a list with that column': {
    ids: counted,
    run: async ({ q }, { size }) => {
      await q('SELECT id, name, category_id FROM products ORDER BY id LIMIT $1', [size]);
      for (const category of [3, 1, 5, 2, 6, 4])
        await q('SELECT count(*) FROM products WHERE category_id = $1', [category]);
    },
  },
  'three fixed roles, after a list of users': {
    ids: counted,
    run: async ({ q }, { size }) => {
      await q('SELECT id, email, role_id FROM users ORDER BY id LIMIT $1', [size]);
      for (const role of [1, 2, 3]) await q('SELECT name FROM roles WHERE id = $1', [role]);
    },
  },
  'three of twenty accounts': async ({ q }) => {
    const accounts = await q('SELECT id, name FROM accounts ORDER BY id LIMIT 20');
    const wanted = ['account 4', 'account 15', 'account 9'];
    for (const name of wanted) {
      const account = accounts.find(one => one['name'] === name)!;
      await q('SELECT sum(amount) FROM transfers WHERE account_id = $1', [account['id']]);
    }
  },
  'three of a list, compared': async ({ q, id }, { size }) => {
    await q(ORDERS, [size + 20]);
    const picked = [2, 19, 11].map(n => id('orders', n));
    await Promise.all(picked.map(one => q('SELECT sum(amount) FROM payments WHERE order_id = $1', [one])));
  },
  'four shards': async ({ q }, { size }) => {
    await q(ORDERS, [size]);
    for (let shard = 0; shard < 4; shard++)
      await q('SELECT count(*) FROM customers WHERE abs(hashtext(name)) % 4 = $1', [shard]);
  },
  'a union of its own each': async ({ q }, { size }) => {
    await q(ORDERS, [size]);
    for (const [table, column] of [
      ['payments', 'amount'],
      ['products', 'stock'],
      ['rates', 'price'],
      ['stock', 'quantity'],
    ])
      await q(`SELECT sum(${column}) FROM ${table}`);
  },
});

const given = innocent('given keys', 'pg', {
  'ids of the body': {
    lookUps: 'products',
    run: async ({ q, id }, { size }) => {
      const body = Array.from({ length: size }, (_, i) => id('products', 1 + ((i * 31) % 90)));
      for (const one of body) await q(PRODUCT, [one]);
    },
  },
  'ids of the body, in their order': {
    lookUps: 'products',
    run: async ({ q, id }, { size }) => {
      const body = Array.from({ length: size }, (_, i) => id('products', 1 + i));
      for (const one of body) await q(PRODUCT, [one]);
    },
  },
  'ids of the body, all at once': async ({ q, id }, { size }) => {
    const body = Array.from({ length: size }, (_, i) => id('orders', 1 + ((i * 31) % 80)));
    await Promise.all(body.map(one => q('SELECT * FROM payments WHERE order_id = $1', [one])));
  },
  'ids of the body, after a list of something else': {
    lookUps: 'products',
    run: async ({ q, id }, { size }) => {
      await q('SELECT id, title FROM posts ORDER BY id LIMIT $1', [size]);
      const cart = Array.from({ length: size }, (_, i) => id('products', 1 + ((i * 13) % 90)));
      for (const one of cart) await q(PRODUCT, [one]);
    },
  },
  'an order of the body that is written': async ({ q, id }, { size }) => {
    for (let position = 1; position <= size; position++)
      await q('UPDATE jobs SET progress = $1 WHERE id = $2', [
        position,
        id('jobs', 1 + ((position * 7) % 60)),
      ]);
  },
  'lines of a file that are written': async ({ q }, { size }) => {
    for (let line = 1; line <= size; line++)
      await q('INSERT INTO audit_log (step, message) VALUES ($1, $2)', [line, `line ${line}`]);
  },
});

const redis = innocent('given keys', 'redis', {
  'ids of a list in Redis': {
    lookUps: 'orders',
    // Whoever takes Redis for a source of rows may call it an N+1 of that list.
    undecided: ['orders'],
    run: async ({ q, redis: client, redisKey }, { size }) => {
      const recent = size === 0 ? [] : await client.lrange(redisKey, 0, size - 1);
      const orders: (Row | undefined)[] = [];
      for (const one of recent) orders.push((await q('SELECT * FROM orders WHERE id = $1', [one]))[0]);
      return orders;
    },
  },
});

export const innocentFixed = [...words, ...times, ...dashboards, ...given, ...redis];
