import { Controller, Get } from '@nestjs/common';
import { Pool, type PoolClient } from 'pg';
import { afterEach, describe, expect, it } from 'vitest';
import { type AsyncContextError, ContextService } from 'nestjs-async-context';
import { contextStorage } from '../../../lib/context/context-storage';
import { leaseOf } from '../../../lib/detectors/pools/watched-pool';
import { databaseUrl, isEmbedded } from '../../support/database';
import { startApp, type TestApp, until } from '../../support/platforms';
import { recordOfUnit } from '../../support/units';

const needsServer = isEmbedded && !process.env['CI'];

let pool: Pool;
let test: TestApp | undefined;
const lines = (): string[] => test!.logs.of('warn', 'ConnectionPool');
const pause = (ms: number) => new Promise(resolve => setTimeout(resolve, ms));
const messageOf = (promise: Promise<unknown>): Promise<string | undefined> =>
  promise.then(
    () => undefined,
    (error: Error) => error.message,
  );

afterEach(async () => {
  await test?.close();
  if (!pool.ending) await pool.end();
});

describe.skipIf(needsServer)('pool.connect() of pg', () => {
  it('that times out is the error of the bare driver, and has waited', async () => {
    pool = new Pool({ connectionString: databaseUrl(), max: 1, connectionTimeoutMillis: 150 });
    test = await startApp({ poolWaitMs: 100 });
    const holder = await pool.connect();
    await holder.query('LISTEN nothing');
    const record = await recordOfUnit(test, async () => {
      expect(await messageOf(pool.connect())).toBe('timeout exceeded when trying to connect');
      expect(contextStorage.getStore()!.poolWaits).toMatchObject([
        {
          driver: 'pg',
          size: 1,
          held: 1,
          waiting: 1,
          holders: [{ handler: 'outside of any unit of work', connections: 1, closed: 0 }],
        },
      ]);
    });
    expect(record.queries.waitMs).toBeGreaterThan(140);
    expect(record.queries).toMatchObject({ count: 0, errors: 0 });
    expect(lines()).toHaveLength(1);
    expect(lines()[0]).toContain('holder outside of any unit of work, 1 for ');
    holder.release();
  });

  it('that cannot connect is the error of the bare driver, with a stack that leads to the application', async () => {
    pool = new Pool({ host: '127.0.0.1', port: 1 });
    test = await startApp({});
    const caught = await recordOfUnit(test, async () => {
      const error = await pool.connect().catch((reason: Error & { code?: string }) => reason);
      expect(error).toMatchObject({ code: 'ECONNREFUSED' });
      expect((error as Error).stack).toContain('pg-faults.spec.ts');
    });
    expect(caught.queries.waitMs).toBeGreaterThan(0);
  });

  it.each<[string, () => Promise<unknown>]>([
    ['pool.query()', () => pool.query('SELECT 1')],
    ['pool.connect()', async () => (await pool.connect()).release()],
  ])('%s that gets its connection after the application was closed holds none', async (_name, ask) => {
    pool = new Pool({ connectionString: databaseUrl(), max: 1 });
    test = await startApp({ connectionLeakMs: 20 });
    const holder = await pool.connect();
    const answered = test.app.get(ContextService).run({}, ask);
    await test.close();
    holder.release();
    await answered;
    // Nobody saw it given back.
    expect(leaseOf(holder)).toBeUndefined();
    test = undefined;
  });

  it('is refused by a pool that ends, which waits for its holders', async () => {
    pool = new Pool({ connectionString: databaseUrl(), max: 1 });
    test = await startApp({ connectionLeakMs: 100 });
    await recordOfUnit(test, async () => {
      const client = await pool.connect();
      const ended = pool.end();
      expect(await messageOf(pool.connect())).toBe('Cannot use a pool after calling end on the pool');
      client.release();
      await ended;
    });
    await pause(300);
    expect(lines()).toEqual([]);
  });

  it('keeps the class of promise that the application gave to its pool', async () => {
    class OwnPromise<T> extends Promise<T> {}
    pool = new Pool({ connectionString: databaseUrl(), max: 1, Promise: OwnPromise as PromiseConstructor });
    test = await startApp({});
    await recordOfUnit(test, async () => {
      const connected = pool.connect();
      expect(connected).toBeInstanceOf(OwnPromise);
      (await connected).release();
    });
  });

  it('that is rejected and not handled is an unhandled rejection, as ever', async () => {
    pool = new Pool({ host: '127.0.0.1', port: 1 });
    test = await startApp({});
    const unhandled: unknown[] = [];
    const known = process.listeners('unhandledRejection');
    process.removeAllListeners('unhandledRejection');
    process.on('unhandledRejection', reason => unhandled.push(reason));
    try {
      await recordOfUnit(test, async () => {
        void pool.connect();
        await pause(100);
      });
      expect(unhandled).toMatchObject([{ code: 'ECONNREFUSED' }]);
    } finally {
      process.removeAllListeners('unhandledRejection');
      for (const listener of known) process.on('unhandledRejection', listener);
    }
  });
});

