import {
  BullModule,
  getQueueToken,
  InjectFlowProducer,
  InjectQueue,
  Processor,
  WorkerHost,
} from '@nestjs/bullmq';
import { Controller, Get, Injectable, type OnModuleDestroy, Scope } from '@nestjs/common';
import {
  DelayedError,
  FlowProducer,
  Job,
  Queue,
  type Telemetry,
  UnrecoverableError,
  WaitingChildrenError,
  Worker,
} from 'bullmq';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  ContextService,
  type CostRecord,
  createContextKey,
  QueryBudget,
  RunInContext,
} from 'nestjs-async-context';
import { type Platform, platforms, startApp, type TestApp, until } from '../support/platforms';
import { hasRedis, redisUrl } from '../support/redis-server';

const { hostname: host, port } = new URL(redisUrl);
const connection = { host, port: Number(port || 6379) };
const prefix = `nac-jobs-${process.pid}`;
/** A job that is delayed for so long runs when a test promotes it. */
const HOUR_MS = 3_600_000;
const TENANT = createContextKey<string>('bullmq.tenant', { carry: true });

/** What a processor saw, by job id. */
const seen = new Map<string, Record<string, unknown>[]>();

function note(job: Job, context: ContextService): void {
  const { requestId, traceId, handler, route, kind, user } = context;
  const { data, opts, attemptsMade } = job;
  const all = seen.get(job.id!) ?? [];
  seen.set(job.id!, [
    ...all,
    { requestId, traceId, handler, route, kind, user, tenant: context.get(TENANT), data, opts, attemptsMade },
  ]);
}

@Processor('mail')
class MailProcessor extends WorkerHost {
  constructor(private readonly context: ContextService) {
    super();
  }

  @QueryBudget(2)
  async process(job: Job<Record<string, unknown>>, token?: string): Promise<unknown> {
    note(job, this.context);
    await Promise.resolve();
    if (job.name === 'queries') {
      for (let i = 0; i < 3; i++) this.context.record({ system: 'test', collection: 'mail', durationMs: 0 });
    }
    if (job.name === 'fails') throw new UnrecoverableError('no');
    if (job.name === 'retried' && job.attemptsMade === 0) throw new TypeError('once more');
    if (job.name === 'later' && job.data['again'] === undefined) {
      await job.updateData({ again: true });
      await job.moveToDelayed(Date.now() + 1, token);
      throw new DelayedError();
    }
    if (job.name === 'parent' && job.data['again'] === undefined) {
      await job.updateData({ again: true });
      if (await job.moveToWaitingChildren(token!)) throw new WaitingChildrenError();
    }
    return { done: job.name };
  }
}

@Processor({ name: 'scoped', scope: Scope.REQUEST })
class ScopedProcessor extends WorkerHost {
  constructor(private readonly context: ContextService) {
    super();
  }

  async process(job: Job): Promise<void> {
    note(job, this.context);
  }
}

@Processor('decorated')
class DecoratedProcessor extends WorkerHost {
  constructor(private readonly context: ContextService) {
    super();
  }

  @RunInContext({ handler: 'decorated mail' })
  async process(job: Job): Promise<void> {
    note(job, this.context);
  }
}

@Injectable()
class PlainWorker implements OnModuleDestroy {
  readonly worker: Worker;

  constructor(context: ContextService) {
    this.worker = new Worker('plain', async job => note(job, context), { connection, prefix });
  }

  async onModuleDestroy(): Promise<void> {
    await this.worker.close();
  }
}

@Controller('mail')
class MailController {
  constructor(
    private readonly context: ContextService,
    @InjectQueue('mail') readonly mail: Queue,
    @InjectQueue('scoped') readonly scoped: Queue,
    @InjectQueue('decorated') readonly decorated: Queue,
    @InjectQueue('plain') readonly plain: Queue,
    @InjectFlowProducer('flows') readonly flows: FlowProducer,
  ) {}

  setTenant(tenant: string): void {
    this.context.set(TENANT, tenant);
  }

  /** What a test wants a request to add. */
  static add: (controller: MailController) => Promise<unknown>;

  @Get()
  async add(): Promise<unknown> {
    this.context.setUser({ id: 'ada' });
    this.context.set(TENANT, 'acme');
    const added = await MailController.add(this);
    return { requestId: this.context.requestId, traceId: this.context.traceId, added };
  }
}

