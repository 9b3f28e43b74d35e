import { describe, expect, it } from 'vitest';
import type { SqlDialect } from '../../lib/sql/statement';
import { StatementCache } from '../../lib/sql/statement-cache';
import { BEGINS, ENDS, RESETS, SETS, SETS_LOCALLY } from '../../lib/sql/statement-effects';
import { scanStatement } from '../../lib/sql/statement-scanner';

describe('what a second run of a statement may answer', () => {
  it.each<[SqlDialect, string]>([
    ['postgresql', "SELECT nextval('orders_id_seq')"],
    ['postgresql', 'FETCH 100 FROM c'],
    ['postgresql', 'FETCH NEXT FROM c'],
    ['postgresql', 'SELECT * FROM sessions WHERE expires_at > now() AND id = $1'],
    ['postgresql', 'SELECT * FROM sessions WHERE expires_at > NOW () AND id = $1'],
    ['postgresql', 'SELECT * FROM sessions WHERE expires_at > CURRENT_TIMESTAMP'],
    ['postgresql', 'SELECT * FROM sessions WHERE expires_at > LocalTimestamp'],
    ['postgresql', "SELECT * FROM sessions WHERE expires_at > 'now'::timestamp"],
    ['postgresql', 'SELECT * FROM t ORDER BY random() LIMIT 1'],
    ['postgresql', 'SELECT gen_random_uuid()'],
    ['postgresql', 'SELECT pg_try_advisory_xact_lock($1)'],
    ['postgresql', 'SELECT pg_catalog.pg_advisory_lock($1)'],
    ['postgresql', 'SELECT * FROM jobs WHERE id = $1 FOR UPDATE SKIP LOCKED'],
    ['postgresql', 'SELECT * FROM jobs WHERE id = $1 FOR NO KEY UPDATE'],
    ['postgresql', 'SELECT * FROM jobs WHERE id = $1 FOR SHARE'],
    ['postgresql', 'SELECT * FROM jobs WHERE id = $1 FOR KEY SHARE OF jobs'],
    ['postgresql', "SELECT set_config('app.tenant', $1, true)"],
    ['mysql', 'SELECT * FROM jobs WHERE id = ? LOCK IN SHARE MODE'],
    ['mysql', 'SELECT * FROM jobs WHERE id = ? for update'],
    ['mysql', 'SELECT GET_LOCK(?, 10)'],
    ['mysql', 'SELECT LAST_INSERT_ID()'],
    ['mysql', 'SELECT NEXT VALUE FOR s'],
    ['mysql', 'SELECT SYSDATE()'],
    ['sqlite', "SELECT * FROM t WHERE at > datetime('now')"],
    ['sqlite', 'SELECT changes()'],
    ['mssql', 'SELECT * FROM jobs WITH (UPDLOCK, ROWLOCK) WHERE id = @p1'],
    ['mssql', 'SELECT NEXT VALUE FOR dbo.s'],
    ['mssql', 'SELECT NEWID()'],
  ])('is another answer in %s: %s', (dialect, text) => {
    expect(scanStatement(text, dialect).isVolatile).toBe(true);
  });

  it.each<[SqlDialect, string]>([
    ['postgresql', 'SELECT * FROM orders WHERE id = $1'],
    ['postgresql', 'SELECT now, random, uuid, nextval, t.changes FROM t'],
    ['postgresql', 'SELECT "now" FROM t WHERE "random" = $1'],
    ['postgresql', "SELECT * FROM t WHERE a = 'nov' AND b = 'now or never'"],
    ['postgresql', 'SELECT substring(a FOR 3) FROM t'],
    ['postgresql', 'SELECT share FROM t WHERE share IN ($1)'],
    ['postgresql', 'SELECT next, value FROM t'],
    ['sqlite', 'SELECT date(at), lower(name) FROM t'],
  ])('is the same in %s: %s', (dialect, text) => {
    expect(scanStatement(text, dialect).isVolatile).toBe(false);
  });

  it('is not taken from another literal', () => {
    const cache = new StatementCache('sqlite');
    const since = (at: string) => cache.describe(`SELECT * FROM t WHERE at > datetime('${at}')`);
    const [fixed, now] = [since('2026-01-01'), since('now')];
    expect([fixed.isVolatile, now.isVolatile, now.shape === fixed.shape]).toEqual([false, true, true]);
  });

  it('is that of what was prepared', () => {
    scanStatement('PREPARE volatile_one AS SELECT * FROM jobs FOR UPDATE', 'postgresql');
    expect(scanStatement('EXECUTE volatile_one', 'postgresql')).toMatchObject({
      kind: 'read',
      isVolatile: true,
    });
  });
});

describe('what a statement does to its session', () => {
  it.each<[string, number]>([
    ['SELECT * FROM orders WHERE id = $1', 0],
    ['UPDATE t SET a = 1', 0],
    ['SAVEPOINT a', 0],
    ["SET search_path TO 'tenant_a'", SETS],
    ['set session search_path = tenant_a', SETS],
    ['SET ROLE tenant_a', SETS],
    ['USE tenant_a', SETS],
    ['RESET search_path', SETS],
    ["SELECT set_config('search_path', $1, false)", SETS],
    ["SELECT set_config('search_path', $1, $2)", SETS],
    ["SELECT set_config('search_path', $1, true)", SETS_LOCALLY],
    ['SET LOCAL search_path TO tenant_a', SETS_LOCALLY],
    ['SET TRANSACTION ISOLATION LEVEL SERIALIZABLE', SETS_LOCALLY],
    ['BEGIN', BEGINS],
    ['START TRANSACTION READ ONLY', BEGINS],
    ['BEGIN; SET LOCAL search_path TO tenant_a', BEGINS | SETS_LOCALLY],
    ['BEGIN; SET LOCAL a TO b; SET c TO d', BEGINS | SETS_LOCALLY | SETS],
    ['COMMIT', ENDS],
    ['END', ENDS],
    ['ROLLBACK', ENDS],
    ['ROLLBACK TO SAVEPOINT a', SETS_LOCALLY],
    ['BEGIN; SELECT 1; COMMIT', BEGINS | ENDS],
    ['DISCARD ALL', RESETS],
    ['reset all;', RESETS],
  ])('%s', (text, session) => {
    expect(scanStatement(text, 'postgresql').session).toBe(session);
  });
});
