import { describe, expect, it } from 'vitest';
import type { RepeatParent } from '../../../lib/cost/repeat-finding';
import { placesOf } from '../../../lib/cost/evidence/places';
import { IDS, type Row, rowsOf, UnitOfWork } from './unit-of-work';

const ORDERS = 'SELECT id, buyer_id FROM orders ORDER BY id LIMIT $1';
const PRICES = 'SELECT * FROM prices WHERE customer_id = $1';

/** The parents of what is proven of a table. */
function parentsOf(unit: UnitOfWork, table: string): readonly RepeatParent[] {
  const found = unit.ledger.findings().find(one => one.confidence === 'proven' && one.table === table);
  return found?.parents ?? [];
}

describe.each(Object.entries(IDS))('several results that have the values, with %s', (_, id) => {
  const buyer = (n: number): unknown => id((n * 7 + 2) % 31, 3);
  const orders = (count: number): Row[] => rowsOf(count, n => ({ id: id(n), buyer_id: buyer(n) }));

  it.each([
    ['as parameters', 'SELECT * FROM orders o WHERE o.id IN ($1, $2, $3, $4, $5, $6, $7)'],
    ['as an array', 'SELECT * FROM orders o WHERE o.id = ANY ($1)'],
    ['in the text', 'SELECT * FROM orders o WHERE o.id IN (?)'],
  ])('names the list whose rows are read again %s before they are saved', (how, again) => {
    const unit = new UnitOfWork();
    const list = unit.run(ORDERS, [7], orders(7));
    const ids = list.map(row => row['id']);
    const literals = ids.map(one => (typeof one === 'number' ? one : `'${String(one)}'`)).join(', ');
    const parameters = how === 'as an array' ? [ids] : ids;
    if (how === 'in the text') unit.run(again.replace('?', literals), [], orders(7));
    else unit.run(again, parameters, orders(7));
    for (const one of ids) unit.write('UPDATE orders SET status = $1 WHERE id = $2', ['sent', one]);
    expect(unit.found).toEqual(['proven orders < orders.id']);
    const [parent] = parentsOf(unit, 'orders');
    expect(parent?.shape).toContain('ORDER BY');
    unit.close();
    expect(parentsOf(unit, 'orders')).toEqual([parent]);
  });

  it('names the later of two lists that do not have their ids of each other', () => {
    const unit = new UnitOfWork();
    unit.run(ORDERS, [7], orders(7));
    const open = unit.run("SELECT id FROM orders WHERE status = 'open'", [], orders(7));
    for (const row of open) unit.write('UPDATE orders SET status = $1 WHERE id = $2', ['sent', row['id']]);
    expect(parentsOf(unit, 'orders')[0]?.shape).toContain('WHERE status');
  });

  it('names what was read by ids where the list has many more', () => {
    const unit = new UnitOfWork();
    unit.run(ORDERS, [30], orders(30));
    const some = orders(30).slice(20, 26);
    unit.run(
      'SELECT * FROM orders o WHERE o.id = ANY ($1)',
      [some.map(row => row['id'])],
      some.map(row => ({ ...row, note: 'x' })),
    );
    for (const row of some) unit.write('UPDATE orders SET status = $1 WHERE id = $2', ['sent', row['id']]);
    expect(parentsOf(unit, 'orders')[0]?.shape).toContain('ANY');
  });

  it.each([
    ['its id', 'SELECT id FROM customers WHERE id = $1 LIMIT 1'],
    ['its id, by a join', 'SELECT c.id FROM customers c JOIN countries ON true WHERE c.id = $1'],
  ])('names the list behind a check that gives %s back', (__, check) => {
    const unit = new UnitOfWork();
    for (const row of unit.run(ORDERS, [7], orders(7))) {
      const [found] = unit.run(check, [row['buyer_id']], [{ id: row['buyer_id'] }]);
      unit.run(PRICES, [found!['id']], []);
    }
    const parents = [parentsOf(unit, 'prices'), parentsOf(unit, 'customers')].flat();
    for (const { table, column } of parents) expect(`${table}.${column}`).toBe('orders.buyer_id');
    // Of ids that count up, neither is proven.
    if (id(1) !== 2) expect(parents).toHaveLength(2);
  });

  it('names the list that is followed, and not one of all rows that was read for something else', () => {
    const unit = new UnitOfWork();
    unit.run(
      'SELECT id, name FROM customers ORDER BY name',
      [],
      rowsOf(31, n => ({ id: id((n * 13) % 31, 3), name: `customer ${n}` })),
    );
    const customers = 'SELECT * FROM customers WHERE id = $1';
    for (const row of unit.run(ORDERS, [9], orders(9))) unit.run(customers, [row['buyer_id']], []);
    expect(unit.found).toEqual(['proven customers < orders.buyer_id']);
  });

  it('takes a count for no source, whatever it is called', () => {
    for (const count of ['COUNT(*) AS id', 'count(*)::int id', 'SUM(n) OVER (ORDER BY n) AS id']) {
      const unit = new UnitOfWork();
      const rows = rowsOf(6, n => ({ kind: `k${n}`, id: id(n) }));
      unit.run(`SELECT kind, ${count} FROM customers GROUP BY kind`, [], rows);
      for (const row of rows) unit.run('SELECT * FROM customers WHERE id = $1', [row['id']], []);
      expect(unit.found.filter(line => line.startsWith('proven'))).toEqual([]);
    }
  });

  it('takes the key beside a count for a source, and the highest id of a group', () => {
    const unit = new UnitOfWork();
    const rows = rowsOf(6, n => ({ customer_id: id(n), count: '7', last: id(n, 8) }));
    unit.run(
      'SELECT customer_id, COUNT(*), MAX(id) AS last FROM orders GROUP BY customer_id ORDER BY customer_id',
      [],
      rows,
    );
    for (const row of rows) unit.run(PRICES, [row['customer_id']], []);
    expect(unit.found.filter(line => !line.endsWith('prices < orders.customer_id'))).toEqual([]);
    expect(unit.found).toHaveLength(1);
  });
});

