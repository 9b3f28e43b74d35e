import { Injectable, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { describe, expect, it } from 'vitest';
import {
  AsyncContextModule,
  type AsyncContextOptions,
  type AsyncContextOptionsFactory,
  ContextService,
  MemorySink,
} from 'nestjs-async-context';
import { LogLines, platforms, startApp } from '../support/platforms';

describe('AsyncContextModule.forRoot()', () => {
  it.each<[unknown, string]>([
    [{ requestID: {} }, 'requestID'],
    [{ requestId: { header: 'a b' } }, 'requestId.header'],
    [{ requestId: { header: '' } }, 'requestId.header'],
    [{ requestId: { trust: 'yes' } }, 'requestId.trust'],
    [{ requestId: { generate: 'uuid' } }, 'requestId.generate'],
    [{ requestId: { responseHeader: true } }, 'requestId.responseHeader'],
    [{ requestId: { headers: 'x' } }, 'requestId.headers'],
    [{ requestId: null }, 'requestId'],
    [{ user: 'me' }, 'user'],
    [{ budget: -1 }, 'budget.queries'],
    [{ budget: '100' }, 'budget'],
    [{ budget: { rows: 0.5 } }, 'budget.rows'],
    [{ budget: { default: { queries: NaN } } }, 'budget.default.queries'],
    [{ budget: { byMethod: { GET: { writes: -1 } } } }, 'budget.byMethod.GET.writes'],
    [{ budget: { byMethod: { FETCH: {} } } }, 'budget.byMethod.FETCH'],
    [{ budget: { perTable: { orders: '5' } } }, 'budget.perTable.orders'],
    [{ onExceeded: 'explode' }, 'onExceeded'],
    [{ breachWindowMs: -1 }, 'breachWindowMs'],
    [{ providerCalls: 'yes' }, 'providerCalls'],
    [{ breachWindowMs: 2 ** 31 }, 'breachWindowMs'],
    [{ instrumentations: 'pg' }, 'instrumentations'],
    [{ instrumentations: [{}] }, 'instrumentations[0]'],
    [{ sinks: {} }, 'sinks'],
    [{ sinks: [new MemorySink(), { name: 'x' }] }, 'sinks[1]'],
    [{ sinkQueue: { capacity: 0 } }, 'sinkQueue.capacity'],
    [{ sinkQueue: { batchSize: 1.5 } }, 'sinkQueue.batchSize'],
    [{ sinkQueue: { intervalMs: Infinity } }, 'sinkQueue.intervalMs'],
    [{ sinkQueue: { pace: 1 } }, 'sinkQueue.pace'],
    [{ sinkQueue: { retryDelayMs: 0 } }, 'sinkQueue.retryDelayMs'],
    [{ sinkQueue: { maxRetryDelayMs: 2 ** 31 } }, 'sinkQueue.maxRetryDelayMs'],
    [{ sinkQueue: { retryForMs: -1 } }, 'sinkQueue.retryForMs'],
    [{ sinkQueue: { sample: 1.01 } }, 'sinkQueue.sample'],
    [{ sinkQueue: { sample: -0.01 } }, 'sinkQueue.sample'],
    [{ sinkQueue: { sample: NaN } }, 'sinkQueue.sample'],
    [{ propagate: true }, 'propagate'],
    [{ findings: true }, 'findings'],
    [{ findings: { compareValues: 'no' } }, 'findings.compareValues'],
    [{ findings: { compare: true } }, 'findings.compare'],
    [{ propagate: { jobs: 'no' } }, 'propagate.jobs'],
    [{ propagate: { queues: true } }, 'propagate.queues'],
  ])('refuses %j and names %s', (options, path) => {
    expect(() => AsyncContextModule.forRoot(options as AsyncContextOptions)).toThrow(
      new RegExp(
        `^ASYNC_CONTEXT_INVALID_OPTION: AsyncContextModule\\.forRoot\\(\\{ ${path.replace(/[.[\]]/g, '\\$&')} \\}\\) is .+\\. .+`,
      ),
    );
  });

  it.each<AsyncContextOptions>([
    {},
    { budget: 0 },
    { breachWindowMs: 0 },
    { providerCalls: true },
    { breachWindowMs: 2 ** 31 - 1 },
    { sinkQueue: { capacity: 1, batchSize: 1, intervalMs: 1 } },
    { sinkQueue: { retryDelayMs: 1, maxRetryDelayMs: 2 ** 31 - 1, retryForMs: 0, sample: 0 } },
    { sinkQueue: { retryDelayMs: 2 ** 31 - 1, maxRetryDelayMs: 1, retryForMs: 2 ** 31 - 1, sample: 1 } },
    { instrumentations: [] },
    { propagate: {} },
    { propagate: { jobs: false } },
    { findings: {} },
    { findings: { compareValues: false } },
    { requestId: { responseHeader: false, trust: true, header: 'X-Id' } },
  ])('accepts %j', options => {
    expect(() => AsyncContextModule.forRoot(options)).not.toThrow();
  });

  it.each(platforms)('may be imported twice: one context, one record, one line on %s', async platform => {
    const sinks = [new MemorySink(), new MemorySink()];
    @Module({ imports: [AsyncContextModule.forRoot()] })
    class Silent {}
    @Module({ imports: [AsyncContextModule.forRoot({ sinks: [sinks[1]!] })] })
    class WithOptions {}
    const test = await startApp({ platform, imports: [Silent, WithOptions] });
    const response = await fetch(test.url);
    const records = await test.records(1);
    await test.close();
    expect(records.map(({ requestId }) => requestId)).toEqual([response.headers.get('x-request-id')]);
    expect(sinks[1]!.records).toEqual([]);
    expect(test.logs.of('warn', 'AsyncContext')).toEqual([expect.stringContaining('imported twice')]);
  });
});

describe('AsyncContextModule.forRootAsync()', () => {
  @Injectable()
  class Config implements AsyncContextOptionsFactory {
    readonly sink = new MemorySink();

    createAsyncContextOptions(): Promise<AsyncContextOptions> {
      return Promise.resolve({ sinks: [this.sink] });
    }
  }

  @Module({ providers: [Config], exports: [Config] })
  class ConfigModule {}

  it.each([
    [
      'useFactory',
      {
        imports: [ConfigModule],
        inject: [Config],
        useFactory: (config: Config) => ({ sinks: [config.sink] }),
      },
    ],
    ['useExisting', { imports: [ConfigModule], useExisting: Config }],
    ['useClass', { useClass: Config }],
  ])('takes %s', async (_name, options) => {
    @Module({ imports: [AsyncContextModule.forRootAsync(options)] })
    class AppModule {}
    const app = await NestFactory.createApplicationContext(AppModule, { logger: new LogLines() });
    app.get(ContextService).run({ requestId: 'one' }, () => undefined);
    const { sink } = app.get(Config, { strict: false });
    await app.close();
    expect(sink.records.map(({ requestId }) => requestId)).toEqual(['one']);
  });

  it('refuses none and two ways at once', () => {
    expect(() => AsyncContextModule.forRootAsync({})).toThrow(
      'has none of useFactory, useClass and useExisting. Give exactly one',
    );
    expect(() => AsyncContextModule.forRootAsync({ useClass: Config, useExisting: Config })).toThrow(
      'has 2 of useFactory, useClass and useExisting. Give exactly one',
    );
  });

  it('refuses wrong options at start-up', async () => {
    @Module({ imports: [AsyncContextModule.forRootAsync({ useFactory: () => ({ budget: -1 }) })] })
    class AppModule {}
    await expect(
      NestFactory.createApplicationContext(AppModule, { logger: false, abortOnError: false }),
    ).rejects.toThrow('ASYNC_CONTEXT_INVALID_OPTION');
  });
});
