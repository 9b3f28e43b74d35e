import { describe, expect, it } from 'vitest';
import { ignoredShape } from '../../lib/budget/ignored-shape';
import { cutShape, shownShape } from '../../lib/sql/shown-shape';

const columns = (count: number): string =>
  Array.from({ length: count }, (_, at) => `"w"."c${at}"`).join(', ');

describe('a shape that is too long to be shown', () => {
  it.each([
    [
      `SELECT ${columns(45)} FROM wide WHERE parent_id = ?`,
      'SELECT 45 columns FROM wide WHERE parent_id = ?',
    ],
    [
      `SELECT DISTINCT ${columns(45)} FROM wide WHERE a = ?`,
      'SELECT DISTINCT 45 columns FROM wide WHERE a = ?',
    ],
    [
      `SELECT DISTINCT ON (a, b) ${columns(45)} FROM wide WHERE a = ?`,
      'SELECT DISTINCT ON (a, b) 45 columns FROM wide WHERE a = ?',
    ],
    [
      `SELECT a IS DISTINCT FROM b, "FROM (", f(x, y), ${columns(45)} FROM wide WHERE a = ?`,
      'SELECT 48 columns FROM wide WHERE a = ?',
    ],
    [
      `INSERT INTO wide (${columns(45)}) VALUES (?) RETURNING id`,
      'INSERT INTO wide (45 columns) VALUES (?) RETURNING id',
    ],
    [
      `INSERT INTO wide (${columns(45)}) VALUES (?) RETURNING ${columns(45)}`,
      'INSERT INTO wide (45 columns) VALUES (?) RETURNING 45 columns',
    ],
    [
      `UPDATE wide SET ${columns(45).replaceAll(',', ' = ?,')} = ? WHERE id = ?`,
      'UPDATE wide SET 45 columns WHERE id = ?',
    ],
    [
      `SELECT a, b FROM (SELECT ${columns(45)} FROM wide WHERE x IN (SELECT c, d FROM e)) w WHERE a = ?`,
      'SELECT a, b FROM (SELECT 45 columns FROM wide WHERE x IN (SELECT c, d FROM e)) w WHERE a = ?',
    ],
    [
      `SELECT a FROM t UNION ALL SELECT ${columns(45)} FROM u WHERE a = ?`,
      'SELECT a FROM t UNION ALL SELECT 45 columns FROM u WHERE a = ?',
    ],
  ])('leaves out its columns and no condition: %s', (shape, expected) => {
    expect(shownShape(shape, 120)).toBe(expected);
  });

  it('leaves out of its lists as few as it has to', () => {
    const shape = `SELECT ${columns(9)} FROM (SELECT ${columns(20)} FROM a) b`;
    expect(shownShape(shape, 130)).toBe(`SELECT ${columns(9)} FROM (SELECT 20 columns FROM a) b`);
  });

  it('leaves out joins where it has to, and still no condition', () => {
    const joins = Array.from({ length: 30 }, (_, at) => `JOIN t${at} ON t${at}.id = w.t${at}_id`).join(' ');
    expect(shownShape(`SELECT a FROM wide w ${joins} WHERE w.parent_id = ? LIMIT ?`, 100)).toBe(
      'SELECT a FROM wide w JOIN t0 ON t0.id = w.t0_id JOIN t1 ON t1.id = … WHERE w.parent_id = ? LIMIT ?',
    );
  });

  it.each([
    ['SELECT a FROM "products" "Product" LIMIT ?', 30, 'SELECT a FROM "products"…'],
    ['SELECT a FROM "products" "Product" LIMIT ?', 34, 'SELECT a FROM "products" "Product"…'],
    ['SELECT a FROM `a b` JOIN `c d` ON ?', 28, 'SELECT a FROM `a b` JOIN…'],
    ['DELETE FROM orders USING items.sizes', 35, 'DELETE FROM orders USING…'],
    ['DELETE FROM orders USING items.sizes', 36, 'DELETE FROM orders USING items.sizes'],
    ['SELECT a FROM orders ORDER BY größe', 33, 'SELECT a FROM orders ORDER BY…'],
  ])('cuts no name in the middle: %s to %i', (shape, most, expected) => {
    expect(cutShape(shape, most)).toBe(expected);
  });

  it('cuts no name before the condition that it keeps', () => {
    const shape =
      'SELECT a FROM "suppliers" INNER JOIN "products" "Product" ON x WHERE "Product"."id" IN (?)';
    expect(shownShape(shape, 80)).toBe(
      'SELECT a FROM "suppliers" INNER JOIN "products" … WHERE "Product"."id" IN (?)',
    );
  });

  it.each([
    [
      `SELECT ${columns(9)}, (SELECT count(*) FROM shipments s WHERE s.order_id = o.id) FROM orders o`,
      'SELECT 10 columns (1 of them a sub-select on shipments) FROM orders o',
    ],
    [
      `SELECT ${columns(9)}, COALESCE((SELECT a FROM x), (SELECT b FROM y)), (SELECT c FROM "s"."z") FROM orders o`,
      'SELECT 11 columns (2 of them sub-selects on x, "s"."z") FROM orders o',
    ],
    [
      `SELECT ${columns(9)}, (SELECT now() AS b) FROM orders o WHERE o.id = ?`,
      'SELECT 10 columns (1 of them a sub-select) FROM orders o WHERE o.id = ?',
    ],
    [
      `UPDATE orders SET ${columns(9)} = ?, n = (SELECT max(n) FROM items WHERE a = ?) WHERE id = ?`,
      'UPDATE orders SET 10 columns (1 of them a sub-select on items) WHERE id = ?',
    ],
    [
      `SELECT ${columns(9)} FROM orders o WHERE o.id IN (SELECT order_id FROM items)`,
      'SELECT 9 columns FROM orders o WHERE o.id IN (SELECT order_id FROM items)',
    ],
  ])('says which of its columns are sub-selects: %s', (shape, expected) => {
    expect(shownShape(shape, 90)).toBe(expected);
  });

  it('keeps 100 characters and shortens 101, to no more than that', () => {
    const shape = `SELECT a, b FROM t WHERE ${'x'.repeat(75)}`;
    expect(shownShape(shape, 100)).toBe(shape);
    expect(shownShape(`${shape}x`, 100)).toBe(`${shape}`);
    expect([cutShape(shape, 100), cutShape(`${shape}x`, 100)]).toEqual([shape, `${shape}…`]);
  });

  it('can be declared as it is shown', () => {
    const shape = `SELECT ${columns(45)} FROM wide WHERE parent_id = ?`;
    const other = `SELECT ${columns(45)} FROM wide WHERE id = ?`;
    const { matches } = ignoredShape({ shape: cutShape(shape, 160), reason: 'known', until: '2099-01-01' });
    expect([matches(shape), matches(shape), matches(other)]).toEqual([true, true, false]);
  });
});
