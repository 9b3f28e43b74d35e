import { PostgresCostLimitStore } from 'nestjs-async-context/postgres';
import { Pool } from 'pg';
import { afterAll, describe, expect, it } from 'vitest';
import { StatementCache } from '../../../lib/sql/statement-cache';
import { databaseUrl, isEmbedded } from '../../support/database';
import { expectNoOverspending } from './overspending';

const TABLE = `cost_limits_${process.pid}`;
const newPool = (): Pool => new Pool({ connectionString: databaseUrl(), max: isEmbedded ? 1 : 10 });
const pool = newPool();

afterAll(async () => {
  await pool.query(`DROP TABLE IF EXISTS ${TABLE}, "Odd ""name"`);
  await pool.end();
});

describe('PostgresCostLimitStore', () => {
  it('makes its table, once for all that need it, and never spends a point twice', async () => {
    const other = isEmbedded ? pool : newPool();
    await pool.query(`DROP TABLE IF EXISTS ${TABLE}`);
    const stores = [pool, other].map(given => new PostgresCostLimitStore({ pool: given, table: TABLE }));
    await expectNoOverspending(stores, 'pg');
    if (other !== pool) await other.end();
  });

  it('restores by the clock of the server, and no refusal delays it', async () => {
    const store = new PostgresCostLimitStore({ pool, table: TABLE });
    const bucket = { key: 'clock', burst: 1_000, restorePerSecond: 100 };
    await store.take({ ...bucket, need: 1_000, take: 1_000 });
    const set = (seconds: number) =>
      pool.query(`UPDATE ${TABLE} SET at = at - $1 * interval '1 second' WHERE key = 'clock'`, [seconds]);
    await set(2);
    const refused = await store.take({ ...bucket, need: 1_000, take: 1_000 });
    expect(refused.admitted).toBe(false);
    expect(refused.level).toBeGreaterThanOrEqual(200);
    expect(refused.level).toBeLessThan(1_000);
    await set(8);
    expect(await store.take({ ...bucket, need: 1_000, take: 1_000 })).toEqual({ admitted: true, level: 0 });
  });

  it('knows debt that is not paid in a lifetime', async () => {
    const store = new PostgresCostLimitStore({ pool, table: TABLE });
    const bucket = { key: 'slow', burst: 10, restorePerSecond: 1e-9, need: -Infinity, take: 1_000_010 };
    expect((await store.take(bucket)).level).toBeCloseTo(-1_000_000, 3);
    expect((await store.take({ ...bucket, need: 0 })).admitted).toBe(false);
  });

  it('asks in a text without literals, which what counts queries need not scan again', async () => {
    const texts: string[] = [];
    const noting = {
      query: (text: string, values?: unknown[]) => {
        texts.push(text);
        return pool.query(text, values);
      },
    };
    const store = new PostgresCostLimitStore({ pool: noting, table: TABLE });
    await store.take({ key: 'text', burst: 10, restorePerSecond: 1, need: 1, take: 1 });
    const cache = new StatementCache('postgresql');
    cache.describe(texts[0]!);
    expect(cache.size).toBe(1);
  });

  it('deletes what is full again, and nothing else', async () => {
    const store = new PostgresCostLimitStore({ pool, table: TABLE });
    const bucket = { burst: 100, restorePerSecond: 0.001, need: 0, take: 50 };
    for (let i = 0; i < 5; i++) await store.take({ ...bucket, key: `full-${i}` });
    await store.take({ ...bucket, key: 'in use' });
    await pool.query(`UPDATE ${TABLE} SET full_at = now() WHERE key LIKE 'full-%'`);
    expect(await store.clean()).toBeGreaterThanOrEqual(5);
    const { rows } = await pool.query<{ key: string }>(
      `SELECT key FROM ${TABLE} WHERE key ~ '^(full|in use)'`,
    );
    expect(rows).toEqual([{ key: 'in use' }]);
    expect((await store.take({ ...bucket, key: 'in use', take: 0 })).level).toBeLessThan(51);
  });

  it('takes any name of a table, and makes none where it is told so', async () => {
    const odd = new PostgresCostLimitStore({ pool, table: 'Odd "name' });
    const bucket = { key: 'a', burst: 10, restorePerSecond: 1, need: 1, take: 1 };
    expect((await odd.take(bucket)).admitted).toBe(true);
    const none = new PostgresCostLimitStore({ pool, table: `${TABLE}_none`, createTable: false });
    await expect(none.take(bucket)).rejects.toThrow('does not exist');
    expect(() => new PostgresCostLimitStore({ pool: {} as never })).toThrow(
      'new PostgresCostLimitStore({ pool }) is an empty object. Use a pg Pool.',
    );
    expect(() => new PostgresCostLimitStore({ pool, table: 'a.b.c' })).toThrow('({ table }) is "a.b.c".');
  });
});
