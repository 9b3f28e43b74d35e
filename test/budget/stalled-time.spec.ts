import { Controller, Get } from '@nestjs/common';
import { AsyncResource } from 'node:async_hooks';
import { Pool } from 'pg';
import { ContextService, QueryBudget } from 'nestjs-async-context';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { databaseUrl } from '../support/database';
import { startApp, type TestApp, until } from '../support/platforms';

const BLOCKED_MS = 500;
/** Slow enough for a busy machine, and far from what the loop is blocked for. */
const BUDGET_MS = 400;
const ASKED = 'SELECT 1 FROM pg_class LIMIT 1';

// Made outside of any unit of work.
const outside = new AsyncResource('outside');
let pool: Pool;
let test: TestApp;

function block(): void {
  const endMs = performance.now() + BLOCKED_MS;
  while (performance.now() < endMs);
}

/** Another unit of work blocks the loop once the query is on its way. */
function blockByAnother(): void {
  const context = test.app.get(ContextService);
  outside.runInAsyncScope(() => setImmediate(() => context.run({ handler: 'Reports.export' }, block)));
}

@Controller()
class OrdersController {
  @Get('innocent')
  @QueryBudget({ durationMs: BUDGET_MS })
  async innocent(): Promise<void> {
    const answer = pool.query(ASKED);
    blockByAnother();
    await answer;
    await pool.query(ASKED);
  }

  @Get('hard')
  @QueryBudget({ hard: { durationMs: BUDGET_MS } })
  hard(): Promise<void> {
    return this.innocent();
  }
}

beforeAll(async () => {
  pool = new Pool({ connectionString: databaseUrl(), max: 1 });
  await pool.query(ASKED);
  test = await startApp({ controllers: [OrdersController], slowAfterMs: 0 });
});
afterAll(async () => {
  await test.close();
  await pool.end();
});

it.each(['innocent', 'hard'])(
  'takes no time from the budget of a request (%s) in which another one blocked the event loop',
  async path => {
    const { status } = await fetch(`${test.url}/${path}`);
    expect(status).toBe(200);
    const find = () => test.sink.records.findLast(({ handler }) => handler === `OrdersController.${path}`);
    await until(() => find() !== undefined, 'record');
    const record = find()!;
    // On a busy machine a part of it is that of other processes.
    const { stalledMs, starvedMs } = record.time;
    expect(stalledMs + starvedMs).toBeGreaterThan(BLOCKED_MS / 2);
    expect(record.breaches).toEqual([]);
    expect(record.queries.count).toBe(2);
    expect(record.queries.durationMs).toBeLessThan(BUDGET_MS);
    expect(record.queries.busyMs).toBeLessThan(BUDGET_MS);
    expect(record.queries.shapes[0]?.durationMs).toBeLessThan(BUDGET_MS);
  },
);