const imports = [
  BullModule.forRoot({ connection, prefix }),
  BullModule.registerQueue({ name: 'mail' }, { name: 'scoped' }, { name: 'decorated' }, { name: 'plain' }),
  BullModule.registerFlowProducer({ name: 'flows' }),
];
const providers = [MailProcessor, ScopedProcessor, DecoratedProcessor, PlainWorker];
const carrierSecret = 'a secret of this test';

interface Answer<T> {
  readonly requestId: string;
  readonly traceId: string;
  readonly added: T;
}

async function request<T>(
  test: TestApp,
  add: (controller: MailController) => Promise<T>,
): Promise<Answer<T>> {
  MailController.add = add;
  return (await (await fetch(`${test.url}/mail`)).json()) as Answer<T>;
}

/** Runs of a job, once there are as many. */
async function runsOf(id: string, count = 1): Promise<Record<string, unknown>[]> {
  return until(
    () => ((seen.get(id)?.length ?? 0) >= count ? seen.get(id) : undefined),
    `${count} runs of ${id}`,
  );
}

async function recordsOf(test: TestApp, runs: readonly Record<string, unknown>[]): Promise<CostRecord[]> {
  const ids = runs.map(({ requestId }) => requestId);
  return until(() => {
    const found = test.sink.records.filter(({ requestId }) => ids.includes(requestId));
    return found.length === ids.length ? found : undefined;
  }, 'records');
}

function* startedOn(platform: Platform): Generator<TestApp> {
  let test!: TestApp;
  beforeAll(async () => {
    // The ids of jobs begin anew.
    seen.clear();
    test = await startApp({ platform, imports, providers, controllers: [MailController], carrierSecret });
  });
  afterAll(async () => {
    await test.app.get(MailController).mail.obliterate({ force: true });
    await test.close();
  });
  while (true) yield test;
}

const onNest11 = process.env['NEST'] === '11';

for (const platform of platforms) {
  describe.skipIf(!hasRedis)(`jobs of bullmq that are added by a request on ${platform}`, () => {
    const started = startedOn(platform);
    started.next();
    const app = (): TestApp => started.next().value as TestApp;

    it('run in a context whose parent is the request', async () => {
      const { requestId, traceId, added } = await request(app(), async ({ mail }) => {
        const job = await mail.add('send', { to: 'ada' });
        return { id: job.id!, opts: job.opts };
      });
      const [run] = await runsOf(added.id);
      expect(run).toMatchObject({
        traceId,
        kind: 'job',
        handler: 'MailProcessor.process',
        route: 'mail:send',
        user: { id: 'ada' },
        tenant: 'acme',
      });
      expect(run!['requestId']).not.toBe(requestId);
      const [record] = await recordsOf(app(), [run!]);
      expect(record).toMatchObject({
        kind: 'job',
        handler: 'MailProcessor.process',
        route: 'mail:send',
        parentRequestId: requestId,
        traceId,
        userId: 'ada',
      });
      expect(record!.within).toBeUndefined();
    });

    // That of bullmq 5, which Nest 11 has, writes a job some promises after `add()`.
    it.skipIf(onNest11)('that are added in one turn carry the values of their moment', async () => {
      const { added } = await request(app(), async controller => {
        const jobs: Promise<Job>[] = [];
        for (const tenant of ['one', 'two']) {
          controller.setTenant(tenant);
          jobs.push(controller.mail.add('send', {}));
        }
        return (await Promise.all(jobs)).map(({ id }) => id!);
      });
      const runs = await Promise.all(added.map(async id => (await runsOf(id))[0]!['tenant']));
      expect(runs).toEqual(['one', 'two']);
    });

    it('show neither in their data nor in their options what has travelled', async () => {
      const { added } = await request(app(), async ({ mail }) => {
        const job = await mail.add('send', { to: 'ada' }, { priority: 3 });
        return { id: job.id!, opts: job.opts };
      });
      const [run] = await runsOf(added.id);
      expect(run).toMatchObject({ data: { to: 'ada' } });
      const again = await app().app.get(MailController).mail.getJob(added.id);
      for (const opts of [run!['opts'], added.opts, again!.opts]) {
        expect(JSON.stringify(opts)).not.toContain('async-context');
        expect(opts).toMatchObject({ priority: 3 });
      }
      expect(JSON.stringify(again)).not.toContain('traceparent');
    });

    it('have their own budget', async () => {
      const { added } = await request(app(), async ({ mail }) => (await mail.add('queries', {})).id!);
      const [record] = await recordsOf(app(), await runsOf(added));
      expect(record).toMatchObject({
        queries: { count: 3 },
        breaches: [{ dimension: 'queries', from: '@QueryBudget on MailProcessor.process' }],
      });
    });
  });
}

