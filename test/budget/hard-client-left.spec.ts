import { Controller, Get, Inject } from '@nestjs/common';
import { CommandBus, CommandHandler, CqrsModule, type ICommandHandler } from '@nestjs/cqrs';
import { request } from 'node:http';
import { Pool } from 'pg';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { ContextService, QueryBudget, QueryBudgetExceededError } from 'nestjs-async-context';
import { databaseUrl } from '../support/database';
import { platforms, startApp, type TestApp, until } from '../support/platforms';

const pause = (ms: number): Promise<void> => new Promise(resolve => setTimeout(resolve, ms));
const TABLE = 'hard_client_left';

let pool: Pool;
let later: () => Promise<unknown>;
let begun = false;
let hasLeft = Promise.resolve();
let end: { sent: number; error: unknown } | undefined;

async function work(times: number, everyMs = 0): Promise<void> {
  let sent = 0;
  begun = true;
  await hasLeft;
  try {
    for (; sent < times; sent++) {
      await pool.query('SELECT 1');
      await pause(everyMs);
    }
    end = { sent, error: undefined };
  } catch (error) {
    end = { sent, error };
    throw error;
  }
}

class Work {}

@CommandHandler(Work)
class WorkHandler implements ICommandHandler<Work> {
  execute() {
    return work(20);
  }
}

@Controller()
class LeftController {
  constructor(
    @Inject(CommandBus) private readonly commands: CommandBus,
    private readonly context: ContextService,
  ) {}

  @Get('queries')
  @QueryBudget({ hard: { queries: 5 } })
  queries() {
    return work(20);
  }

  @Get('command')
  @QueryBudget({ hard: { queries: 5 } })
  command() {
    return this.commands.execute(new Work());
  }

  @Get('enough')
  @QueryBudget({ hard: { queries: 5 } })
  async enough() {
    const client = await pool.connect();
    await client.query('BEGIN');
    begun = true;
    await hasLeft;
    for (let i = 0; i < 5; i++) await client.query(`INSERT INTO ${TABLE} VALUES (${i})`);
    await client.query('COMMIT').finally(() => client.release());
    end = { sent: 5, error: undefined };
  }

  @Get('deadline')
  @QueryBudget({ hard: { deadlineMs: 300 } })
  deadline() {
    return work(200, 10);
  }

  @Get('function')
  @QueryBudget(context => ({ hard: { queries: context.requestId === 'large' ? 20 : 5 } }))
  function() {
    return work(20);
  }

  /** A timer that is made once, by whoever comes first. */
  @Get('timer')
  @QueryBudget({ hard: { queries: 0 } })
  timer() {
    later = this.context.bind(() => pool.query('SELECT 1'));
    return pool.query('SELECT 1');
  }

  @Get('background')
  @QueryBudget({ hard: { queries: 5, deadlineMs: 200 } })
  background() {
    void work(30, 10);
    return 'ok';
  }
}

describe.each(platforms)('a hard limit where the client of %s leaves', platform => {
  let test: TestApp;

  beforeAll(async () => {
    pool = new Pool({ connectionString: databaseUrl(), max: 2 });
    await pool.query(`CREATE TABLE IF NOT EXISTS ${TABLE} (n int)`);
    test = await startApp({
      platform,
      imports: [CqrsModule],
      providers: [WorkHandler],
      controllers: [LeftController],
      breachWindowMs: 0,
    });
  });
  afterAll(async () => {
    await test.close();
    await pool.query(`DROP TABLE ${TABLE}`);
    await pool.end();
  });

  /** Asks, and leaves when the handler is at work; it goes on when that is known. */
  async function leave(path: string) {
    [begun, end] = [false, undefined];
    let go: () => void = () => undefined;
    hasLeft = new Promise(resolve => (go = resolve));
    const records = test.sink.records.length;
    const visit = request(`${test.url}/${path}`).on('error', () => undefined);
    visit.end();
    await until(() => begun, 'handler');
    visit.destroy();
    await test.records(records + 1);
    go();
    return until(() => end, 'end of the handler');
  }

  it.each(['queries', 'function', 'command'])('holds for the %s of the handler that works on', async path => {
    const { sent, error } = await leave(path);
    expect(sent).toBe(5);
    expect(error).toBeInstanceOf(QueryBudgetExceededError);
    expect(error).toMatchObject({ isHard: true, dimension: 'queries', used: 6, limit: 5 });
    expect(test.logs.of('error', 'QueryBudget').at(-1)).toContain(
      `LeftController.${path} was stopped: 6 queries (hard limit 5)`,
    );
  });

  it('stops what it has begun for a minute after its end, and not for good', async () => {
    const records = test.sink.records.length;
    expect((await fetch(`${test.url}/timer`)).status).toBe(503);
    await test.records(records + 1);
    await expect(later()).rejects.toBeInstanceOf(QueryBudgetExceededError);
    const now = performance.now.bind(performance);
    const clock = vi.spyOn(performance, 'now').mockImplementation(() => now() + 60_000);
    await later();
    clock.mockRestore();
  });

  it('lets what keeps to it be committed', async () => {
    await leave('enough');
    expect((await pool.query(`SELECT count(*)::int AS n FROM ${TABLE}`)).rows).toEqual([{ n: 5 }]);
    await pool.query(`DELETE FROM ${TABLE}`);
  });

  it('holds for its deadline', async () => {
    const { sent, error } = await leave('deadline');
    expect(sent).toBeLessThan(31);
    expect(error).toMatchObject({ isHard: true, dimension: 'deadlineMs', limit: 300 });
    expect((error as QueryBudgetExceededError).used).toBeGreaterThanOrEqual(300);
  });

  it('leaves alone what a handler does after its answer', async () => {
    [begun, end, hasLeft] = [false, undefined, Promise.resolve()];
    expect(await (await fetch(`${test.url}/background`)).text()).toBe('ok');
    expect(await until(() => end, 'end of what was not awaited')).toEqual({ sent: 30, error: undefined });
  });
});
