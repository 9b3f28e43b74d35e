import { Controller, Get } from '@nestjs/common';
import { AsyncResource } from 'node:async_hooks';
import { setTimeout as sleep } from 'node:timers/promises';
import { ContextService } from 'nestjs-async-context';
import { Pool } from 'pg';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { databaseUrl, isEmbedded } from '../../support/database';
import { startApp, type TestApp, until } from '../../support/platforms';

const needsServer = isEmbedded && !process.env['CI'];
const BLOCKED_MS = 900;
const POOL_WAIT_MS = 400;

// Made outside of any unit of work.
const outside = new AsyncResource('outside');
let pool: Pool;
let test: TestApp;
let isHeld = false;

function block(): void {
  const endMs = performance.now() + BLOCKED_MS;
  while (performance.now() < endMs);
}

@Controller()
class CustomersController {
  /** Another unit of work blocks the event loop while the connection is being opened. */
  @Get('opens')
  async opens(): Promise<void> {
    const opened = pool.connect();
    const context = test.app.get(ContextService);
    outside.runInAsyncScope(() => setImmediate(() => context.run({}, block)));
    (await opened).release();
  }

  @Get('holds')
  async holds(): Promise<void> {
    const client = await pool.connect();
    isHeld = true;
    await sleep(BLOCKED_MS + 2 * POOL_WAIT_MS);
    client.release();
  }

  @Get('waits')
  async waits(): Promise<void> {
    (await pool.connect()).release();
  }

  @Get('login')
  login(): void {
    block();
  }
}

const lines = (): string[] => test.logs.of('warn', 'ConnectionPool');
const get = async (path: string): Promise<string> => (await fetch(`${test.url}/${path}`)).text();

describe.skipIf(needsServer)('a wait for a connection while the event loop is blocked', () => {
  beforeEach(async () => {
    isHeld = false;
    pool = new Pool({ connectionString: databaseUrl(), max: 1 });
    test = await startApp({ controllers: [CustomersController], poolWaitMs: POOL_WAIT_MS, slowAfterMs: 0 });
  });
  afterEach(async () => {
    await test.close();
    await pool.end();
  });

  it('is no wait for the pool: what was stalled is not part of it', async () => {
    await get('opens');
    const record = (await test.records(2)).find(({ handler }) => handler === 'CustomersController.opens')!;
    expect(record.time.stalledMs + record.time.starvedMs).toBeGreaterThan(POOL_WAIT_MS);
    expect(lines()).toEqual([]);
    expect(record.queries.waitMs).toBeLessThan(POOL_WAIT_MS);
  });

  it('is reported without the time of the stall, and with the handler that caused it', async () => {
    const holder = get('holds');
    await until(() => isHeld, 'full pool');
    const waiter = get('waits');
    await until(() => pool.waitingCount > 0, 'wait');
    await Promise.all([holder, waiter, get('login')]);
    await test.records(3);
    const [line = ''] = lines();
    const waitedMs = Number(/waits waited (\d+) ms for a pg connection: 1 of 1 in use/.exec(line)?.[1]);
    expect(waitedMs).toBeGreaterThanOrEqual(POOL_WAIT_MS);
    expect(line).toMatch(/\n {2}stalled [\d,]+ ms more: /);
    const fields = test.logs.lines.find(({ context }) => context === 'ConnectionPool')!.fields!;
    expect(fields).toMatchObject({ waitedMs, stalledMs: expect.any(Number) as number });
    expect(waitedMs + Number(fields['stalledMs'])).toBeGreaterThan(BLOCKED_MS);
    // Where other processes took most of it, nobody is named.
    if (fields['stalledBy'] === undefined) return;
    expect(fields['stalledBy']).toMatch(/^CustomersController\.login/);
    expect(line).toMatch(/ms more: CustomersController\.login.* blocked the event loop\n/);
  });
});
