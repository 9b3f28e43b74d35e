import { Controller, Get, Query } from '@nestjs/common';
import { Pool, type PoolClient } from 'pg';
import { DataSource, type QueryRunner } from 'typeorm';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { callSitesOf, captureStack } from '../../../lib/kernel/call-site';
import { reports } from '../../../lib/reporting/reports';
import { databaseUrl, isEmbedded } from '../../support/database';
import { platforms, startApp, type TestApp, until } from '../../support/platforms';

const needsServer = isEmbedded && !process.env['CI'];
const LEAK_MS = 100;

let pool: Pool;
let source: DataSource;
let test: TestApp | undefined;
/** What the application has lost; the test gives it back. */
let lost: (PoolClient | QueryRunner)[] = [];

const pause = (ms: number) => new Promise(resolve => setTimeout(resolve, ms));

@Controller()
class LeakController {
  @Get('promise')
  async promise(): Promise<void> {
    const client = await (mark('promise'), pool.connect());
    lost.push(client);
    await client.query('SELECT $1::int AS leaked', [1]);
  }

  @Get('callback')
  callback(): Promise<void> {
    return new Promise((resolve, reject) => {
      (mark('callback'), pool).connect((error, client) => {
        if (error) return reject(error);
        lost.push(client!);
        client!.query('SELECT $1::int AS leaked', [1], () => resolve());
      });
    });
  }

  @Get('typeorm')
  async typeorm(): Promise<void> {
    const runner = source.createQueryRunner();
    lost.push(runner);
    await (mark('typeorm'), runner).startTransaction();
    await runner.query('SELECT $1::int AS leaked', [1]);
  }

  @Get('in-transaction')
  async inTransaction(): Promise<void> {
    const client = await pool.connect();
    lost.push(client);
    await client.query('BEGIN');
    await client.query('SELECT $1::int AS leaked', [1]);
  }

  @Get('two-lines')
  async twoLines(@Query('leak') leak?: string): Promise<void> {
    if (leak === undefined) {
      (await (mark('one'), pool.connect())).release();
    }
    const client = await (mark('another'), pool.connect());
    if (leak === undefined) client.release();
    else lost.push(client);
  }

  @Get('clean')
  async clean(@Query('how') how: string): Promise<void> {
    if (how === 'query') {
      await pool.query('SELECT 1');
      return;
    }
    const client = await pool.connect();
    const { release } = client;
    try {
      await client.query('BEGIN');
      if (how === 'error') await client.query('SELECT 1 / 0').catch(() => undefined);
      await client.query('ROLLBACK');
    } finally {
      release(how === 'destroy');
    }
    if (how === 'twice') expect(() => release()).toThrow('already been released');
  }

  @Get('late')
  late(): void {
    void (async () => {
      await pause(30);
      const client = await pool.connect();
      await client.query('SELECT 1');
      await pause(LEAK_MS / 2);
      client.release();
    })();
  }

  @Get('late-leak')
  lateLeak(): void {
    setTimeout(() => void pool.connect().then(client => lost.push(client)), 50);
  }
}

/** Where the controller asks for its connections, as the stack of this test sees it. */
const marks: Record<string, string | undefined> = {};
function mark(name: string): void {
  marks[name] = callSitesOf(captureStack(mark))[0];
}

const lines = (): string[] => test!.logs.of('warn', 'ConnectionPool');
const get = (path: string) => fetch(`${test!.url}/${path}`);
const leak = () => until(() => lines()[0], 'report of a leak');

beforeEach(() => {
  lost = [];
  pool = new Pool({ connectionString: databaseUrl(), max: 5 });
});
afterEach(async () => {
  await Promise.all(lost.map(one => one.release()));
  await test?.close();
  await pool.end();
});

