import type BetterSqlite3 from 'better-sqlite3';
import { drizzle } from 'drizzle-orm/better-sqlite3';
import { sql } from 'drizzle-orm';
import knex from 'knex';
import { Kysely, sql as kyselySql, SqliteDialect } from 'kysely';
import { createRequire } from 'node:module';
import { DataSource } from 'typeorm';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { ContextService, QueryBudgetExceededError } from 'nestjs-async-context';
import { betterSqlite3Instrumentation } from '../../lib/drivers/sqlite/better-sqlite3.driver';
import { nodeSqliteInstrumentation } from '../../lib/drivers/sqlite/node-sqlite.driver';
import { startApp, type TestApp } from '../support/platforms';
import { costOf, costs, recordOfUnit, type StatementCost } from '../support/units';

/** What both drivers have in common. */
interface Database {
  prepare(text: string): {
    run(...values: unknown[]): unknown;
    get(...values: unknown[]): unknown;
    all(...values: unknown[]): unknown[];
    iterate(...values: unknown[]): IterableIterator<unknown>;
  };
  exec(text: string): unknown;
  close(): void;
}

const load = createRequire(import.meta.url);
const instrumentations = [betterSqlite3Instrumentation(), nodeSqliteInstrumentation()];

// better-sqlite3 13 ends a process of Node 20 when a database is opened; node:sqlite came with 22.
const isThere = Number.parseInt(process.versions.node, 10) >= 22;
const openBetter = (): BetterSqlite3.Database =>
  new (load('better-sqlite3') as typeof BetterSqlite3)(':memory:');
const openNode = (): Database => {
  const { DatabaseSync } = load('node:sqlite') as { DatabaseSync: new (path: string) => Database };
  return new DatabaseSync(':memory:');
};

let test: TestApp;

beforeAll(async () => {
  if (isThere) [openBetter(), openNode()].forEach(db => db.close());
  test = await startApp({ instrumentations });
});
afterAll(() => test.close());

it('leaves node:sqlite alone where nobody has loaded it', async () => {
  if (isThere) return;
  expect((process as { moduleLoadList?: string[] }).moduleLoadList).not.toContain('NativeModule sqlite');
});

