import { describe, expect, it } from 'vitest';
import { literalsOf } from '../../../lib/cost/evidence/literal-pattern';
import { placesOf } from '../../../lib/cost/evidence/places';

/** `table.column=parameter`, or `=#literal`. */
function describePlaces(text: string): string[] {
  return placesOf(text).places.map(
    ({ table, column, parameter, literal }) =>
      `${table === undefined ? '' : `${table}.`}${column}=${parameter ?? `#${literal}`}`,
  );
}

describe('placesOf()', () => {
  it.each([
    ['SELECT * FROM items WHERE order_id = $1', ['items.order_id=0']],
    ['SELECT * FROM items i JOIN orders o ON o.id = i.order_id WHERE o.id = $2', ['orders.id=1']],
    [
      'SELECT * FROM "public"."Item" WHERE ("public"."Item"."orderId" = $1 AND 1=1) OFFSET $2',
      ['Item.orderId=0'],
    ],
    [
      'SELECT * FROM `items` WHERE `items`.`order_id` = ? AND state = ?',
      ['items.order_id=0', 'items.state=1'],
    ],
    ['SELECT * FROM [items] AS [i] WHERE [i].[order_id] = @order', ['items.order_id=order']],
    ['SELECT * FROM items WHERE order_id IN ($1)', ['items.order_id=0']],
    ['SELECT * FROM items WHERE order_id = $id', ['items.order_id=id']],
    [
      'SELECT * FROM items WHERE name = $tag$a text$tag$ AND order_id = $1',
      ['items.name=#0', 'items.order_id=0'],
    ],
    ['SELECT * FROM "items" WHERE "order_id" = @0', ['items.order_id=0']],
    ['SELECT * FROM stock WHERE (a_id, b_id) = ($1, $2::int)', ['stock.a_id=0', 'stock.b_id=1']],
    ['SELECT * FROM items WHERE order_id = ANY ($1::int[])', ['items.order_id=0']],
    ['SELECT * FROM items WHERE $1 = ANY (tags)', ['items.tags=0']],
    ['SELECT * FROM users WHERE lower(email) = lower($1)', ['users.email=0']],
    ['SELECT * FROM users WHERE id::text = $1::text', ['users.id=0']],
    ["SELECT * FROM events WHERE data ->> 'orderId' = $1", ['events.orderId=0']],
    ['SELECT * FROM cache WHERE key = $1', ['cache.key=0']],
    [
      'INSERT INTO notes (order_id, text) VALUES ($1, $2) ON CONFLICT (order_id) DO UPDATE SET text = $2',
      ['notes.order_id=0', 'notes.text=1'],
    ],
    ['INSERT INTO notes SET order_id = ? ON DUPLICATE KEY UPDATE text = ?', ['notes.order_id=0']],
    ['UPDATE orders SET state = $1, seen = $2 WHERE id = $3', ['orders.id=2']],
    ['DELETE FROM carts WHERE id = $1', ['carts.id=0']],
    ['SELECT * FROM get_items($1)', ['get_items.get_items=0']],
    [
      "SELECT * FROM items WHERE order_id = 17 AND state = 'a''b' LIMIT 10",
      ['items.order_id=#0', 'items.state=#1'],
    ],
  ])('finds those of %s', (text, expected) => {
    expect(describePlaces(text)).toEqual(expected);
  });

  it.each([
    ['SELECT * FROM orders WHERE id > $1 AND id <= $2 AND total <> $3'],
    ['SELECT * FROM orders WHERE name LIKE $1 AND day BETWEEN $2 AND $3'],
    ['SELECT * FROM orders LIMIT $1 OFFSET $2'],
    ['SELECT * FROM orders WHERE id = $1 + 1'],
    ['SELECT * FROM orders WHERE id NOT IN ($1)'],
    ["SELECT set_config('app.tenant', $1, true)"],
    ['SELECT pg_advisory_xact_lock($1)'],
    ["SELECT * FROM orders WHERE name = 'it\\'s"],
  ])('finds none in %s', text => {
    expect(describePlaces(text)).toEqual([]);
  });

  it.each([
    ['SELECT * FROM items WHERE order_id IN ($1, $2)', true],
    ['SELECT * FROM items WHERE order_id IN (1, 2)', true],
    ['SELECT * FROM items WHERE (order_id, n) IN (($1, $2), ($3, $4))', true],
    ['SELECT * FROM items WHERE order_id = ANY (ARRAY[$1, $2])', true],
    ['INSERT INTO notes (order_id) VALUES ($1), ($2)', true],
    ['SELECT * FROM items WHERE order_id = $1 OR order_id = $2', true],
    ['INSERT INTO notes (order_id) VALUES ($1)', false],
    ['SELECT * FROM items WHERE order_id = $1 OR item_id = $2', false],
    ['SELECT * FROM items WHERE order_id IN (SELECT id FROM orders WHERE day = $1)', false],
  ])('says of %s whether it is a batch: %s', (text, isBatch) => {
    expect(placesOf(text).isBatch).toBe(isBatch);
  });

  it('reads texts up to 10,000 characters', () => {
    const text = (length: number): string => 'SELECT * FROM items WHERE order_id = $1'.padEnd(length, ' ');
    expect(placesOf(text(10_000)).places).toHaveLength(1);
    expect(placesOf(text(10_001)).places).toHaveLength(0);
  });

  it('says what the columns of a result are called in their tables', () => {
    const { outputs } = placesOf(
      'SELECT "o"."id" AS "o_id", b.name, count(*) AS n FROM "orders" "o" JOIN buyers b ON b.id = o.buyer_id',
    );
    expect(Object.fromEntries(outputs)).toEqual({
      o_id: { table: 'orders', column: 'id' },
      name: { table: 'buyers', column: 'name' },
    });
  });
});

it('takes the literals off a text that differs in them alone', () => {
  const { pattern } = placesOf("SELECT * FROM items WHERE order_id = 17 AND state = 'open' LIMIT 10");
  expect(
    literalsOf(pattern!, "SELECT * FROM items WHERE order_id = 4 AND state = 'it''s' LIMIT 100"),
  ).toEqual(['4', "it's", '100']);
  expect(
    literalsOf(pattern!, "SELECT * FROM items WHERE order_id = 4 AND stage = 'open' LIMIT 10"),
  ).toBeUndefined();
  expect(
    literalsOf(pattern!, "SELECT * FROM items WHERE order_id = 4 AND state = 'open' LIMIT 10 "),
  ).toBeUndefined();
});

describe('placesOf() of a text with thousands of brackets', () => {
  it.each([')=', ')=$1 ', 'f(', 'f($1', '=(', '(a,b)=(1,'])('reads on in time: %s', piece => {
    const startMs = performance.now();
    placesOf(piece.repeat(10_000 / piece.length));
    // It took a second and more.
    expect(performance.now() - startMs).toBeLessThan(500);
  });

  it('knows the column that stands in many of them', () => {
    const text = `SELECT * FROM users WHERE ${'f('.repeat(20)}email${')'.repeat(20)} = $1`;
    expect(describePlaces(text)).toEqual(['users.email=0']);
  });
});
