import { Controller, Get, Param } from '@nestjs/common';
import { describe, expect, it } from 'vitest';
import {
  type CallDimension,
  ContextService,
  type DriverInstrumentation,
  QueryBudget,
  QueryBudgetExceededError,
  type QueryReporter,
} from 'nestjs-async-context';
import { platforms, startApp, until } from '../support/platforms';

/** A client of the application's own, which reports its calls. */
class Client {
  reporter: QueryReporter | undefined;
  readonly instrumentation: DriverInstrumentation = {
    name: 'own-client',
    install: reporter => {
      this.reporter = reporter;
      return () => {
        this.reporter = undefined;
      };
    },
  };

  async call(dimension: CallDimension, target: string, answer = () => 10): Promise<number> {
    const handle = this.reporter?.beginCall(dimension, target, this.call);
    try {
      await new Promise(resolve => setTimeout(resolve, 1));
      const bytes = answer();
      handle?.end(false, bytes);
      return bytes;
    } catch (error) {
      handle?.end(true);
      throw error;
    }
  }
}

const client = new Client();

@Controller()
class CallsController {
  constructor(readonly context: ContextService) {}

  @Get(':dimension/:count')
  @QueryBudget({ queries: 0, cache: 3, http: 2, messages: 1 })
  async call(@Param('dimension') dimension: CallDimension, @Param('count') count: string): Promise<number> {
    for (let i = 0; i < Number(count); i++) await client.call(dimension, i % 2 === 0 ? 'a' : 'b');
    return this.context.cost?.[dimension] ?? 0;
  }
}

describe.each(platforms)('calls that are no queries, on %s', platform => {
  it.each<[CallDimension, number]>([
    ['cache', 3],
    ['http', 2],
    ['messages', 1],
  ])('have a budget of their own: %s', async (dimension, limit) => {
    const test = await startApp({
      platform,
      controllers: [CallsController],
      instrumentations: [client.instrumentation],
    });
    expect(await (await fetch(`${test.url}/${dimension}/${limit}`)).json()).toBe(limit);
    expect(await (await fetch(`${test.url}/${dimension}/${limit + 1}`)).json()).toBe(limit + 1);
    const [within, broken] = await test.records(2);
    expect(within).toMatchObject({ queries: { count: 0 }, breaches: [] });
    expect(broken!.breaches).toEqual([
      { dimension, used: limit + 1, limit, from: '@QueryBudget on CallsController.call' },
    ]);
    expect(broken![dimension]).toMatchObject({
      count: limit + 1,
      errors: 0,
      bytes: 10 * (limit + 1),
      maxConcurrent: 1,
      byTarget: { a: { count: Math.ceil((limit + 1) / 2) }, b: { count: Math.floor((limit + 1) / 2) } },
    });
    const [line] = await until(() => test.logs.of('error', 'QueryBudget'), 'a line');
    expect(line).toMatch(new RegExp(`: ${limit + 1} .*\\(budget ${limit}\\)`));
    expect(line).toMatch(new RegExp(`\\n  ${dimension} +${limit + 1} \\(a \\d`));
    await test.close();
  });
});

describe('a call', () => {
  it('that crosses the limit is kept back with onExceeded: throw', async () => {
    const test = await startApp({
      budget: { http: 2 },
      onExceeded: 'throw',
      instrumentations: [client.instrumentation],
    });
    const calls = await test.app.get(ContextService).run({}, async () => {
      await client.call('http', 'a');
      await client.call('cache', 'GET');
      await client.call('http', 'a');
      return client.call('http', 'a').catch((error: unknown) => error);
    });
    expect(calls).toBeInstanceOf(QueryBudgetExceededError);
    await test.close();
  });

  it('that fails is an error, and of 60 targets 50 are told apart', async () => {
    const test = await startApp({ instrumentations: [client.instrumentation] });
    await test.app.get(ContextService).run({}, async () => {
      for (let i = 0; i < 60; i++) await client.call('messages', `queue ${i}`);
      const fail = (): number => {
        throw new Error('no broker');
      };
      await expect(client.call('messages', 'queue 1', fail)).rejects.toThrow('no broker');
    });
    const [record] = await test.records(1);
    expect(record!.messages).toMatchObject({ count: 61, errors: 1 });
    expect(Object.keys(record!.messages!.byTarget)).toHaveLength(50);
    expect(record!.messages!.byTarget['queue 1']).toMatchObject({ count: 2, errors: 1 });
    await test.close();
  });

  it('inside a call that is counted is not counted again', async () => {
    const test = await startApp({ instrumentations: [client.instrumentation] });
    await test.app.get(ContextService).run({}, async () => {
      await client.reporter!.uncharged(() => client.call('cache', 'GET'));
      await client.call('cache', 'SET');
    });
    const [record] = await test.records(1);
    expect(record!.cache).toMatchObject({ count: 1, byTarget: { SET: { count: 1 } } });
    await test.close();
  });
});
