import { describe, expect, it } from 'vitest';
import { GrowthHistory } from '../../../lib/cost/growth-history';
import { IDS, type Row, rowsOf, UnitOfWork } from './unit-of-work';

const ORDERS = 'SELECT * FROM orders ORDER BY id LIMIT $1';
const ITEMS = 'SELECT * FROM items WHERE order_id = $1';
const ORDER_OF_ITEMS = 'SELECT i.* FROM items i INNER JOIN orders o ON o.id = i.order_id WHERE o.id = $1';
const BUYER = 'SELECT * FROM customers WHERE id = $1';

describe.each(Object.entries(IDS))('%s', (_, id) => {
  const buyer = (n: number): unknown => id((n * 5 + 2) % 31);
  const order = (n: number): Row => ({ id: id(n), buyer_id: buyer(n), status: 'open', total: n * 10 });
  const orders = (count: number, from = 0): Row[] => rowsOf(count, order, from);
  const guarded = (): UnitOfWork => {
    const unit = new UnitOfWork();
    unit.run('SELECT * FROM users WHERE id = $1', [id(3)], [{ id: id(3), name: 'Ann' }]);
    unit.run(
      'SELECT * FROM permissions WHERE user_id = $1',
      [id(3)],
      rowsOf(6, n => ({ id: id(n, 1), user_id: id(3), name: `may ${n}` })),
    );
    return unit;
  };

  it('proves an N+1 at its third value, where that is half of the list', () => {
    const unit = guarded();
    const list = unit.run(ORDERS, [6], orders(6));
    for (const [i, row] of list.entries()) {
      expect(unit.ledger.repeats).toBe(i < 3 ? 0 : i);
      unit.run(ITEMS, [row['id']], [{ id: id(i + 50), order_id: row['id'] }]);
    }
    expect(unit.found).toEqual(['proven items < orders.id']);
  });

  it('proves it at its fifth value, however long the list is', () => {
    const unit = guarded();
    const list = unit.run(ORDERS, [100], orders(100));
    for (const row of list.slice(0, 4)) unit.run(ITEMS, [row['id']], []);
    expect(unit.ledger.repeats).toBe(0);
    unit.run(ITEMS, [list[4]!['id']], []);
    expect(unit.ledger.repeats).toBe(5);
  });

  it('proves what is sent at once', () => {
    const unit = guarded();
    const list = unit.run(ORDERS, [7], orders(7));
    const open = list.map(row => unit.begin(ITEMS, [row['id']]));
    for (const end of open) end([]);
    expect(unit.found).toEqual(['proven items < orders.id']);
  });

  it('proves it where a row is read again, and so found in its own results as well', () => {
    const unit = guarded();
    const author = (n: number): unknown => id((n * 11) % 9, 40);
    for (const [i, row] of unit.run(ORDERS, [7], orders(7)).entries()) {
      const notes = unit.run(
        'SELECT * FROM notes WHERE order_id = $1',
        [row['id']],
        rowsOf(3, n => ({ id: id(300 + 3 * i + n), order_id: row['id'], author_id: author(i + 3 * n) })),
      );
      for (const note of notes)
        unit.run(BUYER, [note['author_id']], [{ id: note['author_id'], name: 'Ann' }]);
    }
    expect(unit.found).toContain('proven customers < notes.author_id');
  });

  it('does not take a linked list for one of a list that was read before', () => {
    const unit = guarded();
    const next = (n: number): unknown => id((n * 5 + 3) % 12);
    unit.run(
      'SELECT id, name FROM nodes ORDER BY id',
      [],
      rowsOf(12, n => ({ id: id(n), name: `n${n}` })),
    );
    let at = 0;
    for (let i = 0; i < 11; i++) {
      unit.run('SELECT * FROM nodes WHERE id = $1', [id(at)], [{ id: id(at), next_id: next(at) }]);
      at = (at * 5 + 3) % 12;
    }
    expect(unit.found.filter(found => found.startsWith('proven'))).toEqual([]);
  });

  it('proves each level of what is nested, by its own parent', () => {
    const unit = guarded();
    for (const [i, row] of unit.run(ORDERS, [5], orders(5)).entries()) {
      const items = unit.run(
        ITEMS,
        [row['id']],
        rowsOf(3, n => ({ id: id(100 + n + 3 * i), order_id: row['id'], product_id: id(200 + n + 3 * i) })),
      );
      for (const item of items)
        unit.run('SELECT * FROM products WHERE id = $1', [item['product_id']], [{ id: item['product_id'] }]);
    }
    expect(unit.found).toEqual(['proven products < items.product_id', 'proven items < orders.id']);
  });

  it('gives each link of a chain the one before, which has its values', () => {
    const unit = guarded();
    for (const row of unit.run(
      'SELECT * FROM posts',
      [],
      rowsOf(8, n => ({ id: id(n), user_id: id(40 + n) })),
    )) {
      const [user] = unit.run(
        'SELECT * FROM users WHERE id = $1 AND active',
        [row['user_id']],
        [{ id: row['user_id'], avatar_id: id(90 + (row['user_id'] === id(43) ? 1 : unit.ledger.queries)) }],
      );
      unit.run('SELECT * FROM avatars WHERE id = $1', [user!['avatar_id']], [{ id: user!['avatar_id'] }]);
    }
    expect(unit.found.toSorted()).toEqual([
      'proven avatars < users.avatar_id',
      'proven users < posts.user_id',
    ]);
  });

  it('names the list, and not what was loaded beside it with the same ids', () => {
    const unit = guarded();
    const list = unit.run(ORDERS, [6], orders(6));
    unit.run(
      'SELECT * FROM orders_channels WHERE order_id IN ($1, $2, $3, $4, $5, $6)',
      list.map(row => row['id']),
      list.map(row => ({ order_id: row['id'], channel_id: id(1, 7) })),
    );
    for (const row of list) unit.run(ORDER_OF_ITEMS, [row['id']], []);
    expect(unit.found).toEqual(['proven items < orders.id']);
  });

  it('names the table of a joined column', () => {
    const unit = guarded();
    const text =
      'SELECT line.id AS line_id, line__line_variant.id AS line__line_variant_id FROM order_line line ' +
      'LEFT JOIN variant line__line_variant ON line__line_variant.id = line.variant_id WHERE line.order_id = $1';
    const lines = rowsOf(6, n => ({ line_id: id(n, 3), line__line_variant_id: id(60 + n * 3) }));
    for (const row of unit.run(text, [id(1)], lines))
      unit.run('SELECT * FROM prices WHERE variant_id = $1', [row['line__line_variant_id']], []);
    expect(unit.found).toEqual(['proven prices < order_line.variant.id']);
  });

  it('names the column behind the alias of a query in brackets', () => {
    const unit = guarded();
    const text =
      'SELECT DISTINCT "distinctAlias"."Order_id" AS "ids_Order_id" FROM (SELECT "Order"."id" AS "Order_id" ' +
      'FROM "orders" "Order") "distinctAlias" ORDER BY "Order_id" LIMIT 6';
    const ids = rowsOf(6, n => ({ ids_Order_id: id(n) }));
    for (const row of unit.run(text, [], ids)) unit.run(ITEMS, [row['ids_Order_id']], []);
    expect(unit.found).toEqual(['proven items < orders.id']);
  });

  it('names the list, and not what was looked up one by one for its rows', () => {
    const unit = guarded();
    const list = unit.run(
      'SELECT id, product_id FROM lines',
      [],
      rowsOf(7, n => ({ id: id(n), product_id: id(50 + n * 3) })),
    );
    for (const row of list) {
      unit.run('SELECT * FROM products WHERE id = $1', [row['product_id']], [{ id: row['product_id'] }]);
      unit.run('SELECT * FROM stock WHERE product_id = $1', [row['product_id']], []);
    }
    expect(unit.found.toSorted()).toEqual([
      'proven products < lines.product_id',
      'proven stock < lines.product_id',
    ]);
  });

  it('names the column of a row that fits, where another one has the same values', () => {
    const unit = guarded();
    const rows = rowsOf(9, n => ({
      id: id(n, 5),
      base_id: id(70 + (n % 4) * 3),
      product_id: n < 4 ? id(70 + n * 3) : id(90 + n),
    }));
    const list = unit.run('SELECT * FROM lines', [], rows);
    for (const row of list.slice(0, 4))
      unit.run('SELECT * FROM products WHERE id = $1', [row['product_id']], []);
    expect(unit.found.join()).not.toContain('base_id');
  });

  it('finds a filtered loop of five and more', () => {
    const unit = guarded();
    const list = unit.run(ORDERS, [12], orders(12)).filter((__, n) => n % 2 === 0);
    for (const row of list) unit.run(ITEMS, [row['id']], []);
    expect(unit.found).toEqual(['proven items < orders.id']);
  });

  it('finds the loop over a page that was read with a row more', () => {
    const unit = guarded();
    const list = unit.run(ORDERS, [8], orders(8)).slice(0, 7);
    for (const row of list) unit.run(ITEMS, [row['id']], []);
    expect(unit.found).toEqual(['proven items < orders.id']);
  });

  it('finds the loop over a parent that a join repeats', () => {
    const unit = guarded();
    const list = unit.run(
      'SELECT o.id AS order_id, t.name FROM orders o JOIN tags t ON t.order_id = o.id',
      [],
      orders(5).flatMap(row => rowsOf(3, n => ({ order_id: row['id'], name: `tag ${n}` }))),
    );
    for (const one of new Set(list.map(row => row['order_id']))) unit.run(ITEMS, [one], []);
    expect(unit.found).toEqual(['proven items < orders.id']);
  });

  it('finds the loop over two lists, both before it', () => {
    const unit = guarded();
    const open = unit.run("SELECT * FROM orders WHERE status = 'open'", [], orders(6));
    const old = unit.run('SELECT * FROM archived_orders', [], orders(7, 20));
    for (const row of [...open, ...old]) unit.run(ITEMS, [row['id']], []);
    expect(unit.found).toEqual(['proven items < archived_orders.id + orders.id']);
  });

  it('finds what comes after more than a hundred other statements', () => {
    const unit = guarded();
    for (let n = 0; n < 110; n++) unit.run(`SELECT c${n} FROM settings`, [], [{ [`c${n}`]: n }]);
    for (const row of unit.run(ORDERS, [6], orders(6))) unit.run(ITEMS, [row['id']], []);
    expect(unit.found).toEqual(['proven items < orders.id']);
  });

  it('takes a loop over tenants for no N+1', () => {
    const unit = guarded();
    const databases = [{}, {}, {}, {}];
    const tenants = unit.run(
      'SELECT id, host FROM tenants',
      [],
      rowsOf(4, n => ({ id: id(n, 4), host: `db${n}` })),
    );
    for (const [i, tenant] of tenants.entries())
      unit.run(
        'SELECT count(*) FROM invoices WHERE tenant_id = $1',
        [tenant['id']],
        [{ count: '7' }],
        undefined,
        databases[i],
      );
    expect(unit.found).toEqual([]);
  });

  it('takes the list whose values it has, and not the one of as many rows', () => {
    const unit = guarded();
    const list = unit.run(ORDERS, [6], orders(6));
    unit.run(
      'SELECT * FROM banners',
      [],
      rowsOf(6, n => ({ id: id(n, 2), position: n })),
    );
    for (const row of list) unit.run(ITEMS, [row['id']], []);
    expect(unit.found).toEqual(['proven items < orders.id']);
  });

  it('finds inlined values', () => {
    const unit = guarded();
    const list = unit.run(ORDERS, [6], orders(6));
    const text = (value: unknown): string =>
      typeof value === 'number' ? String(value) : `'${String(value)}'`;
    for (const row of list) {
      unit.run(
        `SELECT * FROM "items" AS "i" WHERE "i"."order_id" = ${text(row['id'])} LIMIT 10`,
        undefined,
        [],
      );
    }
    expect(unit.found).toEqual(['proven items < orders.id']);
  });

  it('finds a composite key by the part that changes', () => {
    const unit = guarded();
    for (const row of unit.run(ORDERS, [6], orders(6)))
      unit.run('SELECT * FROM prices WHERE region = $1 AND order_id = $2', ['eu', row['id']], []);
    expect(unit.found).toEqual(['proven prices < orders.id']);
  });

  it('finds what is written for each row', () => {
    const unit = guarded();
    for (const row of unit.run(ORDERS, [6], orders(6))) {
      unit.write('INSERT INTO mails (kind, order_id) VALUES ($1, $2)', ['sent', row['id']]);
      unit.write('UPDATE orders SET status = $1 WHERE id = $2', ['sent', row['id']]);
    }
    expect(unit.found.toSorted()).toEqual(['proven mails < orders.id', 'proven orders < orders.id']);
  });

  it('finds the id in a text, after the name of its table', () => {
    const unit = guarded();
    for (const row of unit.run(ORDERS, [6], orders(6)))
      unit.run('SELECT * FROM cache_entries WHERE key = $1', [`order:${String(row['id'])}`], []);
    expect(unit.found).toEqual(['proven cache_entries < orders.id']);
  });

  it('finds a tree, and is silent about the way up', () => {
    const unit = guarded();
    const visit = (n: number, depth: number): void => {
      const rows = unit.run(
        'SELECT * FROM nodes WHERE parent_id = $1',
        [id(n)],
        depth === 0 ? [] : rowsOf(2, i => ({ id: id(2 * n + i), parent_id: id(n), n: 2 * n + i })),
      );
      for (const row of rows) visit(row['n'] as number, depth - 1);
    };
    visit(1, 4);
    expect(unit.found).toEqual(['proven nodes < nodes.id']);
    const up = guarded();
    for (let n = 40; n > 1; n = Math.floor(n / 2))
      up.run('SELECT * FROM nodes WHERE id = $1', [id(n)], [{ id: id(n), parent_id: id(Math.floor(n / 2)) }]);
    expect(up.found.filter(line => line.startsWith('proven'))).toEqual([]);
  });

  it('finds ids of an array and of JSON', () => {
    const unit = guarded();
    unit.run(
      'SELECT * FROM carts WHERE id = $1',
      [id(1)],
      [{ id: id(1), product_ids: [1, 2, 3, 4, 5].map(n => id(60 + n)) }],
    );
    for (let n = 1; n <= 5; n++) unit.run('SELECT * FROM products WHERE id = $1', [id(60 + n)], []);
    expect(unit.found).toEqual(['proven products < carts.product_ids']);
    const lists = guarded();
    const carts = lists.run(
      'SELECT * FROM carts',
      [],
      rowsOf(3, n => ({
        id: id(n),
        lines: [0, 1, 2].map(i => ({ productId: id(60 + 3 * n + i), count: 1 })),
      })),
    );
    for (const cart of carts) {
      for (const { productId } of cart['lines'] as { productId: unknown }[])
        lists.run('SELECT * FROM products WHERE id = $1', [productId], []);
    }
    expect(lists.found).toEqual(['proven products < carts.lines.productId']);
  });

  it('finds rows that came as arrays', () => {
    const unit = guarded();
    const columns = [{ name: 'id' }, { name: 'buyer_id' }];
    const list = unit.run(
      'select "id", "buyer_id" from "orders"',
      [],
      orders(6).map(row => [row['id'], row['buyer_id']]),
      columns,
    );
    for (const row of list) unit.run('select "id" from "items" where "items"."order_id" = $1', [row[0]], []);
    expect(unit.found).toEqual(['proven items < orders.id']);
  });

  it('finds columns that TypeORM has renamed', () => {
    const unit = guarded();
    const list = unit.run(
      'SELECT "Order"."id" AS "Order_id", "Order"."buyer_id" AS "Order_buyer_id" FROM "orders" "Order"',
      [],
      orders(6).map(row => ({ Order_id: row['id'], Order_buyer_id: row['buyer_id'] })),
    );
    for (const row of list) {
      unit.run(
        'SELECT "items"."id" AS "items_id" FROM "items" "items" WHERE "items"."order_id" IN ($1)',
        [row['Order_id']],
        [],
      );
    }
    expect(unit.found).toEqual(['proven items < orders.id']);
  });

  // What follows is no N+1, whatever the counts.

  it('takes no part in batches', () => {
    const unit = guarded();
    const ids = unit.run(ORDERS, [30], orders(30)).map(row => row['id']);
    for (let i = 0; i < 30; i += 10) {
      unit.run('SELECT * FROM items WHERE order_id = ANY ($1)', [ids.slice(i, i + 10)], []);
      unit.run('SELECT * FROM notes WHERE order_id IN ($1, $2)', [ids[i], ids[i + 1]], []);
      unit.write('INSERT INTO mails (order_id) VALUES ($1), ($2), ($3)', ids.slice(i, i + 3), 3);
    }
    expect(unit.found).toEqual([]);
  });

  it('takes pages and offsets for no N+1', () => {
    const unit = guarded();
    for (let page = 0; page < 6; page++)
      unit.run('SELECT * FROM orders ORDER BY id LIMIT $1 OFFSET $2', [6, 6 * page], orders(6, 6 * page));
    let last: unknown = id(0);
    for (let page = 0; page < 6; page++) {
      const rows = unit.run('SELECT * FROM orders WHERE id > $1 LIMIT 6', [last], orders(6, 6 * page));
      last = rows[5]!['id'];
    }
    expect(unit.found).toEqual([]);
  });

  it('takes polls, retries and locks for no N+1', () => {
    const unit = guarded();
    unit.run(ORDERS, [4], orders(4));
    for (let i = 0; i < 4; i++) {
      unit.run('SELECT * FROM jobs WHERE id = $1', [id(77)], [{ id: id(77), state: 'open' }]);
      unit.run('SELECT pg_advisory_xact_lock($1)', [id(i)], [{ pg_advisory_xact_lock: '' }]);
      unit.run("SELECT set_config('app.tenant', $1, true)", [id(9)], [{ set_config: '9' }]);
      unit.write('INSERT INTO audits (user_id, what) VALUES ($1, $2)', [id(3), 'a step']);
    }
    expect(unit.found).toEqual([]);
  });

  it('takes a claim loop for no N+1', () => {
    const unit = guarded();
    for (let i = 0; i < 6; i++) {
      const [job] = unit.run(
        'SELECT * FROM jobs WHERE state = $1 LIMIT 1 FOR UPDATE SKIP LOCKED',
        ['open'],
        [{ id: id(i, 3) }],
      );
      unit.write('UPDATE jobs SET state = $1 WHERE id = $2', ['done', job!['id']]);
    }
    expect(unit.found).toEqual([]);
  });

  it('takes fixed words and months for no N+1', () => {
    const unit = guarded();
    unit.run(
      'SELECT * FROM statuses',
      [],
      ['open', 'paid', 'sent', 'done'].map((status, n) => ({ id: id(n), status })),
    );
    for (const status of ['open', 'paid', 'sent', 'done'])
      unit.run('SELECT count(*) FROM orders WHERE status = $1', [status], [{ count: '1' }]);
    for (let month = 1; month <= 6; month++)
      unit.run('SELECT sum(total) FROM payments WHERE month = $1', [`2026-0${month}`], [{ sum: '1' }]);
    expect(unit.found.filter(line => line.startsWith('proven'))).toEqual([]);
  });

  it('takes the author, the reviewer and the approver of one row for no N+1', () => {
    const unit = guarded();
    const [row] = unit.run(
      'SELECT * FROM documents WHERE id = $1',
      [id(1)],
      [{ id: id(1), author_id: id(30), reviewer_id: id(12), approver_id: id(23) }],
    );
    for (const who of ['author_id', 'reviewer_id', 'approver_id'] as const) unit.run(BUYER, [row![who]], []);
    expect(unit.found).toEqual([]);
  });

  it('takes four fixed look-ups after a list of another table for no N+1', () => {
    const unit = guarded();
    unit.run(ORDERS, [4], orders(4));
    for (let n = 1; n <= 4; n++) unit.run('SELECT * FROM settings WHERE id = $1', [n], [{ id: n }]);
    expect(unit.found.filter(line => line.startsWith('proven'))).toEqual([]);
  });

  it('says nothing of an update that returned no rows', () => {
    const unit = guarded();
    unit.write('UPDATE orders SET seen = true WHERE buyer_id = $1', [id(3)], 4);
    for (let n = 0; n < 4; n++) unit.run('SELECT * FROM banners WHERE slot = $1', [`slot${n}`], []);
    expect(unit.found).toEqual([]);
  });

  it('says what the counts do of values that it cannot read', () => {
    const unit = guarded();
    for (const row of unit.run(ORDERS, [7], orders(7))) unit.run(ITEMS, { at: row['id'] }, []);
    expect(unit.found).toEqual(['suspected items < orders']);
  });

  it('calls ids that no result has look-ups, from five on', () => {
    const unit = guarded();
    for (let n = 0; n < 4; n++) unit.run(BUYER, [id(500 + n)], [{ id: id(500 + n) }]);
    expect(unit.found).toEqual([]);
    unit.run(BUYER, [id(600)], []);
    expect(unit.found).toEqual(['look-ups customers']);
    expect(unit.ledger.repeats).toBe(0);
  });
});

