import { PGlite } from '@electric-sql/pglite';
import { sql } from 'drizzle-orm';
import { drizzle } from 'drizzle-orm/pglite';
import { createRequire } from 'node:module';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ContextService, QueryBudgetExceededError } from 'nestjs-async-context';
import { pgliteInstrumentation } from '../../lib/drivers/pglite.driver';
import { startApp, type TestApp } from '../support/platforms';
import { costOf, costs, recordOfUnit, type StatementCost } from '../support/units';

const instrumentations = [pgliteInstrumentation()];
let test: TestApp;
let db: PGlite;

beforeAll(async () => {
  test = await startApp({ instrumentations });
  db = await PGlite.create();
  await db.exec(`
    CREATE TABLE orders (id int PRIMARY KEY, name text);
    INSERT INTO orders SELECT n, 'order' FROM generate_series(1, 10) AS n;
  `);
});
afterAll(async () => {
  await db.close();
  await test.close();
});

describe('a query of PGlite', () => {
  it.each<[string, () => unknown, Partial<StatementCost>]>([
    [
      'query()',
      () => db.query('SELECT * FROM orders WHERE id > $1', [5]),
      { rows: 5, shape: 'SELECT * FROM orders WHERE id > ?' },
    ],
    [
      'sql',
      () => db.sql`SELECT * FROM orders WHERE id = ${1}`,
      { shape: 'SELECT * FROM orders WHERE id = ?' },
    ],
    [
      'nothing',
      () => db.query('SELECT * FROM orders WHERE id = 0'),
      { rows: 0, shape: 'SELECT * FROM orders WHERE id = ?' },
    ],
    [
      'exec()',
      () => db.exec('SELECT * FROM orders LIMIT 2; SELECT * FROM orders LIMIT 3'),
      { rows: 5, shape: 'SELECT * FROM orders LIMIT ?; SELECT * FROM orders LIMIT ?' },
    ],
    [
      'INSERT',
      () => db.query("INSERT INTO orders VALUES (11, 'a'), (12, 'b')"),
      { rows: 2, writes: 1, shape: 'INSERT INTO orders VALUES (?)' },
    ],
    [
      'UPDATE',
      () => db.query('UPDATE orders SET name = $1 WHERE id > $2', ['c', 10]),
      { rows: 2, writes: 1, shape: 'UPDATE orders SET name = ? WHERE id > ?' },
    ],
    [
      'DELETE … RETURNING',
      () => db.query('DELETE FROM orders WHERE id > 10 RETURNING id'),
      { rows: 2, writes: 1, shape: 'DELETE FROM orders WHERE id > ? RETURNING id' },
    ],
    [
      'an error',
      () => db.query('SELECT * FROM nowhere'),
      { rows: 0, errors: 1, table: 'nowhere', shape: 'SELECT * FROM nowhere' },
    ],
    [
      'a transaction',
      () => db.transaction(tx => tx.query('SELECT * FROM orders WHERE id = $1', [1])),
      { transactions: 2, shape: 'SELECT * FROM orders WHERE id = ?' },
    ],
    [
      'sql in a transaction that fails',
      () =>
        db.transaction(async tx => {
          await tx.sql`SELECT * FROM orders WHERE id = ${1}`;
          throw new Error('left');
        }),
      { transactions: 2, shape: 'SELECT * FROM orders WHERE id = ?' },
    ],
    [
      'Drizzle',
      () => drizzle(db).execute(sql`SELECT * FROM orders WHERE id = ${1}`),
      { shape: 'SELECT * FROM orders WHERE id = ?' },
    ],
  ])('is counted: %s', async (_what, work, expected) => {
    expect(await costOf(test, work)).toEqual(costs({ table: 'orders', ...expected }));
  });

  it('of the build for require() is counted as well', async () => {
    const required = createRequire(import.meta.url)('@electric-sql/pglite') as { PGlite: typeof PGlite };
    expect(required.PGlite).not.toBe(PGlite);
    const again = await startApp({ instrumentations });
    const other = await required.PGlite.create();
    expect(await costOf(test, () => other.query('SELECT 1 AS n'))).toMatchObject({ count: 1, rows: 1 });
    await other.close();
    await again.close();
  });

  it('leaves no value behind, and is a duplicate with the same values', async () => {
    const record = await recordOfUnit(test, async () => {
      for (const name of ['SECRET', 'b', 'SECRET'])
        await db.query('SELECT * FROM orders WHERE name = $1', [name]);
    });
    expect(record.findings).toMatchObject([{ kind: 'duplicate', count: 3, duplicates: 1 }]);
    expect(JSON.stringify(record)).not.toContain('SECRET');
  });

  it('is charged to its own request, also when it waits for the engine', async () => {
    const made = Array.from({ length: 20 }, (_, i) => i + 1);
    const records = await Promise.all(
      made.map(times =>
        recordOfUnit(test, async () => {
          for (let i = 0; i < times; i++) await db.transaction(tx => tx.query('SELECT $1::int', [i]));
        }),
      ),
    );
    expect(records.map(({ queries }) => queries.count)).toEqual(made);
  });

  it('that is kept back by a budget is rejected', async () => {
    const app = await startApp({ instrumentations, onExceeded: 'throw', budget: { queries: 1 } });
    await app.app.get(ContextService).run({}, async () => {
      await db.query('SELECT 1');
      await expect(db.query('SELECT 1')).rejects.toBeInstanceOf(QueryBudgetExceededError);
    });
    await app.close();
  });

  it('gives the results and errors of the bare engine, and is taken back', async () => {
    const calls = [
      () => db.query('SELECT * FROM orders ORDER BY id'),
      () => db.sql`SELECT ${1}::int AS n`,
      () => db.exec('SELECT 1 AS n; SELECT 2 AS n'),
      () => db.query('SELECT * FROM nowhere'),
      () => db.transaction(async tx => (await tx.query('SELECT 1 AS n')).rows),
      () => db.transaction(tx => tx.rollback()),
    ];
    const seen = async (): Promise<string[]> => {
      const results: string[] = [];
      for (const call of calls) results.push(await call().then(result => JSON.stringify(result), String));
      return results;
    };
    let counted: string[] = [];
    await recordOfUnit(test, async () => {
      counted = await seen();
    });
    const { query } = db;
    await test.close();
    expect(db.query).not.toBe(query);
    expect(counted).toEqual(await seen());
    test = await startApp({ instrumentations });
  });
});
