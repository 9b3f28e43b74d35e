import { Controller, Get, Inject, Injectable } from '@nestjs/common';
import { CommandBus, CommandHandler, CqrsModule, type ICommandHandler } from '@nestjs/cqrs';
import Sqlite from 'better-sqlite3';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Client, Pool, Query } from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  type BudgetLimits,
  ContextService,
  QueryBudget,
  QueryBudgetExceededError,
  RunInContext,
} from 'nestjs-async-context';
import { databaseUrl } from '../support/database';
import { startApp, type TestApp, until } from '../support/platforms';

const failure = (work: Promise<unknown>): Promise<unknown> =>
  work.then(
    () => undefined,
    (error: unknown) => error,
  );
const isHard = (error: unknown): boolean => error instanceof QueryBudgetExceededError && error.isHard;

class Save {}

@CommandHandler(Save)
class SaveHandler implements ICommandHandler<Save> {
  @QueryBudget({ hard: { queries: 1 } })
  async execute(): Promise<void> {
    await client.query('SELECT 1');
    await client.query('SELECT 2');
  }
}

let client: Client;
let pool: Pool;
let test: TestApp;

@Injectable()
class Jobs {
  constructor(
    private readonly commands: CommandBus,
    private readonly context: ContextService,
  ) {}

  @RunInContext()
  @QueryBudget({ hard: { queries: 2 } })
  two<T>(work: () => T): T {
    return work();
  }

  @RunInContext()
  @QueryBudget({ hard: { queries: 2 } })
  @QueryBudget.exempt({ hard: { queries: 4 }, issue: 'SHOP-1', until: '2999-12-31' })
  exempt<T>(work: () => T): T {
    return work();
  }

  @RunInContext()
  @QueryBudget({ hard: { queries: 2 } })
  @QueryBudget.exempt({ hard: { queries: 4 }, issue: 'SHOP-1', until: '2020-12-31' })
  expired<T>(work: () => T): T {
    return work();
  }

  @RunInContext()
  async part() {
    const first = await failure(this.commands.execute(new Save()));
    const then = await failure(client.query('SELECT 3'));
    return [isHard(first), isHard(then), this.context.signal?.aborted];
  }

  @RunInContext()
  @QueryBudget({ hard: { http: 1 } })
  async calls(url: string) {
    await (await fetch(url)).text();
    await (await fetch(url)).text();
    return failure(client.query('SELECT 1'));
  }
}

const times = async (count: number): Promise<number> => {
  let sent = 0;
  for (let i = 0; i < count; i++) sent += (await failure(client.query('SELECT 1'))) === undefined ? 1 : 0;
  return sent;
};

beforeAll(async () => {
  client = new Client({ connectionString: databaseUrl() });
  pool = new Pool({ connectionString: databaseUrl(), max: 1 });
  await client.connect();
  test = await startApp({
    imports: [CqrsModule],
    providers: [Jobs, SaveHandler],
    breachWindowMs: 0,
    budget: { hard: { writes: 0 } },
  });
});
afterAll(async () => {
  await test.close();
  await client.end();
  await pool.end();
});

describe('a hard limit', () => {
  it('may be that of the application', async () => {
    const context = test.app.get(ContextService);
    const error = await context.run({}, () => failure(client.query('CREATE TEMPORARY TABLE never (n int)')));
    expect(error).toMatchObject({ isHard: true, dimension: 'writes', from: 'forRoot({ budget.hard })' });
  });

  it('is raised by an exemption until it ends', async () => {
    const jobs = test.app.get(Jobs);
    expect(await jobs.exempt(() => times(6))).toBe(4);
    expect(await jobs.expired(() => times(6))).toBe(2);
  });

  it('of a part stops the whole, which is one piece of work with it', async () => {
    expect(await test.app.get(Jobs).part()).toEqual([true, true, true]);
  });

  it('keeps back a fan-out, and leaves no rejection unhandled', async () => {
    const unhandled: unknown[] = [];
    const note = (error: unknown): void => void unhandled.push(error);
    process.on('unhandledRejection', note);
    const results = await test.app
      .get(Jobs)
      .two(() => Promise.allSettled(Array.from({ length: 2_000 }, () => pool.query('SELECT 1'))));
    expect(results.filter(({ status }) => status === 'fulfilled')).toHaveLength(2);
    await new Promise(resolve => setTimeout(resolve, 20));
    process.off('unhandledRejection', note);
    expect(unhandled).toEqual([]);
    expect((await pool.query('SELECT 1 AS n')).rows).toEqual([{ n: 1 }]);
  });

  it('gives the error to a query object, and rolls back for its COMMIT', async () => {
    await test.app.get(Jobs).two(async () => {
      await client.query('BEGIN');
      await times(3);
      const error = await new Promise(resolve => client.query(new Query('COMMIT')).on('error', resolve));
      expect(isHard(error)).toBe(true);
    });
    expect((client as unknown as { _txStatus: string })._txStatus).toBe('I');
  });

  it('of calls is found, and what a driver cannot keep back is sent', async () => {
    const server = createServer((_request, response) => response.end('ok'));
    await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as AddressInfo;
    expect(await test.app.get(Jobs).calls(`http://127.0.0.1:${port}`)).toMatchObject({
      isHard: true,
      dimension: 'http',
    });
    server.close();
  });

  it('is none of what comes by a connection that it has opened, which is the work of others', async () => {
    const listener = new Client({ connectionString: databaseUrl() });
    const told: unknown[] = [];
    await test.app.get(Jobs).two(async () => {
      await listener.connect();
      await listener.query('LISTEN hard_edges');
      listener.on('notification', () => void failure(pool.query('SELECT 1')).then(error => told.push(error)));
      expect(await times(3)).toBe(2);
    });
    await pool.query('NOTIFY hard_edges');
    await until(() => told.length > 0, 'answer to the notification');
    expect(told).toEqual([undefined]);
    await listener.end();
  });

  it('holds for what a unit of work does after its close', async () => {
    let later: (() => Promise<unknown>) | undefined;
    await test.app.get(Jobs).two(async () => {
      later = test.app.get(ContextService).bind(() => failure(client.query('COMMIT')));
      await times(3);
    });
    expect(isHard(await later?.())).toBe(true);
  });
});

