import { each, innocent } from './labelled-handler';
import type { Query } from './shop';

const ORDERS = 'SELECT id, buyer_id, status FROM orders ORDER BY id LIMIT $1';

// Locked in one order, so that requests at once wait, and do not clash.
const CHANGE = `UPDATE payments SET amount = amount + 0 WHERE id IN
  (SELECT id FROM payments WHERE id = ANY($1) ORDER BY id FOR UPDATE)`;

const control = innocent('waiting and trying again', 'pg', {
  'polled until it is done': async ({ q, id }, { size }) => {
    await q(ORDERS, [size]);
    for (let i = 0; i < size; i++) await q('SELECT state FROM jobs WHERE id = $1', [id('jobs', 5)]);
  },
  'a query that is tried again': async ({ q }) => {
    await q(ORDERS, [3]);
    for (let i = 0; i < 3; i++)
      await q('SELECT 1 / ($1::int - 1) FROM products LIMIT 1', [1]).catch(() => undefined);
  },
  'a transaction that is tried again': async ({ q, transaction, id }, { size }) => {
    await q(ORDERS, [size]);
    for (let attempt = 0; attempt < 4; attempt++) {
      const done = await transaction(async inside => {
        await inside('SELECT stock FROM products WHERE id = $1 FOR UPDATE', [id('products', 7)]);
        await inside('UPDATE products SET stock = stock + 0 WHERE id = $1', [id('products', 7)]);
        if (attempt < 3) throw new Error('could not serialize access');
        return true;
      }).catch(() => false);
      if (done) return;
    }
  },
  'a transaction of a list that is tried again': async ({ transaction }) => {
    for (let attempt = 0; attempt < 4; attempt++) {
      await transaction(async q => {
        const [order] = await q('SELECT id FROM orders ORDER BY id LIMIT 1');
        await q('SELECT * FROM payments WHERE order_id = $1', [order!['id']]);
        if (attempt < 3) throw new Error('deadlock detected');
      }).catch(() => undefined);
    }
  },
  'jobs that are claimed one at a time': async ({ q }, { size }) => {
    for (let i = 0; i < size; i++) {
      const [job] = await q(
        `UPDATE jobs SET state = 'running' WHERE id =
           (SELECT id FROM jobs ORDER BY random() LIMIT 1 FOR UPDATE SKIP LOCKED) RETURNING id`,
      );
      if (job === undefined) break;
      await q("UPDATE jobs SET state = 'waiting' WHERE id = $1", [job['id']]);
    }
  },
  'a queue that is emptied one at a time': ({ transaction }, { size }) =>
    transaction(async q => {
      for (let i = 0; i < size; i++) {
        const [job] = await q('SELECT id FROM jobs ORDER BY random() LIMIT 1 FOR UPDATE SKIP LOCKED');
        if (job !== undefined) await q('SELECT * FROM job_payloads WHERE job_id = $1', [job['id']]);
      }
    }),
  'a name that is taken': async ({ q }, { size }) => {
    await q('SELECT id, slug FROM posts ORDER BY id LIMIT $1', [size]);
    for (let n = 1; n <= 4; n++) await q('SELECT 1 FROM posts WHERE slug = $1', [`how-to-${n}`]);
  },
  'a code that is free': async ({ q }) => {
    await q('SELECT id, code FROM coupons ORDER BY id LIMIT 5');
    for (let i = 0; i < 5; i++)
      await q('SELECT 1 FROM coupons WHERE code = $1', [Math.random().toString(36).slice(2, 10)]);
  },
  'deleted in parts until nothing is left': async ({ q }) => {
    for (let i = 0; i < 5; i++)
      await q('DELETE FROM sessions WHERE ctid IN (SELECT ctid FROM sessions LIMIT 100)');
  },
  'a health check': async ({ q }) => {
    for (let i = 0; i < 4; i++) await q('SELECT 1');
  },
  'numbers of a sequence': async ({ q }, { size }) => {
    await q(ORDERS, [size]);
    for (let i = 0; i < size; i++) await q("SELECT nextval('numbers')");
  },
});

/** As many access rules as there are roles; a library sets one before each statement. */
const asTenant = async (q: Query, tenant: unknown, work: string): Promise<void> => {
  await q("SELECT set_config('app.tenant', $1, true)", [String(tenant)]);
  await q(work);
};