describe.skipIf(!hasRedis)('jobs of bullmq', () => {
  const started = startedOn('express');
  started.next();
  const app = (): TestApp => started.next().value as TestApp;
  const controller = (): MailController => app().app.get(MailController);

  it('have no parent when nobody has asked for them', async () => {
    const job = await controller().mail.add('send', {});
    const [record] = await recordsOf(app(), await runsOf(job.id!));
    expect(record).toMatchObject({ handler: 'MailProcessor.process' });
    expect(record!.parentRequestId).toBeUndefined();
  });

  it('that are delayed have the request that added them as parent, when it is long over', async () => {
    const { requestId, added } = await request(
      app(),
      async ({ mail }) => (await mail.add('send', {}, { delay: HOUR_MS })).id!,
    );
    await until(
      () => app().sink.records.some(record => record.requestId === requestId),
      'record of the request',
    );
    expect(seen.has(added)).toBe(false);
    await (await controller().mail.getJob(added))!.promote();
    const [record] = await recordsOf(app(), await runsOf(added));
    expect(record).toMatchObject({ parentRequestId: requestId });
  });

  it('that are retried have one unit of work for each attempt, all with the same parent', async () => {
    const { requestId, traceId, added } = await request(
      app(),
      async ({ mail }) => (await mail.add('retried', {}, { attempts: 2 })).id!,
    );
    const runs = await runsOf(added, 2);
    const records = await recordsOf(app(), runs);
    expect(runs.map(({ attemptsMade }) => attemptsMade)).toEqual([0, 1]);
    expect(new Set(records.map(({ spanId }) => spanId)).size).toBe(2);
    expect(records.map(({ error }) => error)).toEqual(['TypeError', undefined]);
    for (const record of records) expect(record).toMatchObject({ parentRequestId: requestId, traceId });
  });

  it('that fail do so with the very error, whose class is in the record', async () => {
    const failed = new Promise<Error>(resolve => {
      app()
        .app.get(MailProcessor)
        .worker.once('failed', (_, error) => resolve(error));
    });
    const { added } = await request(app(), async ({ mail }) => (await mail.add('fails', {})).id!);
    expect(await failed).toBeInstanceOf(UnrecoverableError);
    const [record] = await recordsOf(app(), await runsOf(added));
    expect(record).toMatchObject({ error: 'UnrecoverableError' });
  });

  it('that say that they go on later have not failed', async () => {
    const { requestId, added } = await request(app(), async ({ mail }) => (await mail.add('later', {})).id!);
    const records = await recordsOf(app(), await runsOf(added, 2));
    for (const record of records) {
      expect(record.error).toBeUndefined();
      expect(record).toMatchObject({ parentRequestId: requestId });
    }
  });

  it('of a flow all have the request as parent, and run before the job above them', async () => {
    const { requestId, added } = await request(app(), async ({ flows }) => {
      const tree = await flows.add({
        name: 'parent',
        queueName: 'mail',
        data: {},
        children: [
          { name: 'child', queueName: 'mail', data: {} },
          { name: 'child', queueName: 'mail', opts: { priority: 1 }, data: {} },
        ],
      });
      return [...tree.children!.map(({ job }) => job.id!), tree.job.id!];
    });
    const runs = (await Promise.all(added.map(id => runsOf(id)))).flat();
    const records = await recordsOf(app(), runs);
    expect(records).toHaveLength(3);
    for (const record of records) expect(record).toMatchObject({ parentRequestId: requestId });
    expect([...seen.keys()].filter(id => added.includes(id)).at(-1)).toBe(added.at(-1));
  });

  it('that are added at once all have the request as parent', async () => {
    const { requestId, added } = await request(app(), async ({ mail }) => {
      const jobs = await mail.addBulk(Array.from({ length: 20 }, () => ({ name: 'send', data: {} })));
      return jobs.map(({ id }) => id!);
    });
    const runs = (await Promise.all(added.map(id => runsOf(id)))).flat();
    const records = await recordsOf(app(), runs);
    expect(records.map(({ parentRequestId }) => parentRequestId)).toEqual(Array(20).fill(requestId));
  });

  it('of a scheduler begin a new trace each: the clock has asked for them', async () => {
    const { traceId } = await request(app(), async ({ mail }) => {
      await mail.upsertJobScheduler('each-moment', { every: 30 }, { name: 'tick', data: { tick: true } });
    });
    const ticks = (): [string, Record<string, unknown>[]][] =>
      [...seen].filter(([, [run]]) => (run!['data'] as { tick?: boolean }).tick === true);
    await until(() => ticks().length >= 3, 'three iterations');
    await controller().mail.removeJobScheduler('each-moment');
    const runs = ticks().map(([, [run]]) => run!);
    expect(new Set(runs.map(run => run['traceId'])).size).toBe(runs.length);
    expect(runs.map(run => run['traceId'])).not.toContain(traceId);
    for (const record of await recordsOf(app(), runs)) expect(record.parentRequestId).toBeUndefined();
  });

  // bullmq 6 has only schedulers.
  it.runIf(process.env['NEST'] === '11')('that repeat as in bullmq 5 have no parent either', async () => {
    const repeat = { every: 30, limit: 2 };
    await request(app(), async ({ mail }) => {
      await mail.add('repeats', { repeats: true }, { repeat } as never);
    });
    const repeats = (): Record<string, unknown>[] =>
      [...seen.values()].flat().filter(run => (run['data'] as { repeats?: boolean }).repeats === true);
    await until(() => repeats().length >= 2, 'two iterations');
    for (const record of await recordsOf(app(), repeats())) expect(record.parentRequestId).toBeUndefined();
  });

  it('keep the parent that they had when the same is added again', async () => {
    const opts = { deduplication: { id: 'one' }, delay: HOUR_MS };
    const first = await request(app(), async ({ mail }) => (await mail.add('send', {}, opts)).id!);
    const second = await request(app(), async ({ mail }) => (await mail.add('send', {}, opts)).id!);
    expect(second.added).toBe(first.added);
    await (await controller().mail.getJob(first.added))!.promote();
    const [record] = await recordsOf(app(), await runsOf(first.added));
    expect(record).toMatchObject({ parentRequestId: first.requestId });
  });

  it('know their parent in a request-scoped processor, too', async () => {
    const { requestId, added } = await request(app(), async ({ scoped }) => {
      const job = await scoped.add('send', {}, { jobId: 'scoped-1' });
      return job.id!;
    });
    const [run] = await runsOf(added);
    expect(run).toMatchObject({ handler: 'ScopedProcessor.process' });
    expect((await recordsOf(app(), [run!]))[0]).toMatchObject({ parentRequestId: requestId });
  });

  it('have one context, and not two, with @RunInContext()', async () => {
    const { requestId, added } = await request(app(), async ({ decorated }) => {
      const job = await decorated.add('send', {}, { jobId: 'decorated-1' });
      return job.id!;
    });
    const [run] = await runsOf(added);
    expect(run).toMatchObject({ handler: 'decorated mail', route: 'decorated:send' });
    expect((await recordsOf(app(), [run!]))[0]).toMatchObject({ parentRequestId: requestId });
    expect(app().sink.records.filter(({ parentRequestId }) => parentRequestId === requestId)).toHaveLength(1);
  });

  it('of a plain Worker have a context named by their queue', async () => {
    const { requestId, added } = await request(app(), async ({ plain }) => {
      const job = await plain.add('send-42', {}, { jobId: 'plain-1' });
      return job.id!;
    });
    const [run] = await runsOf(added);
    expect(run).toMatchObject({ kind: 'job', route: 'plain:*', handler: undefined });
    expect((await recordsOf(app(), [run!]))[0]).toMatchObject({ parentRequestId: requestId });
  });

  it('have no address and no id of their names in a record', async () => {
    const { added } = await request(app(), async ({ plain }) => {
      const job = await plain.add('mail:jane.roe@example.com', {}, { jobId: 'plain-2' });
      return job.id!;
    });
    const [run] = await runsOf(added);
    expect(run).toMatchObject({ route: 'plain:mail:*' });
    const [record] = await recordsOf(app(), [run!]);
    expect(JSON.stringify(record)).not.toMatch(/jane|roe|example/);
  });
});

