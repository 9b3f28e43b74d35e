import { Controller, Get, Query } from '@nestjs/common';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ContextService, type CostRecordSink, QueryBudget } from 'nestjs-async-context';
import { platforms, startApp } from '../support/platforms';

const unhandled: unknown[] = [];
const note = (reason: unknown): void => void unhandled.push(reason);
beforeAll(() => void process.on('unhandledRejection', note));
afterAll(() => void process.off('unhandledRejection', note));

@Controller()
class FaultController {
  constructor(private readonly context: ContextService) {}

  @Get()
  @QueryBudget(0)
  get(@Query('close') close?: string): unknown {
    this.context.record({ system: 'test', durationMs: 1 });
    if (close !== undefined) this.context.onClose(hookErrors[close as keyof typeof hookErrors]);
    // Asks the option `user`; what a broken one gives is not to be sent.
    const hasUser = this.context.user !== undefined;
    return { id: this.context.requestId, hasUser };
  }
}

const hookErrors = {
  throws: (): never => {
    throw new Error('of the application');
  },
  rejects: (): Promise<never> => Promise.reject(new Error('of the application')),
  hangs: (): Promise<never> => new Promise(() => undefined),
  'throws nothing': (): never => {
    // oxlint-disable-next-line no-throw-literal -- applications do
    throw undefined;
  },
  'gives a broken thenable': (): unknown => ({
    get then() {
      throw new Error('of the application');
    },
  }),
};

describe.each(platforms)("the application's own hooks on %s", platform => {
  it.each(Object.keys(hookErrors) as (keyof typeof hookErrors)[])('may fail: each %s', async hookError => {
    unhandled.length = 0;
    const broken = hookErrors[hookError] as () => never;
    const test = await startApp({
      platform,
      controllers: [FaultController],
      requestId: { trust: broken, generate: broken },
      user: broken,
      onExceeded: broken,
      sinks: [{ name: 'broken', write: broken, close: broken }],
      sinkQueue: { intervalMs: 5 },
    });
    for (let i = 0; i < 5; i++) {
      const response = await fetch(`${test.url}/?close=${encodeURIComponent(hookError)}`, {
        headers: { 'x-request-id': 'theirs' },
      });
      expect(response.status).toBe(200);
      const { id } = (await response.json()) as { id: string };
      expect(id).toMatch(/^[0-9a-f-]{36}$/);
      expect(response.headers.get('x-request-id')).toBe(id);
    }
    expect(await test.records(5)).toHaveLength(5);
    await new Promise(resolve => setTimeout(resolve, 20));
    expect(unhandled).toEqual([]);
    const words = test.logs.of('warn', 'AsyncContext');
    // One line a hook and minute, however often it failed.
    const hooks = words.map(line => line.split(' failed')[0]);
    expect(hooks).toEqual([...new Set(hooks)]);
    if (hookError === 'throws') {
      for (const hook of ['requestId.trust', 'requestId.generate', 'user', 'onExceeded', 'onClose']) {
        expect(words.some(line => line.startsWith(`${hook} failed and was ignored`))).toBe(true);
      }
    }
    await test.close();
  });
});

describe('a sink that fails', () => {
  // Five times what the queue holds; `.ci/full` sends 10,000.
  const REQUESTS = 2_500 * Number(process.env['TEST_REPETITIONS'] ?? 1);
  const sinkOf: Record<string, () => CostRecordSink & { taken: number }> = {
    throws: () =>
      counting(() => {
        throw new Error('sink');
      }),
    rejects: () => counting(() => Promise.reject(new Error('sink'))),
    hangs: () => counting(() => new Promise<void>(() => undefined)),
    blocks: () =>
      counting(() => {
        const end = performance.now() + 5;
        while (performance.now() < end);
      }),
  };

  it.each(Object.keys(sinkOf))(
    `%s: ${REQUESTS} answers are the same, and what was dropped is counted`,
    async hookError => {
      unhandled.length = 0;
      const sink = sinkOf[hookError]!();
      const [bare, test] = await Promise.all([
        startApp({ controllers: [PlainController], requestId: { responseHeader: false } }),
        startApp({
          controllers: [PlainController],
          requestId: { responseHeader: false },
          sinks: [sink],
          sinkQueue: { intervalMs: 5, capacity: 500, batchSize: 100 },
        }),
      ]);
      const expected = await answer(bare.url);
      const answers = new Set<string>();
      await Promise.all(
        Array.from({ length: 20 }, async () => {
          for (let i = 0; i < REQUESTS / 20; i++) answers.add(await answer(test.url));
        }),
      );
      expect([...answers]).toEqual([expected]);
      await test.close();
      await bare.close();
      expect(unhandled).toEqual([]);
      expect(sink.taken).toBeLessThanOrEqual(REQUESTS);
      if (hookError === 'blocks') expect(sink.taken).toBeGreaterThan(0);
    },
  );
});

@Controller()
class PlainController {
  @Get()
  get(): unknown {
    return { fixed: 'answer' };
  }
}

function counting(write: () => void | Promise<void>): CostRecordSink & { taken: number } {
  return {
    name: 'failing',
    taken: 0,
    write(records) {
      this.taken += records.length;
      return write();
    },
  };
}

async function answer(url: string): Promise<string> {
  const response = await fetch(url);
  const headers = [...response.headers].filter(([name]) => name !== 'date');
  return JSON.stringify([response.status, headers, await response.text()]);
}
