import { Controller, Get } from '@nestjs/common';
import { Pool } from 'pg';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import {
  AsyncContextModule,
  type AsyncContextOptions,
  ContextService,
  defaultInstrumentations,
  type DriverInstrumentation,
  ProcessFigures,
  QueryBudget,
} from 'nestjs-async-context';
import { databaseUrl } from '../support/database';
import { platforms, startApp, type TestApp } from '../support/platforms';

let pool: Pool;
let test: TestApp | undefined;
beforeAll(() => {
  pool = new Pool({ connectionString: databaseUrl(), max: 2 });
});
afterAll(() => pool.end());
afterEach(async () => {
  await test?.close();
  test = undefined;
});

@Controller()
class OrdersController {
  constructor(private readonly context: ContextService) {}

  @Get('recorded')
  @QueryBudget({ durationMs: 1, hard: { durationMs: 1 } })
  recorded(): string {
    for (let i = 0; i < 2; i += 1)
      this.context.record({ system: 'shop', collection: 'orders', rows: 1, durationMs: 5 });
    return 'recorded';
  }

  @Get('orders')
  @QueryBudget(1)
  async list(): Promise<unknown> {
    for (let i = 0; i < 3; i += 1) await pool.query('SELECT $1::int AS enabled', [i]);
    const { requestId, handler, cost } = this.context;
    return { requestId, handler, queries: cost?.queries };
  }
}

const ask = async (): Promise<unknown> => (await fetch(`${test!.url}/orders`)).json();

describe.each(platforms)('enabled: false on %s', platform => {
  it('leaves the context, and turns off everything else', async () => {
    test = await startApp({
      platform,
      enabled: false,
      controllers: [OrdersController],
      canonicalLog: true,
      slowAfterMs: 1,
      onExceeded: 'throw',
    });
    const { attribution } = test.app.get(ProcessFigures);
    expect(await ask()).toEqual({
      requestId: expect.stringMatching(/^[0-9a-f-]{36}$/) as unknown,
      handler: 'OrdersController.list',
      queries: 0,
    });
    expect(await (await fetch(`${test.url}/recorded`)).text()).toBe('recorded');
    await test.app.get(ContextService).flush();
    expect(test.sink.records).toEqual([]);
    expect(test.app.get(ProcessFigures).attribution).toEqual(attribution);
    const own = ['QueryBudget', 'SlowRequest', 'Request', 'Findings', 'EventLoop'];
    expect(test.logs.lines.filter(({ context }) => own.includes(context))).toEqual([]);
    expect(process.listenerCount('uncaughtExceptionMonitor')).toBe(0);
  });

  it('is not the default', async () => {
    test = await startApp({ platform, controllers: [OrdersController] });
    expect(await ask()).toMatchObject({ queries: 3 });
    expect(await test.records(1)).toMatchObject([{ breaches: [{ dimension: 'queries', used: 3 }] }]);
  });

  it('does not count the clients that are switched off', async () => {
    test = await startApp({ platform, instrumentations: { pg: false }, controllers: [OrdersController] });
    expect(await ask()).toMatchObject({ queries: 0 });
    expect(test.logs.of('log', 'AsyncContext')[0]).toMatch(/counts (?!.*\bpg\b).*\bhttp\b/);
    await test.close();
    test = await startApp({
      platform,
      instrumentations: { http: false, pg: true },
      controllers: [OrdersController],
    });
    expect(await ask()).toMatchObject({ queries: 3 });
  });
});

describe('instrumentations', () => {
  const forRoot = (instrumentations: unknown) => () =>
    AsyncContextModule.forRoot({ instrumentations } as AsyncContextOptions);

  it('are the defaults, with one of your own', async () => {
    const installed: string[] = [];
    const mine: DriverInstrumentation = {
      name: 'mine',
      install() {
        installed.push('mine');
        return undefined;
      },
    };
    test = await startApp({
      instrumentations: [...defaultInstrumentations(), mine],
      controllers: [OrdersController],
    });
    expect(await ask()).toMatchObject({ queries: 3 });
    expect(installed).toContain('mine');
  });

  it('are switched by their names, with true or false', () => {
    expect(forRoot({ kafka: false })).toThrow(
      'AsyncContextModule.forRoot({ instrumentations.kafka }) is false. There is no such option. Did you mean kafkajs?',
    );
    expect(forRoot({ pg: 'no' })).toThrow('forRoot({ instrumentations.pg }) is "no". Use true or false.');
    expect(forRoot(5)).toThrow("Use 'auto', an object such as { kafkajs: false }, or a list");
    expect(forRoot(null)).toThrow("Use 'auto', an object");
    expect(forRoot({})).not.toThrow();
  });

  it('is a flag', () => {
    expect(() => AsyncContextModule.forRoot({ enabled: 'no' as never })).toThrow(
      'AsyncContextModule.forRoot({ enabled }) is "no". Use true or false.',
    );
  });
});