describe.skipIf(needsServer).each(platforms)('a connection that is not released on %s', platform => {
  beforeEach(async () => {
    test = await startApp({ platform, controllers: [LeakController], connectionLeakMs: LEAK_MS });
  });

  it.each(['promise', 'callback'])('is a leak, with handler and line: %s', async path => {
    const id = (await get(path)).headers.get('x-request-id');
    const line = await leak();
    expect(line).toMatch(
      new RegExp(
        `^LeakController\\.${path} has not released a pg connection [\\d,]+ ms after its request ended {4}req \\S+\\n`,
      ),
    );
    expect(line).toContain(`request   GET /${path}, request id ${id}`);
    expect(line).toContain(`acquired  at ${marks[path]}, held for `);
    expect(line).toMatch(
      /statement between statements, last: SELECT \?::int AS leaked \(pg-leaks\.spec\.ts:\d+/,
    );
    expect(line).toContain('\n  fix       release it in a finally block\n');
    const [report] = test!.logs.lines
      .filter(({ context }) => context === 'ConnectionPool')
      .map(({ fields }) => fields);
    expect(report).toMatchObject({
      handler: `LeakController.${path}`,
      driver: 'pg',
      requestId: id,
      state: 'idle',
      shape: 'SELECT ?::int AS leaked',
      acquiredAt: expect.stringContaining('pg-leaks.spec.ts') as string,
    });
    await pause(3 * LEAK_MS);
    expect(lines()).toHaveLength(1);
  });
});

describe.skipIf(needsServer)('a connection that is not released', () => {
  beforeEach(async () => {
    test = await startApp({ controllers: [LeakController], connectionLeakMs: LEAK_MS });
  });

  it('by a QueryRunner of TypeORM is a leak, with its open transaction', async () => {
    source = await new DataSource({ type: 'postgres', url: databaseUrl() }).initialize();
    await get('typeorm');
    const line = await leak();
    expect(line).toContain('LeakController.typeorm has not released');
    expect(line).toContain(`acquired  at ${marks['typeorm']}, held for `);
    expect(line).toContain('idle in a transaction, last: SELECT ?::int AS leaked');
    expect(line).toContain(
      'fix       its transaction is still open: call queryRunner.rollbackTransaction() in a catch block, and queryRunner.release() in a finally block\n',
    );
    await Promise.all(lost.map(one => one.release()));
    lost = [];
    await source.destroy();
  });

  it('with an open transaction is to be rolled back, in the words of its driver', async () => {
    await get('in-transaction');
    expect(await leak()).toContain(
      'fix       its transaction is still open: ROLLBACK in a catch block, and release it in a finally block\n',
    );
  });

  it('is at one of the lines of its handler at first, and at its own once there is a suspicion', async () => {
    await get('two-lines');
    await get('two-lines?leak');
    const { one, another } = marks;
    expect(await leak()).toContain(`acquired  at ${one}, or ${another}, held for `);
    await get('two-lines?leak');
    await until(() => lines().length === 2, 'second report');
    expect(lines()[1]).toContain(`acquired  at ${another}, held for `);
  });

  it('by work after the response is one, too', async () => {
    await get('late-leak');
    expect(await leak()).toContain('LeakController.lateLeak has not released');
  });

  it('outside of any unit of work is none', async () => {
    const listener = await pool.connect();
    await listener.query('LISTEN nothing');
    await get('clean?how=query');
    await pause(3 * LEAK_MS);
    expect(lines()).toEqual([]);
    listener.release();
  });
});

describe.skipIf(needsServer)('a leak that is kept back', () => {
  const user = {};
  beforeEach(async () => {
    // One warning a minute.
    test = await startApp({ controllers: [LeakController], connectionLeakMs: LEAK_MS, reportsPerMinute: 2 });
    await get('promise');
    await leak();
  });
  afterEach(() => reports.leave(user));

  it('by the bound of a minute is said as soon as there is room', async () => {
    await get('callback');
    await pause(3 * LEAK_MS);
    expect(lines()).toHaveLength(1);
    reports.use(user, 1_000_000);
    expect(await until(() => lines()[1], 'report of the second leak')).toContain(
      `acquired  at ${marks['callback']}, held for `,
    );
    await pause(3 * LEAK_MS);
    expect(lines()).toHaveLength(2);
  });

  it('because its line was named already is said no more', async () => {
    await get('promise');
    await pause(3 * LEAK_MS);
    reports.use(user, 1_000_000);
    await pause(3 * LEAK_MS);
    expect(lines()).toHaveLength(1);
  });
});

describe('clean requests', () => {
  it('say nothing: 1,000, with transactions that fail, connections that are closed, a release too many', async () => {
    test = await startApp({
      controllers: [LeakController],
      connectionLeakMs: LEAK_MS,
      poolWaitMs: 5_000,
    });
    const kinds = ['query', 'commit', 'error', 'twice', 'query', 'commit', 'error', 'twice', 'destroy'];
    await Promise.all(
      Array.from({ length: 10 }, async () => {
        for (let i = 0; i < 100; i++)
          expect((await get(`clean?how=${kinds[i % kinds.length]}`)).status).toBe(200);
      }),
    );
    await get('late');
    await pause(4 * LEAK_MS);
    expect(lines()).toEqual([]);
    expect(test.logs.of('warn', 'AsyncContext')).toEqual([]);
  });
});
