import { Controller, Get, Param } from '@nestjs/common';
import { setTimeout as sleep } from 'node:timers/promises';
import { Pool } from 'pg';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { databaseUrl, isEmbedded } from '../support/database';
import { platforms, startApp, type TestApp, until } from '../support/platforms';

let pool: Pool;
beforeAll(() => {
  pool = new Pool({ connectionString: databaseUrl(), max: isEmbedded ? 1 : 10 });
});
afterAll(() => pool.end());

@Controller()
class Orders {
  @Get('late/:ms')
  late(@Param('ms') ms: string) {
    void audit(Number(ms));
    return 'answered';
  }
}

async function audit(ms: number): Promise<void> {
  await sleep(ms);
  await pool.query('SELECT 1 AS audit');
  await pool.query('SELECT 1 AS audit');
  await pool.query('SELECT 2 AS other');
}

describe.each(platforms)('work after the response on %s', platform => {
  let test: TestApp;
  afterEach(() => test.close());

  it('is in the record, with its shapes', async () => {
    test = await startApp({ platform, controllers: [Orders], sinkQueue: { intervalMs: 400 } });
    await (await fetch(`${test.url}/late/30`)).text();
    const [record] = await test.records(1);

    expect(record!.queries).toMatchObject({ count: 0, late: 3 });
    expect(record!.late).toEqual([
      { what: 'SELECT ? AS audit', count: 2 },
      { what: 'SELECT ? AS other', count: 1 },
    ]);
    expect(test.logs.of('warn', 'LateWork')).toEqual([]);
  });

  it('is reported from lateAfterMs on, once a minute for each handler, with its line', async () => {
    test = await startApp({ platform, controllers: [Orders], lateAfterMs: 100 });
    await (await fetch(`${test.url}/late/150`)).text();
    const [line] = await until(() => {
      const lines = test.logs.of('warn', 'LateWork');
      return lines.length > 0 && lines;
    }, 'warning');
    await (await fetch(`${test.url}/late/150`)).text();
    await sleep(300);

    expect(line).toMatch(
      /^Orders\.late goes on working [\d.]+ ms after its response, at late-work\.spec\.ts:\d+ audit\n/,
    );
    expect(line).toContain('GET /late/:ms');
    expect(line).toContain('SELECT ? AS audit');
    expect(test.logs.of('warn', 'LateWork')).toHaveLength(1);
  });

  it('is never reported with lateAfterMs: 0', async () => {
    test = await startApp({ platform, controllers: [Orders], lateAfterMs: 0 });
    await (await fetch(`${test.url}/late/50`)).text();
    await sleep(200);
    expect(test.logs.of('warn', 'LateWork')).toEqual([]);
  });
});