describe('a reference to nobody knows which table', () => {
  const irregular = IDS['irregular ids']!;
  const list = (id: (n: number) => unknown, count: number): Row[] =>
    rowsOf(count, n => ({ id: id(n + 100), buyer_id: id(n) }));
  const loop = (unit: UnitOfWork, rows: readonly Row[]): void => {
    for (const row of unit.run(ORDERS, [rows.length], rows)) unit.run(BUYER, [row['buyer_id']], []);
  };

  it('is proven by irregular ids', () => {
    const unit = new UnitOfWork();
    loop(unit, list(irregular, 6));
    expect(unit.found).toEqual(['proven customers < orders.buyer_id']);
  });

  it('is suspected by ids that count up', () => {
    const unit = new UnitOfWork();
    loop(
      unit,
      list(n => n + 1, 6),
    );
    expect(unit.found).toEqual(['suspected customers < orders.buyer_id']);
    expect(unit.ledger.repeats).toBe(0);
  });

  it('is proven once another request of its handler has asked for others', () => {
    const history = new GrowthHistory();
    const ids = [1, 2, 4];
    const rows = (add: number): Row[] => ids.map((id, n) => ({ id: n + 1, buyer_id: id + add }));
    const request = (add: number): UnitOfWork => {
      const unit = new UnitOfWork(history);
      loop(unit, rows(add));
      return unit;
    };
    const [first, again, other] = [request(0), request(0), request(1)];
    expect(first.found).toEqual(['suspected customers < orders.buyer_id']);
    first.close();
    again.close();
    expect(again.found).toEqual(['suspected customers < orders.buyer_id']);
    expect(other.found).toEqual(['proven customers < orders.buyer_id']);
  });
});

