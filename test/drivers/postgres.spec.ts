import { Controller, Get, Query } from '@nestjs/common';
import { drizzle } from 'drizzle-orm/postgres-js';
import { sql as raw } from 'drizzle-orm';
import { createRequire } from 'node:module';
import postgres from 'postgres';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ContextService, QueryBudgetExceededError } from 'nestjs-async-context';
import { postgresInstrumentation } from '../../lib/drivers/postgres/postgres.driver';
import { databaseUrl, isEmbedded } from '../support/database';
import { platforms, startApp, type TestApp } from '../support/platforms';
import { costOf, costs, recordOfUnit, type StatementCost } from '../support/units';

const instrumentations = [postgresInstrumentation()];
const orders = `orders_pgjs_${process.pid}`;
const options = { max: isEmbedded ? 1 : 2, onnotice: () => undefined };

let test: TestApp;
let sql: ReturnType<typeof postgres>;

beforeAll(async () => {
  test = await startApp({ instrumentations });
  sql = postgres(databaseUrl(), { ...options, max: 1 });
  await sql.unsafe(`CREATE TABLE ${orders} (id int PRIMARY KEY, name text)`);
  await sql.unsafe(`INSERT INTO ${orders} SELECT n, 'order' FROM generate_series(1, 10) AS n`);
});
afterAll(async () => {
  await sql.unsafe(`DROP TABLE ${orders}`);
  await sql.end();
  await test.close();
});

async function count(batches: AsyncIterable<unknown[]>): Promise<number> {
  let found = 0;
  for await (const batch of batches) found += batch.length;
  return found;
}

