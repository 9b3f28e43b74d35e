import {
  type CanActivate,
  Controller,
  type ExecutionContext,
  Get,
  Inject,
  Injectable,
  UseGuards,
} from '@nestjs/common';
import { Pool } from 'pg';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import {
  type BudgetFunction,
  ContextService,
  type ContextUser,
  QueryBudget,
  RunInContext,
} from 'nestjs-async-context';
import { databaseUrl } from '../support/database';
import { platforms, startApp, type TestApp, until } from '../support/platforms';

let pool: Pool;
/** What functions saw each time that they were asked. */
let asked: unknown[] = [];

const planOf = (context: ContextService): string | undefined =>
  (context.user as { plan?: string } | undefined)?.plan;

const byPlan: BudgetFunction = context => {
  asked.push(planOf(context));
  return planOf(context) === 'large'
    ? { queries: 10, hard: { queries: 5 } }
    : { queries: 1, hard: { queries: 2 } };
};

/** Asks the database who somebody is, as a session guard does. */
@Injectable()
class PlanGuard implements CanActivate {
  constructor(private readonly context: ContextService) {}

  async canActivate(execution: ExecutionContext): Promise<boolean> {
    const { headers } = execution.switchToHttp().getRequest<{ headers: Record<string, string> }>();
    await pool.query('SELECT 1');
    this.context.setUser({ id: '1', plan: headers['x-plan'] } as ContextUser);
    return true;
  }
}

async function ask(times: number): Promise<number> {
  let sent = 0;
  for (let i = 0; i < times; i++) {
    await pool.query('SELECT 1').then(
      () => (sent += 1),
      () => undefined,
    );
  }
  return sent;
}

@Controller()
@QueryBudget({ queries: 3, hard: { queries: 4 } })
class PlansController {
  @Inject(ContextService) private readonly context!: ContextService;

  @Get('plan')
  @UseGuards(PlanGuard)
  @QueryBudget(byPlan)
  plan() {
    return ask(10);
  }

  @Get('open')
  @QueryBudget(byPlan)
  open() {
    return ask(10);
  }

  @Get('untouched')
  @UseGuards(PlanGuard)
  @QueryBudget(byPlan)
  untouched() {
    return 0;
  }

  @Get('number')
  @QueryBudget(() => 7)
  number() {
    return ask(10);
  }

  @Get('throws')
  @QueryBudget(() => {
    throw new Error('a secret of the tenant');
  })
  throws() {
    return ask(10);
  }

  @Get('wrong')
  @QueryBudget(() => ({ querys: 1 }) as never)
  wrong() {
    return ask(10);
  }

  @Get('promise')
  @QueryBudget((() => Promise.resolve({ hard: { queries: 1 } })) as never)
  promise() {
    return ask(10);
  }

  @Get('deadline')
  @QueryBudget(() => ({ hard: { deadlineMs: 60_000 } }))
  deadline() {
    return this.context.remainingMs;
  }

  @Get('recursive')
  @QueryBudget(() => {
    void ask(1);
    return { hard: { queries: 2 } };
  })
  recursive() {
    return ask(10);
  }
}

@Injectable()
class Jobs {
  @RunInContext()
  @QueryBudget(context => ({ hard: { queries: context.kind === 'job' ? 3 : 0 } }))
  run() {
    return ask(10);
  }
}

describe.each(platforms)('a budget by function on %s', platform => {
  let test: TestApp;

  beforeAll(async () => {
    pool = new Pool({ connectionString: databaseUrl(), max: 1 });
    test = await startApp({ platform, controllers: [PlansController], providers: [Jobs], breachWindowMs: 0 });
  });
  afterAll(async () => {
    await test.close();
    await pool.end();
  });
  beforeEach(() => {
    asked = [];
  });

  const get = async (path: string, headers: Record<string, string> = {}) => {
    const response = await fetch(`${test.url}/${path}`, { headers });
    const id = response.headers.get('x-request-id');
    const sent = Number(await response.text());
    const record = await until(() => test.sink.records.find(({ requestId }) => requestId === id), 'record');
    return { sent, limits: record.breaches.map(({ limit }) => limit) };
  };

  it('is asked once, when guards have said who the user is', async () => {
    // That of the guard is the first.
    expect(await get('plan', { 'x-plan': 'large' })).toEqual({ sent: 4, limits: [5] });
    expect(await get('plan', { 'x-plan': 'small' })).toEqual({ sent: 1, limits: [1, 2] });
    expect(asked).toEqual(['large', 'small']);
  });

  it('is asked at the first query where there are no guards', async () => {
    expect(await get('open')).toEqual({ sent: 2, limits: [1, 2] });
    expect(asked).toEqual([undefined]);
  });

  it('is not asked where only guards have asked for something', async () => {
    expect(await get('untouched', { 'x-plan': 'large' })).toEqual({ sent: 0, limits: [] });
    expect(asked).toEqual([]);
  });

  it('may give a number', async () => {
    // The hard one is that of the class.
    expect(await get('number')).toEqual({ sent: 4, limits: [4] });
  });

  it.each(['throws', 'wrong', 'promise'])('leaves the limits of outside in force where it %s', async path => {
    expect(await get(path)).toEqual({ sent: 4, limits: [3, 4] });
    const lines = test.logs
      .of('warn', 'AsyncContext')
      .filter(line => line.includes(`PlansController.${path}`));
    expect(lines).toHaveLength(1);
    expect(lines[0]).not.toContain('secret');
  });

  it('is asked for the deadline as well', async () => {
    const { sent } = await get('deadline');
    expect(sent).toBeGreaterThan(1_000);
    expect(sent).toBeLessThanOrEqual(60_000);
  });

  it('stands under the limits of outside itself', async () => {
    expect((await get('recursive')).limits.at(-1)).toBe(2);
  });

  it('is asked for jobs', async () => {
    expect(await test.app.get(Jobs).run()).toBe(3);
  });
});
