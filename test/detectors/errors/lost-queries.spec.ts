import { EventEmitter } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  Controller,
  Get,
  type INestApplication,
  Injectable,
  Module,
  type OnApplicationBootstrap,
  type OnModuleInit,
} from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { ExpressAdapter } from '@nestjs/platform-express';
import { FastifyAdapter, type NestFastifyApplication } from '@nestjs/platform-fastify';
import { AsyncResource } from 'node:async_hooks';
import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Pool } from 'pg';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import {
  AsyncContextModule,
  type AsyncContextOptions,
  MemorySink,
  ProcessFigures,
} from 'nestjs-async-context';
import { databaseUrl } from '../../support/database';
import { LogLines, platforms, startApp, type TestApp, until } from '../../support/platforms';

type Ask = (pool: Pool, text: string) => Promise<unknown>;

let pool: Pool;
let folder: string;
/** Work of a package of somebody else, in the background. */
let ask: Ask;
/** What calls back, and asks. */
interface Caller {
  readonly call: (fn: () => unknown) => void;
  readonly ask: Ask;
}
let mailbox: Caller;
let knex: Caller;
let test: TestApp;

beforeAll(() => {
  pool = new Pool({ connectionString: databaseUrl(), max: 1 });
  folder = mkdtempSync(join(tmpdir(), 'lost-'));
  const home = join(folder, 'node_modules', '@acme', 'jobs');
  mkdirSync(home, { recursive: true });
  writeFileSync(join(home, 'index.js'), 'exports.ask = (pool, text) => pool.query(text);');
  const load = createRequire(join(folder, 'app.js'));
  ({ ask } = load('@acme/jobs') as { ask: Ask });
  // A package that calls back on its own, by an emitter that it has from elsewhere, and one of the known drivers.
  const emit = `const { EventEmitter } = require('node:events');
    exports.call = fn => void new EventEmitter().on('data', () => fn()).emit('data');
    exports.ask = (pool, text) => pool.query(text);`;
  for (const name of ['mailbox', 'knex']) {
    mkdirSync(join(folder, 'node_modules', name), { recursive: true });
    writeFileSync(join(folder, 'node_modules', name, 'index.js'), emit);
  }
  mailbox = load('mailbox') as Caller;
  knex = load('knex') as Caller;
});
afterEach(() => test.close());
afterAll(async () => {
  await pool.end();
  rmSync(folder, { recursive: true });
});

async function start(lostContexts?: AsyncContextOptions['lostContexts']): Promise<void> {
  test = await startApp({ ...(lostContexts !== undefined && { lostContexts }) });
}

/** All lines about them: the rest is written at the close. */
async function lines(): Promise<string[]> {
  await test.close();
  return test.logs.of('warn', 'AsyncContext').filter(line => line.includes('outside of any request'));
}

describe('queries outside of any unit of work', () => {
  it('are one line that names the first three shapes and their places', async () => {
    await start();
    for (let i = 0; i < 9; i += 1) await pool.query(`SELECT 1 AS "a${i % 5}"`);
    const line = await until(() => test.logs.of('warn', 'AsyncContext')[0], 'the line');
    expect(line).toMatch(/^9 queries ran outside of any request, job or message\n/);
    expect(line.match(/^ {2}query .*$/gm)).toEqual([
      expect.stringMatching(/SELECT \? AS "a0" at lost-queries\.spec\.ts:\d+/),
      expect.stringMatching(/SELECT \? AS "a1" at lost-queries\.spec\.ts:\d+/),
      expect.stringMatching(/SELECT \? AS "a2" at lost-queries\.spec\.ts:\d+, and others$/),
    ]);
    expect(line).toContain('contextService.run(seed, fn)');
    await pool.query('SELECT 2');
    expect(await lines()).toEqual([line, expect.stringMatching(/^A query ran outside/)]);
  });

  it.each<[string, RegExp, () => unknown]>([
    [
      'a timer',
      /\n {2}fix {3}a timer runs it: give it a unit of work of its own: @RunInContext\(\) on the method, or contextService\.run\(seed, fn\)$/,
      () => void setTimeout(() => void pool.query('SELECT 5'), 1),
    ],
    [
      'an emitter',
      /\n {2}fix {3}an emitter calls it: @RunInContext\(\) on the listener, or contextService\.bind\(fn\) if a request adds it$/,
      () => new EventEmitter().on('paid', () => void pool.query('SELECT 6')).emit('paid'),
    ],
    [
      'a package, which has an emitter further up,',
      /\n {2}fix {3}mailbox calls it: contextService\.bind\(fn\) if a request passes the callback, /,
      () => mailbox.call(() => void pool.query('SELECT 7')),
    ],
  ])('have the one fix that applies where %s calls the application', async (_who, fix, cause) => {
    await start();
    cause();
    expect(await until(() => test.logs.of('warn', 'AsyncContext')[0], 'the line')).toMatch(fix);
  });

  it('name the package that makes them where no line of the application does', async () => {
    await start();
    setTimeout(ask, 1, pool, 'SELECT 3');
    const line = await until(() => test.logs.of('warn', 'AsyncContext')[0], 'the line');
    expect(line).toMatch(/SELECT \? at @acme\/jobs\/…\/index\.js:1 ask/);
    expect(line).toContain(
      "\n  fix   it is work of @acme/jobs: set lostContexts: { ignore: ['@acme/jobs'] }",
    );
  });

  it('do not name a driver as what to ignore', async () => {
    await start();
    setTimeout(knex.ask, 1, pool, 'SELECT 8');
    const line = await until(() => test.logs.of('warn', 'AsyncContext')[0], 'the line');
    expect(line).not.toContain("ignore: ['");
    expect(line).toContain('\n  fix   if it starts by itself (a timer, a queue)');
  });

  it('are counted and not said where their package is ignored', async () => {
    await start({ ignore: ['@acme/jobs'] });
    const { attribution } = test.app.get(ProcessFigures);
    await ask(pool, 'SELECT 4');
    await pool.query('SELECT 5 AS "own"');
    expect(test.app.get(ProcessFigures).attribution.lost - attribution.lost).toBe(2);
    expect(await lines()).toEqual([expect.stringMatching(/^A query ran .*\n.*SELECT \? AS "own" at /)]);
  });

  it('are said once with log: once, and never with log: false', async () => {
    await start({ log: 'once' });
    await pool.query('SELECT 6');
    await until(() => test.logs.of('warn', 'AsyncContext')[0], 'the line');
    await pool.query('SELECT 7');
    expect(await lines()).toHaveLength(1);
    await start({ log: false });
    await pool.query('SELECT 8');
    expect(await lines()).toEqual([]);
  });
});