describe('a query of postgres', () => {
  it.each<[string, () => unknown, Partial<StatementCost>]>([
    [
      'a tagged template',
      () => sql`SELECT * FROM ${sql(orders)} WHERE id > ${5}`,
      { rows: 5, shape: `SELECT * FROM "${orders}" WHERE id > ?` },
    ],
    [
      'a fragment',
      () => sql`SELECT * FROM ${sql(orders)} ${sql`WHERE id = ${1}`}`,
      { shape: `SELECT * FROM "${orders}" WHERE id = ?` },
    ],
    [
      'a list',
      () => sql`SELECT * FROM ${sql(orders)} WHERE id IN ${sql([1, 2, 3])}`,
      { rows: 3, shape: `SELECT * FROM "${orders}" WHERE id IN (?)` },
    ],
    [
      'unsafe()',
      () => sql.unsafe(`SELECT * FROM ${orders} WHERE id = $1`, [1]),
      { shape: `SELECT * FROM ${orders} WHERE id = ?` },
    ],
    [
      'several statements',
      () => sql.unsafe(`SELECT * FROM ${orders} LIMIT 2; SELECT * FROM ${orders} LIMIT 3`).simple(),
      { rows: 5, shape: `SELECT * FROM ${orders} LIMIT ?; SELECT * FROM ${orders} LIMIT ?` },
    ],
    [
      'INSERT',
      () =>
        sql`INSERT INTO ${sql(orders)} ${sql([
          { id: 11, name: 'a' },
          { id: 12, name: 'b' },
        ])}`,
      { rows: 2, writes: 1, shape: `INSERT INTO "${orders}"("id", "name") VALUES (?)` },
    ],
    [
      'UPDATE … RETURNING',
      () => sql`UPDATE ${sql(orders)} SET name = ${'c'} WHERE id > ${10} RETURNING id`,
      { rows: 2, writes: 1, shape: `UPDATE "${orders}" SET name = ? WHERE id > ? RETURNING id` },
    ],
    [
      'DELETE',
      () => sql`DELETE FROM ${sql(orders)} WHERE id > ${10}`,
      { rows: 2, writes: 1, shape: `DELETE FROM "${orders}" WHERE id > ?` },
    ],
    [
      'an error',
      () => sql`SELECT * FROM nowhere`,
      { rows: 0, errors: 1, table: 'nowhere', shape: 'SELECT * FROM nowhere' },
    ],
    [
      'forEach()',
      () => sql`SELECT * FROM ${sql(orders)}`.forEach(() => undefined),
      { rows: 10, shape: `SELECT * FROM "${orders}"` },
    ],
    [
      'a cursor',
      () => count(sql`SELECT * FROM ${sql(orders)}`.cursor(4)),
      { rows: 10, shape: `SELECT * FROM "${orders}"` },
    ],
    [
      'a cursor with a function',
      () => sql`SELECT * FROM ${sql(orders)}`.cursor(4, () => undefined),
      { rows: 10, shape: `SELECT * FROM "${orders}"` },
    ],
    [
      'a cursor that is left',
      async () => {
        for await (const _ of sql`SELECT * FROM ${sql(orders)}`.cursor(4)) break;
      },
      { rows: 4, shape: `SELECT * FROM "${orders}"` },
    ],
    [
      'values()',
      () => sql`SELECT id, name FROM ${sql(orders)}`.values(),
      { rows: 10, shape: `SELECT id, name FROM "${orders}"` },
    ],
    [
      'a transaction',
      () => sql.begin(tx => tx`SELECT * FROM ${tx(orders)} WHERE id = ${1}`),
      { transactions: 2, shape: `SELECT * FROM "${orders}" WHERE id = ?` },
    ],
    [
      'Drizzle',
      () => drizzle(sql).execute(raw`SELECT * FROM ${raw.identifier(orders)} WHERE id = ${1}`),
      { shape: `SELECT * FROM "${orders}" WHERE id = ?` },
    ],
  ])('is counted: %s', async (_what, work, expected) => {
    expect(await costOf(test, work)).toEqual(costs({ table: orders, ...expected }));
  });

  it('of the build for require() is counted as well', async () => {
    const required = (createRequire(import.meta.url)('postgres') as typeof postgres)(databaseUrl(), options);
    expect(required).not.toBe(sql);
    const again = await startApp({ instrumentations });
    expect(await costOf(test, () => required`SELECT 1 AS n`)).toMatchObject({ count: 1, rows: 1 });
    await again.close();
    await required.end();
  });

  it('does not count what a new connection asks for itself', async () => {
    const fresh = postgres(databaseUrl(), { ...options, max: 1 });
    expect(await costOf(test, () => fresh`SELECT ${['a', 'b']}::text[] AS n`)).toMatchObject({ count: 1 });
    await fresh.end();
  });

  it('is charged to who awaits it, once', async () => {
    let made: PromiseLike<unknown> | undefined;
    const maker = await costOf(test, () => {
      made = sql`SELECT 1 AS n`;
    });
    const awaiter = await costOf(test, async () => {
      await made;
      await made;
    });
    expect([maker.count, awaiter.count]).toEqual([0, 1]);
  });

  it('leaves no value behind, and is a duplicate with the same values', async () => {
    const record = await recordOfUnit(test, async () => {
      for (const name of ['SECRET-1', 'SECRET-2', 'SECRET-1']) {
        await sql`SELECT * FROM ${sql(orders)} WHERE name = ${name}`;
      }
      await sql.unsafe("SELECT 'SECRET-3' AS n");
    });
    expect(record.findings).toMatchObject([{ kind: 'duplicate', count: 3, duplicates: 1 }]);
    expect(JSON.stringify(record)).not.toContain('SECRET');
  });

  it('is compared by the values in its fragments, its lists and its types', async () => {
    const duplicates = async (ask: (id: number) => PromiseLike<unknown>): Promise<unknown> => {
      const record = await recordOfUnit(test, async () => {
        for (const id of [1, 2, 3, 1]) await ask(id);
      });
      return record.findings?.map(({ kind, count, duplicates: same }) => [kind, count, same]);
    };
    const once = [['duplicate', 4, 1]];
    const fragment = (id: number) => sql`id = ${id}`;
    expect(await duplicates(id => sql`SELECT * FROM ${sql(orders)} WHERE ${fragment(id)}`)).toEqual(once);
    expect(await duplicates(id => sql`SELECT * FROM ${sql(orders)} WHERE id IN ${sql([id, 9])}`)).toEqual(
      once,
    );
    expect(await duplicates(id => sql`SELECT ${sql.typed(id, 23)} AS n`)).toEqual(once);
  });

  it('that is kept back by a budget is rejected', async () => {
    const app = await startApp({ instrumentations, onExceeded: 'throw', budget: { queries: 1 } });
    await app.app.get(ContextService).run({}, async () => {
      await sql`SELECT 1 AS n`;
      await expect(sql`SELECT 1 AS n`).rejects.toBeInstanceOf(QueryBudgetExceededError);
    });
    await app.close();
  });
});

