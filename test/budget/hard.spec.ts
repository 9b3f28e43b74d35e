import {
  type ArgumentsHost,
  Catch,
  ConflictException,
  Controller,
  type ExceptionFilter,
  Get,
  UseFilters,
} from '@nestjs/common';
import { Pool } from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { QueryBudget, QueryBudgetExceededError } from 'nestjs-async-context';
import { databaseUrl } from '../support/database';
import { platforms, startApp, type TestApp, until } from '../support/platforms';

let pool: Pool;

/** As an ORM does: an error of its own, which has the driver's one in a field. */
class QueryFailedError extends Error {
  constructor(readonly driverError: unknown) {
    super(String(driverError));
  }
}

@Catch(QueryBudgetExceededError)
class OwnFilter implements ExceptionFilter {
  catch(error: QueryBudgetExceededError, host: ArgumentsHost): void {
    const response = host
      .switchToHttp()
      .getResponse<{ status(code: number): { send(body: object): void } }>();
    response.status(507).send({ dimension: error.dimension });
  }
}

async function ask(times: number): Promise<number> {
  for (let i = 0; i < times; i++) await pool.query('SELECT 1 FROM pg_class LIMIT 1');
  return times;
}

@Controller('hard')
@QueryBudget({ queries: 5, hard: { queries: 20 } })
class HardController {
  @Get('export')
  @QueryBudget({ queries: 100, hard: { queries: 1_000, durationMs: 50_000 } })
  export() {
    return ask(30_000);
  }

  @Get('last')
  async last() {
    return String(await ask(20));
  }

  @Get('wrapped')
  async wrapped() {
    await ask(21).catch((error: unknown) => {
      throw new QueryFailedError(error);
    });
  }

  @Get('unrelated')
  async unrelated() {
    const orders = await ask(21).catch((): { id?: string }[] => []);
    // As is found in each code base.
    return (orders as { id: string }[])[0]!.id;
  }

  @Get('meant')
  async meant() {
    await ask(21).catch(() => {
      throw new ConflictException('as the application says');
    });
  }

  @Get('caught')
  async caught() {
    const error = await ask(21).catch((reason: unknown) => reason);
    const next = await pool.query('SELECT 2').catch((reason: unknown) => reason);
    return [error, next].map(one => (one instanceof QueryBudgetExceededError ? one.isHard : one));
  }

  @Get('filtered')
  @UseFilters(OwnFilter)
  async filtered() {
    await ask(21);
  }

  @Get('status')
  @QueryBudget({ hard: { queries: 0, status: 429 } })
  async status() {
    await ask(1);
  }

  @Get('rows')
  @QueryBudget({ hard: { rows: 10 } })
  async rows() {
    const { rowCount } = await pool.query('SELECT generate_series(1, 11)');
    const error = await pool.query('SELECT 1').catch((reason: unknown) => reason);
    return { rowCount, dimension: (error as QueryBudgetExceededError).dimension };
  }

  @Get('table')
  @QueryBudget({ hard: { perTable: { pg_class: 1 } } })
  async table() {
    await ask(2);
  }

  @Get('soft')
  @QueryBudget(1)
  async soft() {
    return String(await ask(3));
  }
}

describe.each(platforms)('a hard budget on %s', platform => {
  let test: TestApp;

  beforeAll(async () => {
    pool = new Pool({ connectionString: databaseUrl() });
    test = await startApp({ platform, controllers: [HardController], breachWindowMs: 0 });
  });
  afterAll(async () => {
    await test.close();
    await pool.end();
  });

  const recordOf = async (path: string) => {
    const response = await fetch(`${test.url}/hard/${path}`);
    const id = response.headers.get('x-request-id');
    const body = await response.text();
    const record = await until(() => test.sink.records.find(({ requestId }) => requestId === id), 'record');
    return { status: response.status, body, record };
  };
  const get = async (path: string): Promise<{ status: number; body: string }> => {
    const { status, body } = await recordOf(path);
    return { status, body };
  };

  it('stops the route that makes 30,000 queries at 1,000, with 503', async () => {
    const { status, body, record } = await recordOf('export');
    expect(status).toBe(503);
    expect(JSON.parse(body)).toEqual({
      statusCode: 503,
      message: 'The request was stopped because it exceeded a limit',
      reason: 'hard-budget',
    });
    expect(record).toMatchObject({
      handler: 'HardController.export',
      status: 503,
      error: 'QueryBudgetExceededError',
    });
    expect(record.breaches).toEqual([
      { dimension: 'queries', used: 1_001, limit: 100, from: '@QueryBudget on HardController.export' },
      {
        dimension: 'queries',
        used: 1_001,
        limit: 1_000,
        from: '@QueryBudget({ hard }) on HardController.export',
        hard: true,
      },
    ]);
    expect(record.queries.shapes[0]).toMatchObject({ count: 1_001 });
    const line = test.logs.of('error', 'QueryBudget').at(-1);
    expect(line).toContain('HardController.export was stopped: 1,001 queries (hard limit 1,000)');
    expect(line).toMatch(/(?: {4}|line +)hard\.spec\.ts:\d+/);
  });

  it('sends the last query that is allowed', async () => {
    expect(await get('last')).toEqual({ status: 200, body: '20' });
  });

  it('answers 503 also where an ORM has made an error of its own of it, without a word of it', async () => {
    const { status, body } = await get('wrapped');
    expect(status).toBe(503);
    expect(body).not.toMatch(/pg_class|SELECT|1,?000/);
  });

  it('leaves an error alone that has nothing to do with it, and its stack to the log', async () => {
    expect(await get('unrelated')).toMatchObject({ status: 500 });
    const { message } = test.logs.lines.find(({ context }) => context === 'ExceptionsHandler')!;
    expect((message as Error).stack).toMatch(/^TypeError: [^]*HardController\.unrelated/);
  });

  it('leaves an error that the application means for its client alone', async () => {
    expect(await get('meant')).toMatchObject({ status: 409 });
  });

  it('leaves an error alone that an exception filter is declared for', async () => {
    expect(await get('filtered')).toEqual({ status: 507, body: '{"dimension":"queries"}' });
  });

  it('rejects all that follow, and leaves the answer of who caught it as it is', async () => {
    const { status, body, record } = await recordOf('caught');
    expect([status, body]).toEqual([200, '[true,true]']);
    expect(record.queries.count).toBe(21);
    expect(record.breaches.map(({ limit }) => limit)).toEqual([5, 20]);
  });

  it('answers with the status that is declared', async () => {
    expect(await get('status')).toMatchObject({ status: 429 });
  });

  it('has all dimensions of a budget', async () => {
    expect(JSON.parse((await get('rows')).body)).toEqual({ rowCount: 11, dimension: 'rows' });
    expect(await get('table')).toMatchObject({ status: 503 });
  });

  it('takes over what the class says where a method says nothing of it', async () => {
    expect(await get('soft')).toEqual({ status: 200, body: '3' });
    const { record } = await recordOf('soft');
    expect(record.breaches).toHaveLength(1);
  });
});