describe('a column that is named after data', () => {
  const ids = Array.from({ length: 6 }, (_, n) => IDS['irregular ids']!(n));
  const columnOf = (row: (i: number) => Row, count: number) => {
    const unit = new UnitOfWork();
    unit.run('SELECT * FROM shops_of($1)', [1], rowsOf(count, row));
    for (const id of ids) unit.run('SELECT * FROM products WHERE id = $1', [id], [{ id }]);
    return unit.ledger.findings()[0]?.parents[0]?.column;
  };

  it.each([
    ['orderIds', 'carts.orderIds'],
    ['ann@example.com', 'carts.?'],
    ['550e8400-e29b-41d4-a716-446655440000', 'carts.?'],
    ['+49 30 901820', 'carts.?'],
    ['a\nb', 'carts.?'],
    ['x'.repeat(1_000), 'carts.?'],
  ])('is told of JSON where it looks like a name: %j', (key, told) => {
    expect(columnOf(() => ({ carts: { [key]: ids } }), 1)).toBe(told);
  });

  it.each([
    ['product_id', 'product_id'],
    ['ann@example.com', '?'],
    ['x'.repeat(1_000), '?'],
    ['a\nb', 'a\\u000ab'],
  ])('is told of rows where it looks like a name: %j', (key, told) => {
    expect(columnOf(n => ({ [key]: ids[n] }), 6)).toBe(told);
  });
});