describe.each(platforms)('20 requests at once over a pool of two, on %s', platform => {
  let pool: ReturnType<typeof postgres>;
  const kinds: Record<string, () => Promise<unknown>> = {
    queries: async () => pool`SELECT pg_sleep(0.001)`,
    transactions: () => pool.begin(tx => tx`SELECT 1 AS n`),
    rows: async () => {
      const asked: Promise<unknown>[] = [];
      // From the callback of a row: the context of the request has to be there.
      await pool`SELECT 1 AS n`.forEach(() => void asked.push(pool.unsafe('SELECT 2 AS n').execute()));
      await Promise.all(asked);
    },
  };

  @Controller()
  class WorkController {
    @Get()
    async work(@Query('kind') kind: string, @Query('times') times: string): Promise<void> {
      for (let i = 0; i < Number(times); i++) await kinds[kind]!();
    }
  }

  beforeAll(() => {
    pool = postgres(databaseUrl(), options);
  });
  afterAll(() => pool.end());

  it.each(Object.keys(kinds))('are charged to their own: %s', async kind => {
    const app = await startApp({ platform, controllers: [WorkController], instrumentations });
    const made = Array.from({ length: 20 }, (_, i) => 1 + i);
    await Promise.all(made.map(times => fetch(`${app.url}/?kind=${kind}&times=${times}`)));
    const records = await app.records(20);
    const expected = made.map(times => (kind === 'rows' ? 2 * times : times));
    expect(records.map(({ queries }) => queries.count).sort((a, b) => a - b)).toEqual(expected);
    await app.close();
  });
});

describe('the connections of postgres', () => {
  it.skipIf(isEmbedded)('are waited for apart from the query', async () => {
    const one = postgres(databaseUrl(), { ...options, max: 1, max_pipeline: 1 } as postgres.Options<never>);
    await one`SELECT 1 AS n`;
    const [busy, waiting] = await Promise.all([
      recordOfUnit(test, () => one.begin(tx => tx`SELECT pg_sleep(0.5)`)),
      recordOfUnit(test, async () => {
        await new Promise(resolve => setTimeout(resolve, 20));
        await one`SELECT 1 AS n`;
      }),
    ]);
    expect(busy!.queries.durationMs).toBeGreaterThan(490);
    expect(waiting!.queries.waitMs).toBeGreaterThan(100);
    expect(waiting!.queries.durationMs).toBeLessThan(waiting!.queries.waitMs);
    await one.end();
  });

  it.skipIf(isEmbedded)(
    'that are cut are an error of the request under way, and the process lives',
    async () => {
      const victim = postgres(databaseUrl(), { ...options, max: 1 });
      const [backend] = await victim<{ id: number }[]>`SELECT pg_backend_pid() AS id`;
      const record = recordOfUnit(test, () => victim`SELECT pg_sleep(3)`.then(undefined, () => undefined));
      await new Promise(resolve => setTimeout(resolve, 50));
      await sql`SELECT pg_terminate_backend(${backend!.id})`;
      expect((await record).queries).toMatchObject({ count: 1, errors: 1 });
      await victim.end({ timeout: 1 });
    },
  );

  it('that cannot be made are an error of who asked', async () => {
    const nowhere = postgres('postgres://127.0.0.1:1/none', { max: 1, connect_timeout: 1 });
    expect(await costOf(test, () => nowhere`SELECT 1 AS n`)).toMatchObject({ count: 1, errors: 1 });
    await nowhere.end();
  });
});

describe('the instrumentation', () => {
  it('gives the results and errors of the bare driver, and is taken back', async () => {
    const calls: (() => PromiseLike<unknown>)[] = [
      () => sql`SELECT ${1}::int AS n`,
      () => sql`SELECT 1 AS n`.values(),
      () => sql`SELECT 1 AS n`.raw(),
      () => sql`SELECT 1 AS n`.describe().then(({ columns }) => columns),
      () => sql.unsafe('SELECT 1; SELECT 2').simple(),
      () => sql`SELECT * FROM nowhere`,
      () => count(sql`SELECT * FROM generate_series(1, 5)`.cursor(2)),
      () => sql.begin(tx => [tx`SELECT 1 AS n`, tx`SELECT 2 AS n`]),
    ];
    const seen = async (): Promise<string[]> => {
      const results: string[] = [];
      for (const call of calls) {
        results.push(await call().then(result => JSON.stringify(result), String));
      }
      return results;
    };
    let counted: string[] = [];
    await recordOfUnit(test, async () => {
      counted = await seen();
    });
    const { prototype } = sql`SELECT 1`.constructor as { prototype: object };
    expect(Object.getOwnPropertyNames(prototype)).toContain('state');
    await test.close();
    expect(Object.getOwnPropertyNames(prototype)).not.toContain('state');
    expect(counted).toEqual(await seen());
    test = await startApp({ instrumentations });
    expect(await costOf(test, () => sql`SELECT 1 AS n`)).toMatchObject({ count: 1 });
  });
});