describe.skipIf(!hasRedis)('forRoot({ propagate: { jobs: false } })', () => {
  it('lets nothing travel with jobs, which have a context of their own all the same', async () => {
    seen.clear();
    const test = await startApp({
      imports,
      providers,
      controllers: [MailController],
      carrierSecret,
      propagate: { jobs: false },
    });
    try {
      const { requestId, added } = await request(test, async ({ mail }) => (await mail.add('send', {})).id!);
      const [run] = await runsOf(added);
      expect(run).toMatchObject({ handler: 'MailProcessor.process', user: undefined });
      const [record] = await recordsOf(test, [run!]);
      expect(record!.parentRequestId).toBeUndefined();
      expect(requestId).toEqual(expect.any(String));
    } finally {
      await test.close();
    }
  });
});

describe.skipIf(!hasRedis)('two applications of one process', () => {
  it('have each its own jobs', async () => {
    seen.clear();
    const start = (name: string): Promise<TestApp> =>
      startApp({
        imports: [
          BullModule.forRoot({ connection, prefix: `${prefix}-${name}` }),
          BullModule.registerQueue({ name: 'scoped' }),
        ],
        providers: [ScopedProcessor],
      });
    const apps = await Promise.all(['a', 'b'].map(start));
    try {
      const queues = apps.map(({ app }) => app.get<Queue>(getQueueToken('scoped')));
      await Promise.all(queues.map((queue, i) => queue.add('send', {}, { jobId: `of-app-${i}` })));
      for (const [i, app] of apps.entries()) {
        const runs = await runsOf(`of-app-${i}`);
        expect(await recordsOf(app, runs)).toMatchObject([{ handler: 'ScopedProcessor.process' }]);
        expect(app.sink.records).toHaveLength(1);
      }
    } finally {
      await Promise.all(apps.map(({ close }) => close()));
    }
  });

  it('leave nothing behind in bullmq when the last is closed', async () => {
    const methods = (): unknown[] => [Job.prototype.asJSON, Job.fromJSON, callProcessJob()];
    const bare = methods();
    const apps = [await startApp({}), await startApp({})];
    const covered = methods();
    await apps[0]!.close();
    expect(methods()).toEqual(covered);
    await apps[1]!.close();
    expect(methods()).toEqual(bare);
    for (const [i, method] of covered.entries()) expect(method).not.toBe(bare[i]);
  });
});

