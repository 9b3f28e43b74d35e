import { Controller, Get } from '@nestjs/common';
import { setTimeout as sleep } from 'node:timers/promises';
import { Pool } from 'pg';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { eventLoop } from '../../lib/context/context-storage';
import { databaseUrl, isEmbedded } from '../support/database';
import { platforms, startApp, type TestApp, until } from '../support/platforms';

let pool: Pool;
beforeAll(() => {
  pool = new Pool({ connectionString: databaseUrl(), max: isEmbedded ? 1 : 10 });
});
afterAll(() => pool.end());

/** Lets the work go on that the last request has left. */
let goOn: () => void;
let audited: Promise<void>;

@Controller()
class Orders {
  @Get('late/:id')
  late() {
    audited = audit(new Promise(resolve => (goOn = resolve)));
    return 'answered';
  }
}

async function audit(answered: Promise<void>): Promise<void> {
  await answered;
  await pool.query('SELECT 1 AS audit');
  await pool.query('SELECT 1 AS audit');
  await pool.query('SELECT 2 AS other');
}

describe.each(platforms)('work after the response on %s', platform => {
  let test: TestApp;
  afterEach(() => test.close());

  /** Work of a request that ends long after it. */
  async function late(): Promise<void> {
    await (await fetch(`${test.url}/late/1`)).text();
    await until(() => eventLoop.open === 0, 'end of the request');
    await sleep(20);
    goOn();
    await audited;
  }

  it('is in the record, with its shapes', async () => {
    // Its record is written when the application stops.
    const sinkQueue = { intervalMs: 60_000 };
    test = await startApp({ platform, controllers: [Orders], sinkQueue, lateAfterMs: 600_000 });
    await late();
    await test.close();
    const [record] = test.sink.records;

    expect(record!.queries).toMatchObject({ count: 0, late: 3 });
    expect(record!.late).toEqual([
      { what: 'SELECT ? AS audit', count: 2 },
      { what: 'SELECT ? AS other', count: 1 },
    ]);
    expect(test.logs.of('warn', 'LateWork')).toEqual([]);
  });

  it('is reported from lateAfterMs on, once a minute for each handler, with its line', async () => {
    test = await startApp({ platform, controllers: [Orders], lateAfterMs: 1 });
    await late();
    await late();
    const [line] = test.logs.of('warn', 'LateWork');

    expect(line).toMatch(
      /^Orders\.late is still working [\d.]+ ms after the response, at late-work\.spec\.ts:\d+ audit {4}req \S+\n/,
    );
    expect(line).toContain('GET /late/:id');
    expect(line).toContain('SELECT ? AS audit');
    expect(test.logs.of('warn', 'LateWork')).toHaveLength(1);
  });

  it('is never reported with lateAfterMs: 0', async () => {
    test = await startApp({ platform, controllers: [Orders], lateAfterMs: 0 });
    await late();
    expect(test.logs.of('warn', 'LateWork')).toEqual([]);
  });
});
