import {
  type ArgumentsHost,
  Catch,
  Controller,
  type ExceptionFilter,
  Get,
  HttpException,
  type INestApplication,
} from '@nestjs/common';
import { ProcessFigures } from 'nestjs-async-context';
import { createRequire } from 'node:module';
import { request } from 'node:http';
import { contextStorage } from '../../lib/context/context-storage';
import { stopOf } from '../../lib/budget/work-stop';
import { describe, expect, it } from 'vitest';
import { platforms, startApp, type TestApp, until } from '../support/platforms';

const { spin } = createRequire(__filename)('../support/blocking-work.cjs') as { spin(ms: number): number };

let handle: () => unknown = () => 'ok';
const runs = { count: 0 };

@Controller()
class MixController {
  @Get('light')
  light() {
    return 'ok';
  }

  @Get('rogue')
  rogue() {
    runs.count += 1;
    spin(250);
    return 'ok';
  }

  @Get('flaky')
  flaky() {
    runs.count += 1;
    return handle();
  }
}

@Catch(HttpException)
class ShapingFilter implements ExceptionFilter<HttpException> {
  catch(error: HttpException, host: ArgumentsHost): void {
    const response = host
      .switchToHttp()
      .getResponse<{ status(code: number): { send(body: unknown): void } }>();
    response.status(error.getStatus()).send({ shaped: error.getResponse() });
  }
}

const configure = (app: INestApplication): void => {
  app.enableCors({ origin: 'https://shop.example' });
  app.useGlobalFilters(new ShapingFilter());
};

const statusOf = async (test: TestApp, path: string): Promise<number> => {
  const response = await fetch(`${test.url}/${path}`);
  await response.text();
  return response.status;
};

const said = (test: TestApp, text: string): string[] =>
  test.logs.of('warn', 'Guards').filter(line => line.includes(text));

const broken = (): never => {
  throw new Error('of the application');
};

async function startFlaky(platform: (typeof platforms)[number], openMs: number): Promise<TestApp> {
  const test = await startApp({
    platform,
    controllers: [MixController],
    guards: { breaker: { dryRun: false, minRequests: 3, openMs } },
  });
  handle = broken;
  for (let i = 1; i <= 3; i += 1) {
    expect(await statusOf(test, 'flaky')).toBe(500);
    await test.records(i);
  }
  expect(said(test, 'is refused with 503')).toHaveLength(1);
  runs.count = 0;
  return test;
}

/** Asks until one may try. */
const untilRun = async (test: TestApp, count: number): Promise<void> => {
  while (runs.count < count) await statusOf(test, 'flaky');
};

