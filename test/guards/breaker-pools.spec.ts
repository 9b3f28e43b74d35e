import { Controller, Get } from '@nestjs/common';
import { ProcessFigures } from 'nestjs-async-context';
import { Pool } from 'pg';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { poolWatch } from '../../lib/detectors/pools/pool-watch';
import { databaseUrl, isEmbedded } from '../support/database';
import { platforms, startApp, type TestApp, until } from '../support/platforms';

const needsServer = isEmbedded && !process.env['CI'];

let pool: Pool;
let test: TestApp | undefined;
let holdMs = 0;
const held = { count: 0 };

class Handlers {
  async light(): Promise<string> {
    await pool.query('SELECT 1');
    return 'ok';
  }

  async hold(): Promise<string> {
    const client = await pool.connect();
    held.count += 1;
    await new Promise(resolve => setTimeout(resolve, holdMs)).finally(() => client.release());
    return 'ok';
  }
}

@Controller('mix')
class MixController extends Handlers {
  @Get('light')
  override light() {
    return super.light();
  }

  @Get('hold')
  override hold() {
    return super.hold();
  }
}

/** A second class of that name, which does no harm. */
const Harmless = (() => {
  @Controller('harmless')
  class MixController extends Handlers {
    @Get('hold')
    override hold() {
      return super.light();
    }
  }
  return MixController;
})();

const statusOf = async (path: string): Promise<number> => {
  const response = await fetch(`${test!.url}/${path}`);
  await response.text();
  return response.status;
};
const lines = (): string[] => test!.logs.of('warn', 'Guards');

describe.skipIf(needsServer).each(platforms)('the breaker of a handler that holds a pool on %s', platform => {
  const start = async (connectionsMs: number, openMs: number, windowMs = 600_000): Promise<void> => {
    test = await startApp({
      platform,
      controllers: [MixController, Harmless],
      poolWaitMs: 0,
      guards: { breaker: { dryRun: false, connectionsMs, openMs, windowMs } },
    });
  };
  beforeEach(async () => {
    pool = new Pool({ connectionString: databaseUrl(), max: 2 });
    await Promise.all([pool.query('SELECT pg_sleep(0.1)'), pool.query('SELECT pg_sleep(0.1)')]);
    held.count = 0;
    holdMs = 1_000;
  });
  afterEach(async () => {
    await test?.close();
    await pool.end();
  });

  it('opens while others wait, and only that of the handler which holds it', async () => {
    await start(300, 600_000);
    const holders = [statusOf('mix/hold'), statusOf('mix/hold')];
    await until(() => held.count === 2, 'both connections held');
    const waiting = Array.from({ length: 5 }, () => statusOf('mix/light'));
    await until(() => lines().length === 1, 'line');
    // Those that hold it are at it still, or have just ended.
    expect(lines()[0]).toMatch(
      /^MixController\.hold is refused with 503 for at least 600,000 ms: others waited [\d,.]+ ms for pool connections/,
    );
    expect(await statusOf('mix/hold')).toBe(503);
    expect(await Promise.all([...holders, ...waiting])).toEqual(Array.from({ length: 7 }, () => 200));
    expect(await statusOf('harmless/hold')).toBe(200);
    expect(await statusOf('mix/light')).toBe(200);
    expect(test!.app.get(ProcessFigures).refusals).toMatchObject([
      { by: 'breaker', reason: 'connections', count: 1 },
    ]);
  });

  it('says nothing of a handler whose own requests wait for each other', async () => {
    await start(1, 600_000);
    holdMs = 250;
    expect(new Set(await Promise.all(Array.from({ length: 6 }, () => statusOf('mix/hold'))))).toEqual(
      new Set([200]),
    );
    expect(lines()).toEqual([]);
  });

  it('stays open while what comes would hold half of the pool, and lets all in again once it would not', async () => {
    await start(300, 50, 1_000);
    const holders = [statusOf('mix/hold'), statusOf('mix/hold')];
    await until(() => held.count === 2, 'both connections held');
    const waiting = Array.from({ length: 5 }, () => statusOf('mix/light'));
    await until(() => lines().length === 1, 'line');
    await Promise.all([...holders, ...waiting]);
    // Twenty within a second, each with half of the pool for 700 ms, would hold seven times as much as there is.
    holdMs = 700;
    while (held.count < 2 + 1) await Promise.all(Array.from({ length: 20 }, () => statusOf('mix/hold')));
    expect(lines()).toHaveLength(1);
    holdMs = 0;
    while (lines().length === 1) await statusOf('mix/hold');
    expect(lines()[1]).toContain('MixController.hold accepts requests again after');
  });

  it('hears no more of a pool once its application is closed', async () => {
    await start(300, 50);
    expect(poolWatch().hearsOfShares).toBe(true);
    await test!.close();
    test = undefined;
    expect(poolWatch().hearsOfShares).toBe(false);
  });
});
