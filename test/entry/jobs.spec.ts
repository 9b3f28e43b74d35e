import { Injectable, Scope } from '@nestjs/common';
import { Cron, Interval, ScheduleModule, SchedulerRegistry } from '@nestjs/schedule';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ContextService, QueryBudget, RunInContext } from 'nestjs-async-context';
import { startApp, type TestApp, until } from '../support/platforms';

const seen: (string | undefined)[] = [];

@Injectable()
class NightlyJobs {
  constructor(private readonly context: ContextService) {}

  @Interval('decorated inside', 5)
  @RunInContext()
  @QueryBudget(2)
  tick(): void {
    seen.push(this.context.requestId);
    for (let i = 0; i < 3; i++) this.context.record({ system: 'test', collection: 'orders', durationMs: 0 });
  }

  @RunInContext({ kind: 'job', handler: 'nightly' })
  @Cron('* * * * * *', { name: 'decorated outside' })
  async nightly(): Promise<void> {
    seen.push(`nightly ${this.context.handler}`);
  }

  @RunInContext()
  fails(error: Error): Promise<never> {
    return Promise.reject(error);
  }
}

@Injectable({ scope: Scope.REQUEST })
class RequestScoped {
  constructor(private readonly context: ContextService) {}

  @RunInContext()
  id(): string | undefined {
    return this.context.requestId;
  }
}

describe('@RunInContext()', () => {
  let test: TestApp;

  beforeAll(async () => {
    test = await startApp({ imports: [ScheduleModule.forRoot()], providers: [NightlyJobs, RequestScoped] });
  });
  afterAll(() => test.close());

  it('gives each run of a scheduled job a context, a record and its budget', async () => {
    await until(
      () => seen.filter(id => id !== undefined && !id.startsWith('nightly')).length >= 3,
      'three runs',
    );
    expect(new Set(seen).size).toBe(seen.length);
    const record = await until(
      () => test.sink.records.find(({ handler }) => handler === 'NightlyJobs.tick'),
      'record',
    );
    expect(record).toMatchObject({ kind: 'job', queries: { count: 3 } });
    expect(record.breaches).toMatchObject([
      { dimension: 'queries', from: '@QueryBudget on NightlyJobs.tick' },
    ]);
  });

  it('leaves the metadata of the method where the scheduler finds it', async () => {
    expect(test.app.get(SchedulerRegistry).getCronJob('decorated outside')).toBeDefined();
    await until(() => seen.includes('nightly nightly'), 'run of the cron job');
  });

  it('gives back the very error', async () => {
    const error = new Error('no');
    await expect(test.app.get(NightlyJobs).fails(error)).rejects.toBe(error);
  });

  it('works in a request-scoped provider', async () => {
    const provider = await test.app.resolve(RequestScoped);
    expect(provider.id()).toEqual(expect.any(String));
  });

  it('runs the method as it is when the object is not of an application', () => {
    const stray = new RequestScoped({ requestId: 'stray' } as ContextService);
    Object.setPrototypeOf(stray, {
      constructor: Object,
      id: Object.getOwnPropertyDescriptor(RequestScoped.prototype, 'id')!.value,
    });
    expect(stray.id()).toBe('stray');
  });
});
