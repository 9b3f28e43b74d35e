import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { describe, expect, it } from 'vitest';
import { StatementCache } from '../../lib/sql/statement-cache';

setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc') as () => void;

describe('StatementCache', () => {
  it('answers a known text with the same object', () => {
    const cache = new StatementCache('postgresql');
    const text = 'SELECT * FROM orders WHERE id = $1';
    expect(cache.describe(text)).toBe(cache.describe(text));
    expect(cache.size).toBe(1);
  });

  it('answers equal shapes with the same frozen object', () => {
    const cache = new StatementCache('mysql');
    const statement = cache.describe('SELECT * FROM orders WHERE id = 1');
    expect(cache.describe('SELECT * FROM orders WHERE id = 2')).toBe(statement);
    expect(cache.describe('SELECT * FROM orders WHERE id = ?')).toBe(statement);
    expect(Object.isFrozen(statement)).toBe(true);
  });

  it('tells apart two statements that are shown alike, and knows each again', () => {
    const cache = new StatementCache('postgresql');
    const columns = (name: string): string => `SELECT ${`${name}, `.repeat(900)} b FROM wide WHERE id = `;
    const a = cache.describe(`${columns('a')}1`);
    const c = cache.describe(`${columns('c')}1`);
    expect([a.shape, c.shape]).toEqual(Array(2).fill('SELECT 901 columns FROM wide WHERE id = ?'));
    expect(c).not.toBe(a);
    expect([cache.describe(`${columns('a')}2`), cache.describe(`${columns('c')}2`)]).toEqual([a, c]);
    expect(cache.describe(`${columns('a')}3`)).toBe(a);
  });

  it('tells apart two tables behind the place where a shape is cut', () => {
    const cache = new StatementCache('postgresql');
    const columns = 'a, '.repeat(2_000);
    expect(cache.describe(`SELECT ${columns} b FROM orders`).table).toBe('orders');
    expect(cache.describe(`SELECT ${columns} b FROM users`).table).toBe('users');
  });

  it.each([
    "SELECT * FROM t WHERE a = 'x'",
    'SELECT * FROM t WHERE a = 10',
    'SELECT * FROM t LIMIT 10',
    'SELECT * FROM t WHERE a = $$x$$',
    'SELECT * FROM t -- of a user',
    'SELECT /* of a user */ * FROM t',
    'SELECT "it\'s" FROM t',
    `SELECT ${'('.repeat(200)}`,
    `SELECT * FROM t WHERE a = $1 ${' '.repeat(65_536)}`,
  ])('does not remember the text of %s', text => {
    const cache = new StatementCache('postgresql');
    cache.describe(text);
    expect(cache.size).toBe(0);
  });

  it('remembers a text of 65,536 characters and forgets one of 65,537', () => {
    const cache = new StatementCache('postgresql');
    cache.describe('SELECT a FROM t'.padEnd(65_537));
    expect(cache.size).toBe(0);
    cache.describe('SELECT a FROM t'.padEnd(65_536));
    expect(cache.size).toBe(1);
  });

  it('remembers all texts of 10,000 characters, and 64 of those of 10,001', () => {
    const cache = new StatementCache('postgresql');
    for (let at = 0; at < 200; at += 1) cache.describe(`SELECT c${at} FROM t`.padEnd(10_000));
    expect(cache.size).toBe(200);
    for (let at = 0; at < 200; at += 1) cache.describe(`SELECT c${at} FROM t`.padEnd(10_001));
    expect(cache.size).toBeGreaterThan(200 + 32);
    expect(cache.size).toBeLessThanOrEqual(200 + 64);
  });

  it('remembers the single digit that a mapper writes after SELECT and LIMIT', () => {
    const cache = new StatementCache('postgresql');
    cache.describe('SELECT 1 AS one FROM t WHERE id = $1 LIMIT 1');
    expect(cache.size).toBe(1);
  });

  it('keeps at most its capacity, and what was used last', () => {
    const cache = new StatementCache('postgresql', 10);
    const used = cache.describe('SELECT used FROM t');
    for (let at = 0; at < 1_000; at += 1) {
      cache.describe(`SELECT c${at} FROM t`);
      expect(cache.describe('SELECT used FROM t')).toBe(used);
      expect(cache.size).toBeLessThanOrEqual(10);
    }
  });

  it('keeps no part of the statements that it read', () => {
    const cache = new StatementCache('postgresql');
    const read = (at: number) =>
      cache.describe(`SELECT a FROM table_with_a_long_name_${at} WHERE b = '${'x'.repeat(1_000_000)}${at}'`);
    read(-1);
    collectGarbage();
    const before = process.memoryUsage().heapUsed;
    for (let at = 0; at < 50; at += 1) read(at);
    collectGarbage();
    // 50 MB if a single slice of each text were kept.
    expect(process.memoryUsage().heapUsed - before).toBeLessThan(5_000_000);
  });

  it.each([
    ['PREPARE q AS SELECT * FROM orders WHERE id = $1', 'EXECUTE q(7)', 'read', 'orders'],
    ['prepare "Q" (int, text) as select * from public.orders', 'EXECUTE "Q" (7)', 'read', 'orders'],
    ['PREPARE q AS UPDATE orders SET a = $1', 'EXECUTE q(7)', 'write', 'orders'],
    [
      'PREPARE q AS WITH x AS (DELETE FROM orders RETURNING id) SELECT * FROM x',
      'execute Q',
      'write',
      'orders',
    ],
  ])('knows what was prepared by %s', (prepare, execute, kind, table) => {
    const cache = new StatementCache('postgresql');
    expect(cache.describe(execute)).toMatchObject({ kind: 'write', operation: 'EXECUTE' });
    expect(cache.describe(prepare)).toMatchObject({ kind: 'transaction', operation: 'PREPARE' });
    expect(cache.describe(execute)).toMatchObject({ kind, table, operation: 'EXECUTE' });
    expect(cache.size).toBe(0);
  });

  it('knows what was prepared on MySQL, where its text is known', () => {
    const cache = new StatementCache('mysql');
    cache.describe("PREPARE q FROM 'SELECT * FROM orders WHERE id = ?'");
    expect(cache.describe('EXECUTE q USING @id')).toMatchObject({ kind: 'read', table: 'orders' });
    cache.describe('PREPARE p FROM @sql');
    expect(cache.describe('EXECUTE p')).toMatchObject({ kind: 'write' });
  });

  it('takes what two sessions have prepared by one name for a write', () => {
    const cache = new StatementCache('postgresql');
    cache.describe('PREPARE q AS SELECT * FROM orders');
    cache.describe('PREPARE q AS SELECT * FROM orders');
    expect(cache.describe('EXECUTE q')).toMatchObject({ kind: 'read' });
    cache.describe('PREPARE q AS SELECT * FROM items');
    expect(cache.describe('EXECUTE q')).toMatchObject({ kind: 'write', table: undefined });
  });

  it('remembers up to 1,000 prepared statements, with names of up to 64 characters', () => {
    const cache = new StatementCache('postgresql');
    const kindOf = (name: string): string => cache.describe(`EXECUTE ${name}`).kind;
    for (const length of [64, 65]) cache.describe(`PREPARE ${'q'.repeat(length)} AS SELECT * FROM orders`);
    expect([kindOf('q'.repeat(64)), kindOf('q'.repeat(65))]).toEqual(['read', 'write']);
    for (let at = 0; at < 1_000; at += 1) cache.describe(`PREPARE p${at} AS SELECT * FROM orders`);
    expect([kindOf('q'.repeat(64)), kindOf('p999')]).toEqual(['write', 'read']);
  });
});
