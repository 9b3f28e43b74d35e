import { Injectable } from '@nestjs/common';
import { Cron, Interval, ScheduleModule, SchedulerRegistry, Timeout } from '@nestjs/schedule';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  AsyncContextModule,
  ContextService,
  type CostRecord,
  MemorySink,
  QueryBudget,
  RunInContext,
} from 'nestjs-async-context';
import { startApp, type TestApp, until } from '../support/platforms';

interface Run {
  readonly what: string;
  readonly requestId: string | undefined;
  readonly traceId: string | undefined;
  readonly handler: string | undefined;
  readonly route: string | undefined;
}

const runs: Run[] = [];

@Injectable()
class Jobs {
  constructor(protected readonly context: ContextService) {}

  @Cron('* * * * * *', { name: 'nightly' })
  async nightly(): Promise<void> {
    this.note('nightly');
  }

  @Cron('*/1 * * * * *')
  unnamed(): void {
    this.note('unnamed');
  }

  @Interval(5)
  @QueryBudget(2)
  tick(): void {
    this.note('tick');
    for (let i = 0; i < 3; i++) this.context.record({ system: 'test', collection: 'orders', durationMs: 0 });
  }

  @Timeout('once', 5)
  async once(): Promise<void> {
    this.note('once');
    throw new TypeError('not today');
  }

  @Interval('decorated', 5)
  @RunInContext({ handler: 'decorated' })
  decorated(): void {
    this.note('decorated');
  }

  protected note(what: string): void {
    const { requestId, traceId, handler, route } = this.context;
    runs.push({ what, requestId, traceId, handler, route });
  }
}

/** In no other application: a class that is covered once stays so. */
@Injectable()
class OtherJobs {
  @Interval(5)
  tick(): void {}
}

/** Made by a factory, so that only the instance says what it is. */
class MadeJobs {
  constructor(private readonly context: ContextService) {}

  @Interval('made', 5)
  made(): void {
    const { requestId, traceId, handler, route } = this.context;
    runs.push({ what: 'made', requestId, traceId, handler, route });
  }
}

const made = {
  provide: 'MADE',
  inject: [ContextService],
  useFactory: (context: ContextService) => new MadeJobs(context),
};

async function runOf(what: string): Promise<Run> {
  return until(() => runs.find(run => run.what === what), `run of ${what}`);
}

describe('methods of @nestjs/schedule', () => {
  let test: TestApp;

  const recordOf = ({ requestId }: Run): Promise<CostRecord> =>
    until(() => test.sink.records.find(record => record.requestId === requestId), 'record');

  beforeAll(async () => {
    runs.length = 0;
    test = await startApp({ imports: [ScheduleModule.forRoot()], providers: [Jobs, made] });
  });
  afterAll(() => test.close());

  for (const [what, handler, route] of [
    ['nightly', 'Jobs.nightly', 'cron:nightly'],
    ['unnamed', 'Jobs.unnamed', 'cron:*/1 * * * * *'],
    ['tick', 'Jobs.tick', 'interval:5ms'],
    ['once', 'Jobs.once', 'timeout:once'],
    ['decorated', 'decorated', undefined],
    ['made', 'MadeJobs.made', 'interval:made'],
  ] as const) {
    it(`run in a context of their own: ${what}`, async () => {
      const run = await runOf(what);
      expect(run).toMatchObject({ requestId: expect.any(String), handler, route });
      const record = await recordOf(run);
      expect(record).toMatchObject({ kind: 'job', handler, traceId: run.traceId });
      expect(record.parentRequestId).toBeUndefined();
    });
  }

  it('begin a new trace with each run', async () => {
    const ticks = (): Run[] => runs.filter(({ what }) => what === 'tick');
    await until(() => ticks().length >= 3, 'three ticks');
    expect(new Set(ticks().map(({ traceId }) => traceId)).size).toBe(ticks().length);
  });

  it('have one record a run, also with @RunInContext()', async () => {
    await runOf('decorated');
    await until(
      () => test.sink.records.filter(({ handler }) => handler === 'decorated').length > 1,
      'records',
    );
    const ids = test.sink.records.map(({ requestId }) => requestId);
    expect(new Set(ids).size).toBe(ids.length);
    expect(test.sink.records.some(({ handler }) => handler === 'Jobs.decorated')).toBe(false);
  });

  it('have the budget that they declare', async () => {
    const record = await recordOf(await runOf('tick'));
    expect(record).toMatchObject({
      queries: { count: 3 },
      breaches: [{ dimension: 'queries', from: '@QueryBudget on Jobs.tick' }],
    });
  });

  it('fail as they do without a context: the scheduler logs the error', async () => {
    const record = await recordOf(await runOf('once'));
    expect(record.error).toBe('TypeError');
    expect(test.logs.of('error', 'Scheduler').join('\n')).toContain('not today');
  });

  it('are found by their names', () => {
    const registry = test.app.get(SchedulerRegistry);
    expect(registry.getCronJob('nightly')).toBeDefined();
    expect(registry.getIntervals()).toContain('made');
  });

  it('are methods like any other for whoever calls them in a unit of work', () => {
    const context = test.app.get(ContextService);
    const requestId = context.run({ requestId: 'by-hand' }, () => {
      test.app.get(Jobs).tick();
      return runs.at(-1)!.requestId;
    });
    expect(requestId).toBe('by-hand');
  });

  it('are covered, too, when the scheduler comes before this module', async () => {
    const sink = new MemorySink();
    class Root {}
    const before = await startApp({
      module: {
        module: Root,
        imports: [
          ScheduleModule.forRoot(),
          AsyncContextModule.forRoot({ sinks: [sink], sinkQueue: { intervalMs: 20 } }),
        ],
      },
      providers: [OtherJobs],
    });
    try {
      await until(() => sink.records.some(({ handler }) => handler === 'OtherJobs.tick'), 'record of a tick');
    } finally {
      await before.close();
    }
  });
});
