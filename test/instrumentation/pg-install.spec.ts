import { Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { Client, Pool } from 'pg';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import {
  AsyncContextModule,
  ContextService,
  type DriverInstrumentation,
  MemorySink,
  pgInstrumentation,
} from 'nestjs-async-context';
import { databaseUrl } from '../support/database';
import { LogLines } from '../support/platforms';

type Query = typeof Client.prototype.query;

const bare: Query = Client.prototype.query;
const basePool = Object.getPrototypeOf(Pool.prototype) as { query: unknown; connect: unknown };
const barePool = { query: basePool.query, connect: basePool.connect };
const opened: { close(): Promise<void> }[] = [];
let client: Client;

async function open(instrumentations: readonly DriverInstrumentation[] | 'auto' = 'auto') {
  const sink = new MemorySink();
  const logs = new LogLines();
  @Module({ imports: [AsyncContextModule.forRoot({ sinks: [sink], instrumentations })] })
  class AppModule {}
  const app = await NestFactory.createApplicationContext(AppModule, { logger: logs });
  opened.push(app);
  return { app, sink, logs, context: app.get(ContextService) };
}

/** How many queries are counted for one. */
async function countOf(context: ContextService): Promise<number | undefined> {
  return context.run({}, async () => {
    await client.query('SELECT 1');
    return context.cost?.queries;
  });
}

beforeAll(async () => {
  client = new Client({ connectionString: databaseUrl() });
  await client.connect();
});
afterAll(() => client.end());
afterEach(async () => {
  await Promise.all(opened.splice(0).map(app => app.close()));
});

describe('the instrumentation of pg', () => {
  it('is there while an application runs, and gone afterwards', async () => {
    const { app, context } = await open();
    expect(Client.prototype.query).not.toBe(bare);
    expect([Client.prototype.query.name, Client.prototype.query.length]).toEqual([bare.name, bare.length]);
    expect(await countOf(context)).toBe(1);
    await app.close();
    expect(Client.prototype.query).toBe(bare);
    expect(basePool).toMatchObject(barePool);
    expect(Object.keys(Client.prototype)).not.toContain('query');
  });

  it('is shared by two applications and stays until the last is closed', async () => {
    const [one, two] = [await open(), await open()];
    expect([await countOf(one.context), await countOf(two.context)]).toEqual([1, 1]);
    await one.app.close();
    expect(await countOf(two.context)).toBe(1);
    await two.app.close();
    expect(Client.prototype.query).toBe(bare);
  });

  it('counts once when it is asked for twice', async () => {
    const { context } = await open([pgInstrumentation(), pgInstrumentation()]);
    expect(await countOf(context)).toBe(1);
  });

  it('is left out on request', async () => {
    const { context } = await open([]);
    expect(Client.prototype.query).toBe(bare);
    expect(await countOf(context)).toBe(0);
  });

  it('comes over a driver that is wrapped already', async () => {
    let theirs = 0;
    Client.prototype.query = function (this: Client, ...args: unknown[]) {
      theirs += 1;
      return (bare as (...all: unknown[]) => unknown).apply(this, args);
    } as never;
    const { app, context } = await open();
    expect(await countOf(context)).toBe(1);
    expect(theirs).toBe(1);
    await app.close();
    Client.prototype.query = bare;
  });

  it('that cannot be installed is reported, and the application starts', async () => {
    const broken: DriverInstrumentation = {
      name: 'broken',
      install() {
        throw new Error('not this version');
      },
    };
    const { context, logs } = await open([broken, pgInstrumentation()]);
    expect(logs.of('warn', 'AsyncContext')).toEqual([
      expect.stringMatching(/^instrumentation broken failed and was ignored: Error: not this version/),
    ]);
    expect(await countOf(context)).toBe(1);
  });

  it('does not take a query of a listener for the one that waits for the pool', async () => {
    const { context } = await open();
    const pool = new Pool({ connectionString: databaseUrl(), max: 1 });
    pool.on('connect', connection => void connection.query("SET application_name = 'listener'"));
    const cost = await context.run({}, async () => {
      await pool.query('SELECT n FROM generate_series(1, 4) AS n');
      return {
        queries: context.cost?.queries,
        rows: context.cost?.rows,
        transactions: context.cost?.transactions,
      };
    });
    expect(cost).toEqual({ queries: 1, rows: 4, transactions: 1 });
    await pool.end();
  });

  it('counts once, and lets go, when somebody else wraps the driver after it', async () => {
    const { app, context } = await open();
    const ours = Client.prototype.query;
    let theirs = 0;
    const wrapped = function (this: Client, ...args: unknown[]) {
      theirs += 1;
      return (ours as (...all: unknown[]) => unknown).apply(this, args);
    };
    Client.prototype.query = wrapped as never;
    expect(await countOf(context)).toBe(1);
    await app.close();
    // Not ours to take away.
    expect(Client.prototype.query).toBe(wrapped);
    expect((await client.query('SELECT 1')).rowCount).toBe(1);
    const again = await open();
    expect(await countOf(again.context)).toBe(1);
    expect(theirs).toBe(3);
  });
});