it('does not take a row for the one that it was asked by, where their ids are alike', () => {
  const unit = new UnitOfWork();
  const lines = rowsOf(7, n => ({ id: 40 + n * n, variant_id: 3 + n * n }));
  for (const line of unit.run('SELECT id, variant_id FROM order_lines', [], lines)) {
    const variant = line['variant_id'];
    const [stock] = unit.run('SELECT id, n FROM stock WHERE variant_id = $1', [variant], [{ id: variant }]);
    unit.write('UPDATE stock SET n = $1 WHERE id = $2', [1, stock!['id']]);
  }
  const update = unit.ledger.findings().find(({ shape }) => shape.startsWith('UPDATE'));
  expect(update?.parents.map(({ table, column }) => `${table}.${column}`)).toEqual(['stock.id']);
});

describe.each(Object.entries(IDS))(
  'a statement that looks up what another one has looked up, with %s',
  (_, id) => {
    const variant = (n: number): Row => ({ id: id(n), name: `v${n}` });
    const lookUp = (unit: UnitOfWork, n: number): void => {
      unit.run('SELECT id, name FROM variants WHERE id = $1', [id(n)], [variant(n)]);
    };
    const translations = (unit: UnitOfWork, n: number): void => {
      unit.run(
        'SELECT * FROM translations t WHERE t.variant_id = $1',
        [id(n)],
        [{ base_id: id(n), text: 'x' }],
      );
    };
    const list = (unit: UnitOfWork): void => {
      const ids = Array.from({ length: 8 }, (__, n) => id(n));
      unit.run(
        'SELECT id, name FROM variants WHERE id = ANY ($1)',
        [ids],
        ids.map((___, n) => variant(n)),
      );
    };

    it('is not for the rows of a list that came after it', () => {
      const unit = new UnitOfWork();
      // The ids are those of a body: each variant and its translations are read, then all are listed and read again.
      for (let n = 0; n < 8; n += 1) {
        lookUp(unit, n);
        translations(unit, n);
      }
      list(unit);
      for (let n = 0; n < 8; n += 1) lookUp(unit, n);
      expect(parentsOf(unit, 'translations')).toEqual([]);
      unit.close();
      expect(parentsOf(unit, 'translations')).toEqual([]);
    });

    it('is for the rows of a list that came before it', () => {
      const unit = new UnitOfWork();
      list(unit);
      for (let n = 0; n < 8; n += 1) {
        lookUp(unit, n);
        translations(unit, n);
      }
      expect(parentsOf(unit, 'translations')).toMatchObject([{ table: 'variants', column: 'id' }]);
      expect(parentsOf(unit, 'translations')[0]?.shape).toContain('ANY');
    });
  },
);

it('does not fail of a parameter that throws when it is read', () => {
  const unit = new UnitOfWork();
  const list = rowsOf(6, n => ({ id: 10_000 + n * n * 613 }));
  unit.run('SELECT id FROM orders ORDER BY id', [], list);
  const broken = Object.defineProperty([], 0, {
    get: () => {
      throw new Error('not readable');
    },
  });
  unit.run('SELECT id FROM orders o WHERE o.id IN ($1, $2)', broken, list);
  for (const row of list) unit.write('UPDATE orders SET n = $1 WHERE id = $2', [1, row['id']]);
  expect(unit.found).toEqual(['proven orders < orders.id']);
});

it('reads the names of columns off a text of 32,000 characters, and no places', () => {
  const text = (length: number): string =>
    `SELECT "line"."variantId" AS "a9806d3ca06c91e41a8990b73ba77c73a3285bfe" ${' '.repeat(length)} FROM "order_line" "line" WHERE "line"."orderId" = $1`;
  const head = text(0).length;
  const { outputs, places } = placesOf(text(32_000 - head));
  expect([...outputs.values()]).toEqual([{ table: 'order_line', column: 'variantId' }]);
  expect(places).toEqual([]);
  expect(placesOf(text(32_001 - head)).outputs.size).toBe(0);
});