describe.skipIf(needsServer)('a request that waits for a second connection while it holds one', () => {
  const errors = (): string[] => test!.logs.of('error', 'ConnectionPool');
  let isOver: () => boolean;

  @Controller()
  class TwoController {
    @Get()
    async two(): Promise<void> {
      const first = await pool.connect();
      const second = pool.connect();
      await until(() => isOver(), 'end');
      first.release();
      (await second).release();
    }
  }

  it('is told that it stops itself', async () => {
    pool = new Pool({ connectionString: databaseUrl(), max: 1 });
    test = await startApp({ controllers: [TwoController], poolWaitMs: 100 });
    isOver = () => errors().length > 0;
    await fetch(test.url);
    await test.records(1);
    expect(lines()).toEqual([]);
    expect(errors()).toHaveLength(1);
    expect(errors()[0]).toMatch(/itself +holds 1 of them while it waits, and asks for another at pg-faults/);
    expect(errors()[0]).toContain('fix     use the connection that the request already holds');
    expect(errors()[0]).not.toContain('no connection was given out');
  });

  it('is a warning while another one runs a statement on its connection: that one gives it back', async () => {
    pool = new Pool({ connectionString: databaseUrl(), max: 2 });
    test = await startApp({ controllers: [TwoController], poolWaitMs: 100, slowAfterMs: 0 });
    let isDone = false;
    isOver = () => isDone;
    const other = pool.query('SELECT pg_sleep(0.6)').then(() => (isDone = true));
    await fetch(test.url);
    await Promise.all([other, test.records(1)]);
    expect(errors()).toEqual([]);
    expect(lines()).toHaveLength(1);
    expect(lines()[0]).toMatch(/itself +holds 1 of them while it waits, and asks for another at pg-faults/);
  });

  it('is told so again when nothing of the pool was given out for five seconds', async () => {
    pool = new Pool({ connectionString: databaseUrl(), max: 1 });
    test = await startApp({ controllers: [TwoController], poolWaitMs: 100 });
    isOver = () => errors().length > 1;
    await fetch(test.url);
    const [first = '', again = '', ...more] = errors();
    expect(more).toEqual([]);
    expect(first).not.toContain('no connection was given out');
    const stillMs = Number(
      /pool +no connection was given out for ([\d,]+) ms\n/.exec(again)?.[1]?.replace(',', ''),
    );
    expect(stillMs).toBeGreaterThanOrEqual(5_000);
    expect(again).toMatch(/^TwoController\.two has waited [\d,]+ ms for a pg connection: 1 of 1 in use/);
    expect(again).toMatch(/itself +holds 1 of them while it waits, and asks for another at pg-faults/);
  }, 90_000);
});

describe.skipIf(needsServer)('what a request holds when the last application closes', () => {
  it('is not spoken of by the next one', async () => {
    pool = new Pool({ connectionString: databaseUrl(), max: 2 });
    test = await startApp({ connectionLeakMs: 50 });
    let client: PoolClient | undefined;
    await recordOfUnit(test, async () => {
      client = await pool.connect();
    });
    await test.close();
    test = await startApp({ connectionLeakMs: 50 });
    await recordOfUnit(test, () => pool.query('SELECT 1'));
    await pause(200);
    expect(lines()).toEqual([]);
    client!.release();
  });
});

describe('options of pools', () => {
  it.each(['poolWaitMs', 'connectionLeakMs'])(
    '%s is a whole number from 0 to what a timer takes',
    async name => {
      pool = new Pool();
      for (const value of [0, 1, 2_147_483_647]) {
        test = await startApp({ [name]: value });
        await test.close();
      }
      for (const value of [-1, 0.5, 2_147_483_648, NaN, '500']) {
        const error = await startApp({ [name]: value }).catch((reason: AsyncContextError) => reason);
        expect(error).toMatchObject({ code: 'ASYNC_CONTEXT_INVALID_OPTION' });
        expect((error as Error).message).toContain(name);
      }
    },
  );

  it.skipIf(needsServer)('say nothing when they are 0', async () => {
    pool = new Pool({ connectionString: databaseUrl(), max: 1 });
    test = await startApp({ poolWaitMs: 0, connectionLeakMs: 0 });
    let client: PoolClient | undefined;
    await recordOfUnit(test, async () => {
      client = await pool.connect();
      setTimeout(() => client!.release(), 700);
      (await pool.connect()).release();
    });
    await recordOfUnit(test, async () => {
      client = await pool.connect();
    });
    await pause(300);
    expect(lines()).toEqual([]);
    client!.release();
  });
});