describe.skipIf(!isThere).each<[string, () => Database]>([
  ['better-sqlite3 (Node 22 and newer)', openBetter as () => Database],
  ['node:sqlite (Node 22 and newer)', openNode],
])('%s', (_name, open) => {
  let db: Database;

  beforeAll(() => {
    db = open();
    db.exec('CREATE TABLE orders (id INTEGER PRIMARY KEY, name TEXT)');
    for (let id = 1; id <= 10; id++) db.prepare('INSERT INTO orders VALUES (?, ?)').run(id, 'order');
  });
  afterAll(() => db.close());
  afterEach(() => db.exec('DELETE FROM orders WHERE id > 10'));

  it.each<[string, () => unknown, Partial<StatementCost>]>([
    [
      'all()',
      () => db.prepare('SELECT * FROM orders WHERE id > ?').all(5),
      { rows: 5, shape: 'SELECT * FROM orders WHERE id > ?' },
    ],
    [
      'get()',
      () => db.prepare('SELECT * FROM orders WHERE id = ?').get(1),
      { shape: 'SELECT * FROM orders WHERE id = ?' },
    ],
    [
      'get() of nothing',
      () => db.prepare("SELECT * FROM orders WHERE name = 'none'").get(),
      { rows: 0, shape: 'SELECT * FROM orders WHERE name = ?' },
    ],
    [
      'run() of an INSERT',
      () => db.prepare('INSERT INTO orders VALUES (?, ?), (?, ?)').run(11, 'a', 12, 'b'),
      { rows: 2, writes: 1, shape: 'INSERT INTO orders VALUES (?)' },
    ],
    [
      'run() of an UPDATE',
      () => db.prepare('UPDATE orders SET name = ? WHERE id <= ?').run('order', 3),
      { rows: 3, writes: 1, shape: 'UPDATE orders SET name = ? WHERE id <= ?' },
    ],
    [
      'run() of a DELETE of nothing',
      () => db.prepare('DELETE FROM orders WHERE id = ?').run(99),
      { rows: 0, writes: 1, shape: 'DELETE FROM orders WHERE id = ?' },
    ],
    [
      'iterate()',
      () => [...db.prepare('SELECT * FROM orders').iterate()],
      { rows: 10, shape: 'SELECT * FROM orders' },
    ],
    [
      'iterate() that is left',
      () => {
        for (const row of db.prepare('SELECT * FROM orders').iterate())
          if ((row as { id: number }).id === 3) break;
      },
      { rows: 3, shape: 'SELECT * FROM orders' },
    ],
    [
      'exec()',
      () => db.exec('UPDATE orders SET name = name'),
      { rows: 0, writes: 1, shape: 'UPDATE orders SET name = name' },
    ],
    [
      'a transaction',
      () => {
        db.exec('BEGIN');
        db.prepare('SELECT * FROM orders WHERE id = ?').get(1);
        db.exec('COMMIT');
      },
      { transactions: 2, shape: 'SELECT * FROM orders WHERE id = ?' },
    ],
    [
      'an error',
      () => db.prepare('INSERT INTO orders VALUES (?, ?)').run(1, 'again'),
      { rows: 0, writes: 1, errors: 1, shape: 'INSERT INTO orders VALUES (?)' },
    ],
    [
      'an error of exec()',
      () => db.exec('SELECT * FROM nowhere'),
      { rows: 0, errors: 1, table: 'nowhere', shape: 'SELECT * FROM nowhere' },
    ],
  ])('is counted: %s', async (_what, work, expected) => {
    expect(await costOf(test, work)).toEqual(costs({ table: 'orders', ...expected }));
  });

  it('leaves no value behind, and sees an N+1 and a duplicate', async () => {
    const record = await recordOfUnit(test, () => {
      const find = db.prepare('SELECT * FROM orders WHERE id = ?');
      for (const { id } of db.prepare('SELECT id FROM orders').all() as { id: number }[]) find.get(id);
      const named = db.prepare('SELECT * FROM orders WHERE name = ?');
      named.all('SECRET');
      named.all('SECRET');
    });
    expect(record.findings).toMatchObject([
      { kind: 'n-plus-one', count: 10, parents: [{ shape: 'SELECT id FROM orders', rows: 10 }] },
      { kind: 'duplicate', count: 2 },
    ]);
    expect(JSON.stringify(record)).not.toContain('SECRET');
  });

  it('charges 20 requests at once to their own', async () => {
    const find = db.prepare('SELECT * FROM orders WHERE id = ?');
    const made = Array.from({ length: 20 }, (_, i) => i + 1);
    const records = await Promise.all(
      made.map(times =>
        recordOfUnit(test, async () => {
          for (let i = 0; i < times; i++) {
            find.get(i);
            await Promise.resolve();
          }
        }),
      ),
    );
    expect(records.map(({ queries }) => queries.count)).toEqual(made);
  });

  it('throws what a budget keeps back', async () => {
    const app = await startApp({ instrumentations, onExceeded: 'throw', budget: { queries: 1 } });
    app.app.get(ContextService).run({}, () => {
      const find = db.prepare('SELECT * FROM orders WHERE id = ?');
      find.get(1);
      expect(() => find.get(2)).toThrow(QueryBudgetExceededError);
    });
    await app.close();
  });

  it('counts a statement that was prepared before the application started', async () => {
    await test.close();
    const find = db.prepare('SELECT * FROM orders WHERE id = ?');
    test = await startApp({ instrumentations });
    expect(await costOf(test, () => find.get(1))).toMatchObject({ count: 1, rows: 1 });
  });

  it('gives the results and errors of the bare driver, and is taken back', async () => {
    const calls: (() => unknown)[] = [
      () => db.prepare('SELECT * FROM orders').all(),
      () => db.prepare('SELECT 1 AS n').get(),
      () => db.prepare('SELECT 1 AS n WHERE 0').get(),
      () => db.prepare('UPDATE orders SET name = ?').run('order'),
      () => [...db.prepare('SELECT * FROM orders').iterate()],
      () => db.prepare('INSERT INTO orders VALUES (?, ?)').run(1, 'again'),
      () => db.prepare('SELECT * FROM nowhere'),
      () => db.exec('SELECT 1') === db || db.exec('SELECT 1') === undefined,
    ];
    const seen = (): unknown[] =>
      calls.map(call => {
        try {
          return JSON.stringify(call());
        } catch (error) {
          return String(error);
        }
      });
    const statements = Object.getPrototypeOf(db.prepare('SELECT 1')) as { run: unknown };
    const { run } = statements;
    const counted = test.app.get(ContextService).run({}, seen);
    await test.close();
    expect(statements.run).not.toBe(run);
    expect(counted).toEqual(seen());
    test = await startApp({ instrumentations });
    expect(await costOf(test, () => db.prepare('SELECT 1').get())).toMatchObject({ count: 1 });
  });
});

describe.skipIf(!isThere)('through better-sqlite3 (Node 22 and newer)', () => {
  it('db.transaction() counts its control apart', async () => {
    const db = openBetter();
    // The class of a statement is known from the first on.
    const read = db.prepare('SELECT 1 AS n');
    const work = db.transaction(() => read.get());
    expect(await costOf(test, () => work())).toMatchObject({ count: 1, transactions: 2 });
    db.close();
  });

  it('Drizzle, Kysely, Knex and TypeORM count exactly', async () => {
    const db = openBetter();
    expect(await costOf(test, () => drizzle(db).all(sql`SELECT ${1} AS n`))).toMatchObject({
      count: 1,
      rows: 1,
    });
    const kysely = new Kysely({ dialect: new SqliteDialect({ database: db }) });
    expect(await costOf(test, () => kyselySql`SELECT ${1} AS n`.execute(kysely))).toMatchObject({
      count: 1,
      rows: 1,
    });
    const knexDb = knex({ client: 'better-sqlite3', connection: ':memory:', useNullAsDefault: true });
    expect(await costOf(test, () => knexDb.select(knexDb.raw('1 AS n')))).toMatchObject({
      count: 1,
      rows: 1,
    });
    await knexDb.destroy();
    const source = await new DataSource({ type: 'better-sqlite3', database: ':memory:' }).initialize();
    expect(await costOf(test, () => source.query('SELECT 1 AS n'))).toMatchObject({ count: 1, rows: 1 });
    await source.destroy();
    db.close();
  });
});