describe.each(platforms)('the breaker of a handler on %s', platform => {
  it('sheds a handler that blocks the event loop, and leaves the others alone', async () => {
    const test = await startApp({
      platform,
      controllers: [MixController],
      configure,
      guards: { breaker: { dryRun: false, blockedMs: 700, windowMs: 600_000, openMs: 600_000 } },
    });
    runs.count = 0;
    let shed: Response | undefined;
    const light: number[] = [];
    while (shed === undefined) {
      const [rogue, ...others] = await Promise.all([
        fetch(`${test.url}/rogue`, { headers: { origin: 'https://shop.example' } }),
        ...Array.from({ length: 5 }, () => statusOf(test, 'light')),
      ]);
      light.push(...others);
      if (rogue.status === 503) shed = rogue;
      else await rogue.text();
    }
    expect(runs.count).toBeGreaterThanOrEqual(2);
    const before = runs.count;
    // The application's filter answers, and its CORS headers are there.
    expect(await shed.json()).toMatchObject({ shaped: { statusCode: 503, reason: 'blocked' } });
    expect(shed.headers.get('access-control-allow-origin')).toBe('https://shop.example');
    expect(Number(shed.headers.get('retry-after'))).toBeGreaterThan(500);
    for (let i = 0; i < 20; i += 1) {
      light.push(await statusOf(test, 'light'));
      expect(await statusOf(test, 'rogue')).toBe(503);
    }
    expect(new Set(light)).toEqual(new Set([200]));
    expect(runs.count).toBe(before);
    const records = await test.records(light.length + before + 21);
    const refused = records.filter(record => record.refused !== undefined);
    expect(refused).toHaveLength(21);
    expect(refused[0]).toMatchObject({
      handler: 'MixController.rogue',
      status: 503,
      refused: { by: 'breaker', reason: 'blocked' },
    });
    expect(test.app.get(ProcessFigures).refusals).toEqual([
      { by: 'breaker', reason: 'blocked', handler: 'MixController.rogue', dryRun: false, count: 21 },
    ]);
    const [line, ...more] = test.logs.of('warn', 'Guards');
    expect(line).toContain('MixController.rogue is refused with 503 for at least 600,000 ms: it blocked');
    expect(more).toEqual([]);
    await test.close();
  });

  it('only says in a dry run, which is the default, what it would refuse', async () => {
    const test = await startApp({
      platform,
      controllers: [MixController],
      guards: { breaker: { failureShare: 1, minRequests: 2 } },
    });
    handle = broken;
    for (let i = 1; i <= 5; i += 1) {
      expect(await statusOf(test, 'flaky')).toBe(500);
      await test.records(i);
    }
    expect(said(test, 'would be refused (dry run)')).toHaveLength(1);
    expect(test.app.get(ProcessFigures).refusals).toMatchObject([
      { by: 'breaker', reason: 'failures', dryRun: true, count: 3 },
    ]);
    for (const { refused } of test.sink.records) expect(refused).toBeUndefined();
    await test.close();
  });

  it('lets all in again after one that ended well', async () => {
    const test = await startFlaky(platform, 30);
    handle = () => 'ok';
    await untilRun(test, 1);
    await until(() => said(test, 'accepts requests again').length === 1, 'line');
    for (let i = 0; i < 10; i += 1) expect(await statusOf(test, 'flaky')).toBe(200);
    await test.close();
  });

  it('refuses all others after one that failed', async () => {
    const test = await startFlaky(platform, 2_000);
    await untilRun(test, 1);
    const atOnce = await Promise.all(Array.from({ length: 5 }, () => statusOf(test, 'flaky')));
    expect(new Set(atOnce)).toEqual(new Set([503]));
    expect(said(test, 'accepts requests again')).toEqual([]);
    await test.close();
  });

  it('lets another try where the client of one has left, or where it never ends', async () => {
    const test = await startFlaky(platform, 30);
    const finishes: (() => void)[] = [];
    handle = () => new Promise(resolve => finishes.push(() => resolve('ok')));
    // Nobody else comes in while one tries.
    const first = request(`${test.url}/flaky`, { agent: false });
    first.on('error', () => undefined);
    await new Promise(resolve => setTimeout(resolve, 50));
    first.end();
    await until(() => runs.count === 1, 'the one that tries');
    first.destroy();
    // It works on; the next may try after openMs, and never ends either.
    const asked: Promise<unknown>[] = [];
    while (runs.count < 2) {
      asked.push(statusOf(test, 'flaky'));
      await new Promise(resolve => setTimeout(resolve, 5));
    }
    for (const finish of finishes.splice(0)) finish();
    await until(() => said(test, 'accepts requests again').length === 1, 'line');
    await Promise.all(asked);
    handle = () => 'ok';
    expect(await statusOf(test, 'flaky')).toBe(200);
    await test.close();
  });

  it('counts what has crossed a hard budget as failed', async () => {
    const test = await startApp({
      platform,
      controllers: [MixController],
      guards: { breaker: { dryRun: false, minRequests: 2 } },
    });
    handle = () => {
      const context = contextStorage.getStore()!;
      const breach = { dimension: 'queries', used: 2, limit: 1, from: 'a test' };
      stopOf(context, { ask: () => undefined, put: () => undefined, stoppedLate: () => undefined }).stop(
        breach,
        'SELECT ?',
      );
      return 'ok';
    };
    for (let i = 1; i <= 2; i += 1) {
      expect(await statusOf(test, 'flaky')).toBe(200);
      await test.records(i);
    }
    expect(await statusOf(test, 'flaky')).toBe(503);
    await test.close();
  });

  it('is not there where it is switched off', async () => {
    const test = await startApp({ platform, controllers: [MixController], guards: { breaker: false } });
    handle = broken;
    for (let i = 0; i < 30; i += 1) expect(await statusOf(test, 'flaky')).toBe(500);
    expect(test.app.get(ProcessFigures).refusals).toEqual([]);
    await test.close();
  });
});