function callProcessJob(): unknown {
  return (Worker.prototype as unknown as { callProcessJob: unknown }).callProcessJob;
}

describe.skipIf(!hasRedis)('telemetry of a queue', () => {
  it('is given what it has put into the job', async () => {
    const got: unknown[] = [];
    const context = { name: 'theirs' };
    const span = new Proxy(
      {},
      { get: (_, key) => (key === 'setSpanOnContext' ? () => context : () => undefined) },
    );
    const telemetry = {
      tracer: { startSpan: () => span },
      contextManager: {
        active: () => context,
        with: (_: unknown, fn: () => unknown) => fn(),
        getMetadata: () => '{"theirs":true}',
        fromMetadata: (_: unknown, metadata: string) => {
          got.push(metadata);
          return context;
        },
      },
    } as unknown as Telemetry;
    const test = await startApp({ providers: [] });
    const queue = new Queue('traced', { connection, prefix, telemetry });
    const parents: unknown[] = [];
    const worker = new Worker('traced', async () => parents.push(test.app.get(ContextService).traceId), {
      connection,
      prefix,
      telemetry,
    });
    try {
      const traceId = await test.app.get(ContextService).run({}, async () => {
        await queue.add('send', {});
        return test.app.get(ContextService).traceId;
      });
      await until(() => parents.length > 0, 'run');
      expect(got).toContain('{"theirs":true}');
      expect(parents).toEqual([traceId]);
    } finally {
      await worker.close();
      await queue.obliterate({ force: true });
      await queue.close();
      await test.close();
    }
  });
});