const sessions = innocent('session state and locks', 'pg', {
  'set_config before each statement': ({ transaction, id }, { size }) =>
    transaction(async q => {
      await q('SELECT id, tenant_id FROM orders ORDER BY id LIMIT $1', [size]);
      for (const table of ['orders', 'customers', 'products', 'posts'])
        await asTenant(q, id('tenants', 2), `SELECT count(*) FROM ${table}`);
    }),
  'set_config for each tenant': ({ transaction }) =>
    transaction(async q => {
      const tenants = await q('SELECT id FROM tenants ORDER BY id');
      await each(tenants, ({ id }) => q("SELECT set_config('app.tenant', $1, true)", [String(id)]));
    }),
  'a lock for each of a few': ({ transaction }, { size }) =>
    transaction(async q => {
      await q(ORDERS, [size]);
      for (const lock of [1, 2, 3, 4]) await q('SELECT pg_advisory_xact_lock_shared($1)', [lock]);
    }),
  savepoints: ({ transaction, id }, { size }) =>
    transaction(async q => {
      await q(ORDERS, [size]);
      for (let i = 0; i < 4; i++) {
        await q(`SAVEPOINT step_${i}`);
        await q('UPDATE jobs SET progress = 0 WHERE id = $1', [id('jobs', 3)]);
        await q(`RELEASE SAVEPOINT step_${i}`);
      }
    }),
});

const lines = innocent('lines that are written', 'pg', {
  'five audit lines': async ({ q }, { size }) => {
    await q(ORDERS, [size]);
    for (const message of ['asked', 'allowed', 'loaded', 'formatted', 'answered'])
      await q('INSERT INTO audit_log (message) VALUES ($1)', [message]);
  },
  'audit lines of one order': async ({ q, id }, { size }) => {
    await q(ORDERS, [size]);
    for (const step of ['packed', 'labelled', 'handed over', 'sent'])
      await q('INSERT INTO audit_log (message) VALUES ($1)', [`order ${id('orders', 3)} ${step}`]);
  },
  'numbered steps': async ({ q }, { size }) => {
    await q(ORDERS, [size]);
    for (let step = 1; step <= 5; step++)
      await q('INSERT INTO audit_log (step, message) VALUES ($1, $2)', [step, 'done']);
  },
  'progress of one job': async ({ q, id }, { size }) => {
    const orders = await q(ORDERS, [size]);
    for (let done = 1; done <= orders.length; done++)
      await q('UPDATE jobs SET progress = $1 WHERE id = $2', [done, id('jobs', 2)]);
  },
  'a heartbeat between chunks': async ({ q, id }, { size }) => {
    await q(ORDERS, [size]);
    for (let i = 0; i < 4; i++) await q("UPDATE jobs SET state = 'running' WHERE id = $1", [id('jobs', 4)]);
  },
  'four rows changed, then four products': async ({ q, id }) => {
    await q(CHANGE, [[1, 2, 3, 4].map(n => id('payments', n))]);
    for (const n of [1, 2, 3, 4]) await q('SELECT * FROM products WHERE id = $1', [id('products', n)]);
  },
  'as many rows changed as products asked for': async ({ q, id }, { size }) => {
    await q(CHANGE, [Array.from({ length: size }, (_, i) => id('payments', 1 + i))]);
    for (let n = 1; n <= size; n++) await q('SELECT stock FROM products WHERE id = $1', [id('products', n)]);
  },
  'migrations that are pending': async ({ q }) => {
    const done = new Set((await q('SELECT id, name FROM migrations ORDER BY id')).map(({ name }) => name));
    const pending = ['m1', 'm2', 'm3', 'm4', 'm5', 'm6', 'm7'].filter(name => !done.has(name));
    for (const name of [...pending, 'm8', 'm9'])
      await q('INSERT INTO audit_log (message) VALUES ($1)', [`migration ${name}`]);
  },
  'migrations that are looked for': async ({ q }) => {
    await q('SELECT id FROM migrations ORDER BY id');
    for (const name of ['m1', 'm2', 'm3', 'm4', 'm5'])
      await q('SELECT 1 FROM migrations WHERE name = $1', [name]);
  },
});

const tenants = innocent('tenants', 'pg', {
  'a database for each tenant': async ({ q, tenants: databases }) => {
    const found = await q('SELECT id, name FROM tenants ORDER BY id LIMIT $1', [databases.length]);
    for (const [i, tenant] of found.entries())
      await databases[i]!('SELECT count(*) FROM orders WHERE tenant_id = $1', [tenant['id']]);
  },
  'a database for each tenant, all at once': async ({ q, tenants: databases }) => {
    const found = await q('SELECT id, name FROM tenants ORDER BY id LIMIT $1', [databases.length]);
    await Promise.all(
      found.map((tenant, i) =>
        databases[i]!("SELECT count(*) FROM orders WHERE tenant_id = $1 AND status = 'open'", [tenant['id']]),
      ),
    );
  },
  'a schema for each tenant': ({ transaction, tenantSchemas }) =>
    transaction(async q => {
      await q('SELECT id, name FROM tenants ORDER BY id LIMIT 4');
      for (const schema of tenantSchemas) {
        await q(`SET LOCAL search_path TO ${schema}`);
        await q("SELECT count(*) FROM orders WHERE status = 'open'");
      }
    }),
});

export const innocentLoops = [...control, ...sessions, ...lines, ...tenants];
