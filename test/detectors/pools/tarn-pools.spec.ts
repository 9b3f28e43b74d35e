import knexOf, { type Knex } from 'knex';
// Before the application: Knex loads it with its first pool.
import 'pg';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ContextService } from 'nestjs-async-context';
import { databaseUrl, isEmbedded } from '../../support/database';
import { startApp, type TestApp, until } from '../../support/platforms';
import { recordOfUnit } from '../../support/units';

const needsServer = isEmbedded && !process.env['CI'];

let test: TestApp;
let knex: Knex;
const lines = (): string[] => test.logs.of('warn', 'ConnectionPool');
const pause = (ms: number) => new Promise(resolve => setTimeout(resolve, ms));
const inUnit = (handler: string, work: () => Promise<unknown>): Promise<unknown> =>
  test.app.get(ContextService).run({ handler }, work);

describe.skipIf(needsServer)('the pool of Knex', () => {
  beforeEach(async () => {
    test = await startApp({ poolWaitMs: 100, connectionLeakMs: 200 });
    knex = knexOf({ client: 'pg', connection: databaseUrl(), pool: { min: 0, max: 2 } });
    await Promise.all([knex.raw('SELECT 1'), knex.raw('SELECT 1')]);
  });
  afterEach(async () => {
    await knex.destroy();
    await test.close();
  });

  it('that is waited for names its holders, and what they are in', async () => {
    const query = inUnit('Reports.monthly', async () => knex.raw('SELECT pg_sleep(0.4)'));
    const transaction = inUnit('Orders.pay', () =>
      knex.transaction(async trx => {
        await trx.raw("SELECT 'secret'");
        await pause(400);
      }),
    );
    await pause(100);
    const record = await recordOfUnit(test, async () => knex.raw('SELECT 1'));
    await Promise.all([query, transaction]);
    expect(record.queries.waitMs).toBeGreaterThan(100);
    expect(record.queries.count).toBe(1);
    expect(lines()).toHaveLength(1);
    expect(lines()[0]).toContain('for a tarn connection: 2 of 2 in use, 1 call waiting');
    expect(lines()[0]).toMatch(/Reports\.monthly, 1 for \d+ ms: in SELECT pg_sleep\(\?\)\n/);
    expect(lines()[0]).toMatch(/Orders\.pay, 1 for \d+ ms: idle in a transaction, last: SELECT \?\n/);
    expect(lines()[0]).not.toContain('secret');
  });

  it('whose transaction is never ended is told of, with handler and the line of its last statement', async () => {
    let trx: Knex.Transaction | undefined;
    await inUnit('Orders.leak', async () => {
      trx = await knex.transaction();
      await trx.raw('SELECT 1');
    });
    const line = await until(() => lines()[0], 'report of a leak');
    expect(line).toContain('Orders.leak has not released a tarn connection');
    expect(line).toMatch(/idle in a transaction, last: SELECT \? \(tarn-pools\.spec\.ts:\d+\)\n/);
    await trx!.rollback();
  });

  it('that gives up is the error of Knex', async () => {
    const small = knexOf({
      client: 'pg',
      connection: databaseUrl(),
      pool: { min: 0, max: 1, acquireTimeoutMillis: 150 },
    });
    const trx = await small.transaction();
    const record = await recordOfUnit(test, async () => {
      await expect(small.raw('SELECT 1')).rejects.toThrow('Timeout acquiring a connection');
    });
    expect(record.queries.waitMs).toBeGreaterThan(140);
    await trx.rollback();
    await small.destroy();
  });
});