// better-sqlite3 13 ends a process of Node 20 when a database is opened.
describe.skipIf(Number.parseInt(process.versions.node, 10) < 22)('SQLite', () => {
  it('keeps nothing of what a handler commits all the same', async () => {
    const database = new Sqlite(':memory:');
    database.exec('CREATE TABLE kept (n int)');
    const count = (): unknown => database.prepare('SELECT count(*) AS n FROM kept').pluck().get();
    const insert = database.prepare('INSERT INTO kept VALUES (1)');
    const thrown = (work: () => unknown): unknown => {
      try {
        return void work();
      } catch (error) {
        return error;
      }
    };
    const context = test.app.get(ContextService);
    const commits: (() => unknown)[] = [
      () => database.exec('COMMIT'),
      () => database.prepare('COMMIT').run(),
    ];
    for (const commit of commits) {
      context.run({}, () => {
        database.exec('BEGIN');
        expect(isHard(thrown(() => insert.run()))).toBe(true);
        expect(isHard(thrown(commit))).toBe(true);
        expect(database.inTransaction).toBe(false);
      });
    }
    context.run({}, () => {
      const all = database.transaction(() => {
        thrown(() => insert.run());
      });
      expect(isHard(thrown(all))).toBe(true);
    });
    expect(count()).toBe(0);
    database.close();
  });
});

describe('a hard limit that cannot be', () => {
  const options: [limits: unknown, message: string][] = [
    [{ hard: 5 }, 'hard is 5'],
    [{ hard: { querys: 5 } }, 'hard.querys is 5. There is no such dimension'],
    [{ hard: { queries: -1 } }, 'hard.queries is -1'],
    [{ hard: { owner: 'me' } }, 'hard.owner is "me"'],
    [{ hard: { status: 302 } }, 'hard.status is 302. Use an HTTP status from 400 to 599'],
    [{ hard: { deadlineMs: 0 } }, 'hard.deadlineMs is 0. Use a whole number of milliseconds from 1'],
    [{ hard: { deadlineMs: 2 ** 31 } }, 'hard.deadlineMs is 2147483648'],
    [{ hard: { perTable: { orders: 'five' } } }, 'hard.perTable.orders is "five"'],
  ];
  it.each(options)('is refused at the start: %j', async (limits, message) => {
    expect(() => QueryBudget(limits as BudgetLimits)(class Wrong {})).toThrow(
      `@QueryBudget on Wrong: ${message}`,
    );
    await expect(startApp({ budget: limits as BudgetLimits })).rejects.toThrow(
      `budget.${message.replace(/ is /, ' }) is ')}`,
    );
  });

  it.each([
    [{ trust: 'yes' }, 'deadline.trust'],
    [{ header: 'x y' }, 'deadline.header'],
    [{ headers: 'x' }, 'deadline.headers'],
  ])('is refused at the start: %j', async (deadline, path) => {
    await expect(startApp({ deadline: deadline as never })).rejects.toThrow(`forRoot({ ${path} })`);
  });
});

@Controller()
class SlowController {
  @Inject(ContextService) private readonly context!: ContextService;

  @Get()
  @QueryBudget({ hard: { deadlineMs: 1 } })
  async slow() {
    while (this.context.remainingMs! > 0) await new Promise(resolve => setImmediate(resolve));
    await client.query('SELECT 1');
  }
}

describe('the line of a deadline', () => {
  it('says what to look at', async () => {
    const app = await startApp({ controllers: [SlowController], breachWindowMs: 0 });
    expect((await fetch(app.url)).status).toBe(503);
    const [line] = await until(() => {
      const lines = app.logs.of('error', 'QueryBudget');
      return lines.length > 0 && lines;
    }, 'line');
    expect(line).toMatch(/^SlowController\.slow was stopped: took [\d.]+ ms \(deadline 1\)/);
    expect(line).toMatch(/\n {2}fix +\w/);
    await app.close();
  });
});