describe.each(platforms)('queries of a start, on %s', platform => {
  @Injectable()
  class Seed implements OnModuleInit, OnApplicationBootstrap {
    onModuleInit = (): Promise<unknown> => pool.query('SELECT 9 AS of_init');
    async onApplicationBootstrap(): Promise<void> {
      await pool.query('SELECT 10 AS of_bootstrap');
      await new Promise(resolve => setTimeout(resolve, 50));
      await pool.query('SELECT 11 AS of_bootstrap');
    }
  }

  it('are the start of the application, until it listens', async () => {
    test = await startApp({ platform, providers: [Seed] });
    const { attribution } = test.app.get(ProcessFigures);
    await pool.query('SELECT 12 AS of_nobody');
    expect(test.app.get(ProcessFigures).attribution.lost - attribution.lost).toBe(1);
    expect(await lines()).toEqual([expect.stringMatching(/^A query ran .*\n.*SELECT \? AS of_nobody at /)]);
  });
});

describe.each(platforms)('queries of an application that only calls init(), on %s', platform => {
  const outside = new AsyncResource('test');

  @Controller()
  class OrdersController {
    @Get('orders')
    async list(): Promise<string> {
      await pool.query('SELECT 13 AS charged');
      await outside.runInAsyncScope(() => pool.query('SELECT 14 AS of_nobody'));
      return 'orders';
    }
  }

  @Injectable()
  class Seed implements OnApplicationBootstrap {
    onApplicationBootstrap = (): Promise<unknown> => pool.query('SELECT 15 AS of_bootstrap');
  }

  async function init(): Promise<INestApplication> {
    const logs = new LogLines();
    const sink = new MemorySink();

    @Module({
      imports: [AsyncContextModule.forRoot({ sinks: [sink] })],
      controllers: [OrdersController],
      providers: [Seed],
    })
    class AppModule {}

    const adapter = platform === 'express' ? new ExpressAdapter() : new FastifyAdapter();
    const app = await NestFactory.create(AppModule, adapter as never, { logger: logs });
    await app.init();
    test = { app, url: '', sink, logs, records: async () => sink.records, close: () => app.close() };
    return app;
  }

  /** What supertest does, and what tests of Fastify do. */
  async function ask(app: INestApplication): Promise<void> {
    if (platform === 'fastify') {
      await (app as NestFastifyApplication).inject('/orders');
      return;
    }
    const server = app.getHttpServer() as Server;
    await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as AddressInfo;
    await (await fetch(`http://127.0.0.1:${port}/orders`)).text();
  }

  it('are lost from its first request on, and not before', async () => {
    await ask(await init());
    expect(await lines()).toEqual([expect.stringMatching(/^A query ran .*\n.*SELECT \? AS of_nobody at /)]);
  });
});

it.each([
  [{ log: 'always' }, /lostContexts\.log/],
  [{ ignore: '@acme/jobs' }, /lostContexts\.ignore/],
  [{ ignore: [''] }, /lostContexts\.ignore/],
  [{ ignored: [] }, /lostContexts/],
])('%j is refused', async (lostContexts, message) => {
  await expect(start(lostContexts as never)).rejects.toThrow(message);
  await start();
});
