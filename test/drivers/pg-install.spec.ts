import { Module, type ModuleMetadata } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { cpSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Client, Pool } from 'pg';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
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
const folders: string[] = [];
const opened: { close(): Promise<void> }[] = [];
let client: Client;

/** All that a prototype has, the symbols and the attributes included. */
const facts = () =>
  [Client.prototype, basePool].map(prototype => Object.getOwnPropertyDescriptors(prototype));
const bareFacts = facts();

/** Another copy of pg, as an ORM that pins its own version would bring it. */
function copyOfPg(): { load(): { Client: typeof Client; Pool: typeof Pool } } {
  const root = fileURLToPath(new URL('../..', import.meta.url));
  mkdirSync(join(root, '.cache'), { recursive: true });
  // Below the root, so that what pg needs is found.
  const folder = mkdtempSync(join(root, '.cache', 'pg-'));
  folders.push(folder);
  for (const name of ['pg', 'pg-pool']) {
    cpSync(join(root, 'node_modules', name), join(folder, 'node_modules', name), { recursive: true });
  }
  return { load: () => createRequire(join(folder, 'index.js'))('pg') as never };
}

async function open(
  instrumentations: readonly DriverInstrumentation[] | 'auto' = 'auto',
  providers: ModuleMetadata['providers'] = [],
) {
  const sink = new MemorySink();
  const logs = new LogLines();
  @Module({ imports: [AsyncContextModule.forRoot({ sinks: [sink], instrumentations })], providers })
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
afterAll(async () => {
  await client.end();
  for (const folder of folders) rmSync(folder, { recursive: true });
});
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
    expect(facts()).toEqual(bareFacts);
    expect(facts().map(Reflect.ownKeys)).toEqual(bareFacts.map(Reflect.ownKeys));
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
      expect.stringMatching(/^instrumentation broken failed and was ignored: Error at pg-install\.spec\.ts:/),
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

  it('counts once, and takes itself back once it can, when somebody else wraps the driver after it', async () => {
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
    await again.app.close();
    Client.prototype.query = ours;
    await (await open()).app.close();
    expect(facts()).toEqual(bareFacts);
  });

  it('counts once with a second copy of this package, whichever is closed first', async () => {
    const first = await open();
    vi.resetModules();
    const copy = await import('nestjs-async-context');
    expect(copy.AsyncContextModule).not.toBe(AsyncContextModule);
    @Module({ imports: [copy.AsyncContextModule.forRoot()] })
    class CopyModule {}
    const start = () => NestFactory.createApplicationContext(CopyModule, { logger: new LogLines() });
    const second = await start();
    const context = second.get(copy.ContextService) as unknown as ContextService;
    expect([await countOf(first.context), await countOf(context)]).toEqual([1, 1]);
    await first.app.close();
    expect(await countOf(context)).toBe(1);
    const third = await open();
    await second.close();
    expect(await countOf(third.context)).toBe(1);
    await third.app.close();
    expect(facts()).toEqual(bareFacts);
  });

  it('covers every copy of pg, also one that a provider loads while the application starts', async () => {
    const other = copyOfPg();
    let loaded: ReturnType<typeof other.load> | undefined;
    const provider = {
      provide: 'database',
      useFactory: async () => {
        await new Promise(resolve => setTimeout(resolve, 20));
        loaded = other.load();
      },
    };
    const { app, context } = await open('auto', [provider]);
    expect(loaded!.Client).not.toBe(Client);
    const pool = new loaded!.Pool({ connectionString: databaseUrl(), max: 1 });
    const counts = await context.run({}, async () => {
      await client.query('SELECT 1');
      await pool.query('SELECT 1');
      return [context.cost?.queries, context.cost?.rows];
    });
    expect(counts).toEqual([2, 2]);
    await pool.end();
    await app.close();
    expect(Reflect.ownKeys(loaded!.Client.prototype)).toEqual(Reflect.ownKeys(Client.prototype));
    expect(facts()).toEqual(bareFacts);
  });

  it('does not reach a copy that is loaded after the start: the next application does', async () => {
    const other = copyOfPg();
    const first = await open();
    const loaded = other.load();
    const pool = new loaded.Pool({ connectionString: databaseUrl(), max: 1 });
    const count = (context: ContextService) =>
      context.run({}, async () => {
        await pool.query('SELECT 1');
        return context.cost?.queries;
      });
    expect(await count(first.context)).toBe(0);
    const second = await open();
    expect(await count(second.context)).toBe(1);
    await pool.end();
  });
});
