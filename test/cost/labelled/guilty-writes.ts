import { each, guilty, nPlusOne } from './labelled-handler';

const ORDERS = 'SELECT id, buyer_id, status FROM orders ORDER BY id LIMIT $1';

export const guiltyWrites = guilty('writes', 'pg', {
  'a row written for each row': {
    repeats: [nPlusOne('exports', 'orders.id')],
    run: async ({ q }, { size }) =>
      each(await q(ORDERS, [size]), ({ id }) =>
        q('INSERT INTO exports (order_id, format) VALUES ($1, $2)', [id, 'pdf']),
      ),
  },
  'a row written for each row, all at once': {
    repeats: [nPlusOne('exports', 'orders.id')],
    run: async ({ q }, { size }) =>
      Promise.all(
        (await q(ORDERS, [size])).map(({ id }) =>
          q('INSERT INTO exports (order_id, format) VALUES ($1, $2)', [id, 'csv']),
        ),
      ),
  },
  'each order marked, in a transaction': {
    repeats: [nPlusOne('orders', 'orders.id')],
    run: ({ transaction }, { size }) =>
      transaction(async q =>
        each(await q(ORDERS, [size]), ({ id, status }) =>
          q('UPDATE orders SET status = $1 WHERE id = $2', [status, id]),
        ),
      ),
  },
  'the stock of each item taken': {
    repeats: [nPlusOne('products', 'order_items.product_id')],
    run: ({ transaction }, { size }) =>
      transaction(async q =>
        each(
          await q('SELECT DISTINCT product_id FROM order_items ORDER BY product_id LIMIT $1', [size]),
          ({ product_id }) => q('UPDATE products SET stock = stock - 0 WHERE id = $1', [product_id]),
        ),
      ),
  },
  'the sessions of each user deleted': {
    repeats: [nPlusOne('sessions', 'users.id')],
    run: async ({ q }, { size }) =>
      each(await q('SELECT id FROM users ORDER BY id LIMIT $1', [size]), ({ id }) =>
        q('DELETE FROM sessions WHERE user_id = $1', [id]),
      ),
  },
  'asked whether it is there, then changed': {
    repeats: [nPlusOne('payments', 'orders.id'), nPlusOne('payments', 'orders.id')],
    run: async ({ q }, { size }) =>
      each(await q(ORDERS, [size]), async ({ id }) => {
        const found = await q('SELECT 1 FROM payments WHERE order_id = $1', [id]);
        if (found.length === 1) await q('UPDATE payments SET amount = amount + 0 WHERE order_id = $1', [id]);
      }),
  },
  'a log line with the number in its text': {
    repeats: [nPlusOne('audit_log', 'orders.id')],
    run: async ({ q }, { size }) =>
      each(await q(ORDERS, [size]), ({ id }) =>
        q('INSERT INTO audit_log (message) VALUES ($1)', [`order ${String(id)}`]),
      ),
  },
  'a delivery for each row just written': {
    repeats: [nPlusOne('deliveries', 'notifications.id')],
    run: async ({ q, id }, { size }) => {
      if (size === 0) return;
      const users = Array.from({ length: size }, (_, i) => id('users', 1 + i));
      const written = await q(
        `INSERT INTO notifications (user_id) VALUES ${users.map((_, i) => `($${i + 1})`)} RETURNING id`,
        users,
      );
      await each(written, row =>
        q('INSERT INTO deliveries (notification_id, sent_at) VALUES ($1, now())', [row['id']]),
      );
    },
  },
  'the payload of each job that was claimed': {
    repeats: [nPlusOne('job_payloads', 'jobs.id')],
    run: async ({ q }, { size }) => {
      const claimed = await q(
        `UPDATE jobs SET state = 'running' WHERE id IN (SELECT id FROM jobs ORDER BY id LIMIT $1 FOR UPDATE) RETURNING id`,
        [size],
      );
      await each(claimed, ({ id }) => q('SELECT * FROM job_payloads WHERE job_id = $1', [id]));
    },
  },
  'an upsert for each row': {
    repeats: [nPlusOne('contacts', 'orders.buyer_id')],
    run: async ({ q }, { size }) =>
      each(await q(ORDERS, [size]), order =>
        q('INSERT INTO contacts (customer_id) VALUES ($1) ON CONFLICT DO NOTHING', [order['buyer_id']]),
      ),
  },
});
