import { Controller, Get, Query } from '@nestjs/common';
import { Client, Pool } from 'pg';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ContextService } from 'nestjs-async-context';
import { databaseUrl, isEmbedded } from '../support/database';
import { startApp, type TestApp, until } from '../support/platforms';

const needsServer = isEmbedded && !process.env['CI'];
const hint = needsServer ? ' (skipped: set DATABASE_URL to a PostgreSQL server)' : '';

let pool: Pool;
let test: TestApp;

@Controller()
class WorkController {
  constructor(private readonly context: ContextService) {}

  @Get('work')
  async work(@Query('queries') queries: string, @Query('parallel') parallel?: string) {
    const send = () => pool.query('SELECT $1::text AS id', [this.context.requestId]);
    if (parallel !== undefined) await Promise.all(Array.from({ length: Number(queries) }, send));
    else for (let i = 0; i < Number(queries); i++) await send();
    return this.context.requestId;
  }

  @Get('callbacks')
  callbacks(@Query('queries') queries: string): Promise<string | undefined> {
    return new Promise(resolve => {
      let left = Number(queries);
      for (let i = 0; i < Number(queries); i++) {
        pool.connect((_error, client, release) => {
          client!.query('SELECT 1', () => {
            release();
            left -= 1;
            if (left === 0) resolve(this.context.requestId);
          });
        });
      }
    });
  }

  @Get('sleep')
  async sleep() {
    return pool.query('SELECT pg_sleep(10)').then(
      () => 'slept',
      (error: { code?: string; message: string }) => error.code ?? error.message,
    );
  }

  @Get('late')
  late(): string {
    setTimeout(() => void pool.query('SELECT 1'), 50);
    return 'answered';
  }
}

beforeEach(async () => {
  test = await startApp({ controllers: [WorkController], nest: {} });
});
afterEach(async () => {
  await test.close();
  await pool.end();
});

async function checkEach(requests: number, queriesOf: (n: number) => number, path: string): Promise<number> {
  const expected = new Map<string, number>();
  await Promise.all(
    Array.from({ length: requests }, async (_, n) => {
      const queries = queriesOf(n);
      const response = await fetch(`${test.url}/${path}queries=${queries}`);
      expected.set(await response.text(), queries);
    }),
  );
  const records = await until(
    () => test.sink.records.length >= requests && test.sink.records,
    `${requests} records`,
  );
  expect(expected.size).toBe(requests);
  let charged = 0;
  for (const { requestId, queries } of records) {
    expect([requestId, queries.count]).toEqual([requestId, expected.get(requestId)]);
    charged += queries.count;
  }
  return charged;
}

describe('queries that wait for the pool', () => {
  it.each(['work?', 'work?parallel&', 'callbacks?'])(
    'are charged to their own request: 50 requests with 20 queries each to %s',
    async path => {
      pool = new Pool({ connectionString: databaseUrl(), max: isEmbedded ? 1 : 2 });
      expect(await checkEach(50, () => 20, path)).toBe(1_000);
    },
  );

  it('are charged exactly: 1,000 requests at once with 0 to 200 queries', async () => {
    pool = new Pool({ connectionString: databaseUrl(), max: isEmbedded ? 1 : 4 });
    // Seeded, so that a failure can be repeated: https://en.wikipedia.org/wiki/Lehmer_random_number_generator
    let seed = 42;
    const counts = Array.from({ length: 1_000 }, () => (seed = (seed * 48_271) % 2_147_483_647) % 201);
    expect(Math.max(...counts)).toBe(200);
    expect(await checkEach(1_000, n => counts[n]!, 'work?')).toBe(counts.reduce((a, b) => a + b, 0));
  });

  it('are charged, with their error, when the pool gives up', async () => {
    pool = new Pool({ connectionString: databaseUrl(), max: 1, connectionTimeoutMillis: 500 });
    const holder = await pool.connect();
    expect(await (await fetch(`${test.url}/sleep`)).text()).toBe('timeout exceeded when trying to connect');
    holder.release();
    const [record] = await test.records(1);
    expect(record!.queries).toMatchObject({ count: 1, errors: 1, rows: 0 });
    expect(record!.queries.waitMs).toBeGreaterThan(450);
    expect(record!.queries.durationMs).toBe(0);
  });
});

describe('a server that goes away', () => {
  it.skipIf(needsServer)(
    `gives each of 100 queries in flight to its own request, and the process lives${hint}`,
    async () => {
      pool = new Pool({
        connectionString: databaseUrl(),
        max: 50,
        application_name: `killed-${process.pid}`,
      });
      const errors: unknown[] = [];
      pool.on('error', error => errors.push(error));
      const admin = new Client({ connectionString: databaseUrl() });
      await admin.connect();
      // 50 are running and 50 wait for a connection; the second half runs, and is killed, after the first.
      const answers = Promise.all(
        Array.from({ length: 100 }, async () => (await fetch(`${test.url}/sleep`)).text()),
      );
      const kill = setInterval(() => {
        // The last one may find the connection closed.
        void admin
          .query(
            `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'killed-${process.pid}' AND query LIKE '%pg_sleep%'`,
          )
          .catch(() => undefined);
      }, 100);
      const codes = await answers;
      clearInterval(kill);
      await admin.end();
      expect(codes.filter(code => code === 'slept')).toEqual([]);
      const records = await test.records(100);
      expect(records.map(({ queries, status }) => [queries.count, queries.errors, status])).toEqual(
        Array.from({ length: 100 }, () => [1, 1, 200]),
      );
      expect((await pool.query('SELECT 1')).rowCount).toBe(1);
    },
  );
});

describe('a query', () => {
  beforeEach(() => {
    pool = new Pool({ connectionString: databaseUrl(), max: 1 });
  });

  it('after the response is late: not counted, and no second record', async () => {
    await fetch(`${test.url}/late`);
    const records = await until(() => test.sink.records.length > 0 && test.sink.records, 'record');
    await new Promise(resolve => setTimeout(resolve, 150));
    expect(records[0]!.queries).toMatchObject({ count: 0 });
    expect(test.sink.records).toHaveLength(1);
  });

  it('that is late, but before its record is written, is in the record', async () => {
    await test.close();
    test = await startApp({ controllers: [WorkController], sinkQueue: { intervalMs: 300 } });
    await fetch(`${test.url}/late`);
    const [record] = await test.records(1);
    expect(record!.queries).toMatchObject({ count: 0, late: 1 });
  });

  it('outside of any unit of work is logged with its place, and the rest is counted', async () => {
    const background = () => pool.query('SELECT 1 FROM pg_class WHERE relname = $1', ['secret']);
    for (let i = 0; i < 5; i++) await background();
    const line = await until(() => test.logs.of('warn', 'AsyncContext')[0], 'the line');
    expect(line).toMatch(/^5 queries ran outside/);
    expect(line).toContain('SELECT ? FROM pg_class WHERE relname = ?');
    expect(line).toMatch(/at pg-attribution\.spec\.ts:\d+ background/);
    expect(line).toContain('contextService.run(seed, fn)');
    expect(line).not.toContain('secret');
  });
});

describe('a query while an application starts and stops', () => {
  it('is not lost', async () => {
    pool = new Pool({ connectionString: databaseUrl(), max: 1 });
    await test.close();
    await pool.query('SELECT 1');
    expect(test.logs.of('warn', 'AsyncContext')).toEqual([]);
    test = await startApp({ controllers: [WorkController] });
  });
});
