import { Client, Pool, Query } from 'pg';
import Cursor from 'pg-cursor';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  AsyncContextError,
  ContextService,
  QueryBudget,
  QueryBudgetExceededError,
  RunInContext,
} from 'nestjs-async-context';
import { Injectable } from '@nestjs/common';
import { databaseUrl } from '../support/database';
import { startApp, type TestApp, until } from '../support/platforms';

let client: Client;
let pool: Pool;
let test: TestApp;

@Injectable()
class Jobs {
  @RunInContext()
  @QueryBudget({ queries: 2, writes: 0, perTable: { pg_class: 1 } })
  run<T>(work: () => T): T {
    return work();
  }
}

describe("onExceeded: 'throw'", () => {
  beforeAll(async () => {
    test = await startApp({ providers: [Jobs], onExceeded: 'throw', breachWindowMs: 0 });
    client = new Client({ connectionString: databaseUrl() });
    pool = new Pool({ connectionString: databaseUrl(), max: 1 });
    await client.connect();
    await client.query('CREATE TEMPORARY TABLE kept (n int)');
  });
  afterAll(async () => {
    await client.end();
    await pool.end();
    await test.close();
  });

  it('sends the last query that is allowed and rejects the first that is not', async () => {
    const error = await test.app.get(Jobs).run(async () => {
      await client.query('SELECT 1');
      await client.query('SELECT 2');
      return client.query('SELECT 3').catch((reason: unknown) => reason);
    });
    expect(error).toBeInstanceOf(QueryBudgetExceededError);
    expect(error).toBeInstanceOf(AsyncContextError);
    expect(error).toMatchObject({
      code: 'ASYNC_CONTEXT_BUDGET_EXCEEDED',
      dimension: 'queries',
      used: 3,
      limit: 2,
      from: '@QueryBudget on Jobs.run',
      shape: 'SELECT ?',
    });
  });

  it('does not send a write that is not allowed', async () => {
    await test.app
      .get(Jobs)
      .run(() =>
        expect(client.query('INSERT INTO kept VALUES (1)')).rejects.toThrow(
          'writes is 1, above the limit of 0',
        ),
      );
    expect((await client.query('SELECT count(*)::int AS n FROM kept')).rows).toEqual([{ n: 0 }]);
  });

  it('limits a table', async () => {
    await test.app.get(Jobs).run(async () => {
      await client.query('SELECT 1 FROM pg_class LIMIT 1');
      await expect(client.query('SELECT 1 FROM pg_class LIMIT 1')).rejects.toThrow(
        'perTable.pg_class is 2, above the limit of 1',
      );
    });
  });

  it('gives the error in the way that each call gives its errors', async () => {
    const seen = await test.app.get(Jobs).run(async () => {
      await client.query('SELECT 1');
      await client.query('SELECT 1');
      return Promise.all([
        new Promise(resolve => client.query('SELECT 3', resolve)),
        new Promise(resolve => client.query('SELECT $1::int', [3], resolve)),
        new Promise(resolve => client.query(new Query('SELECT 3')).on('error', resolve)),
        new Promise(resolve => client.query(new Cursor('SELECT 3')).read(1, resolve)),
        new Promise(resolve => pool.query('SELECT 3', resolve as never)),
        pool.query('SELECT 3').catch((reason: unknown) => reason),
      ]);
    });
    for (const error of seen) expect(error).toBeInstanceOf(QueryBudgetExceededError);
    expect((await client.query('SELECT 4 AS n')).rows).toEqual([{ n: 4 }]);
    expect((await pool.query('SELECT 5 AS n')).rows).toEqual([{ n: 5 }]);
  });

  it('is logged and recorded as well, with the place of the query', async () => {
    const id = await test.app.get(Jobs).run(async () => {
      for (let i = 0; i < 3; i++) await client.query('SELECT 1').catch(() => undefined);
      return test.app.get(ContextService).requestId;
    });
    const record = await until(() => test.sink.records.find(({ requestId }) => requestId === id), 'record');
    expect(record!.breaches).toEqual([
      { dimension: 'queries', used: 3, limit: 2, from: '@QueryBudget on Jobs.run' },
    ]);
    expect(test.logs.of('error', 'QueryBudget').at(-1)).toMatch(/(?: {4}|line +)throw\.spec\.ts:\d+/);
  });

  it('leaves work without a context alone', async () => {
    expect(test.app.get(ContextService).isActive).toBe(false);
    for (let i = 0; i < 3; i++) await client.query('SELECT 1');
  });
});
