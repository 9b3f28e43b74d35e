import { Controller, Get, Injectable, Scope } from '@nestjs/common';
import { EventEmitter2, EventEmitterModule, OnEvent } from '@nestjs/event-emitter';
import { Pool } from 'pg';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import {
  ContextService,
  type CostRecord,
  createContextKey,
  QueryBudget,
  RunInContext,
} from 'nestjs-async-context';
import { databaseUrl } from '../support/database';
import { platforms, startApp, type TestApp, until } from '../support/platforms';

const TENANT = createContextKey<string>('event.tenant');

interface Call {
  readonly what: string;
  readonly requestId: string | undefined;
  readonly traceId: string | undefined;
  readonly handler: string | undefined;
  readonly route: string | undefined;
  readonly user: unknown;
  readonly tenant: unknown;
}

const calls: Call[] = [];

function note(what: string, context: ContextService): void {
  const { requestId, traceId, handler, route, user } = context;
  calls.push({ what, requestId, traceId, handler, route, user, tenant: context.get(TENANT) });
}

@Injectable()
class Listeners {
  constructor(private readonly context: ContextService) {}

  @OnEvent('order.created')
  @QueryBudget(2)
  atOnce(order: { id: number }): string {
    note('atOnce', this.context);
    for (let i = 0; i < 3; i++) this.context.record({ system: 'test', collection: 'orders', durationMs: 0 });
    this.context.set(TENANT, 'changed');
    return `at once ${order.id}`;
  }

  @OnEvent('order.shipped')
  async slowly(): Promise<void> {
    await new Promise(resolve => setTimeout(resolve, 20));
    note('slowly', this.context);
  }

  @OnEvent('order.created', { async: true })
  async later(): Promise<string> {
    note('later', this.context);
    return 'later';
  }

  @OnEvent('order.*')
  wildcard(): void {
    note('wildcard', this.context);
  }

  @OnEvent('order.created', { prependListener: true })
  first(): void {
    note('first', this.context);
  }

  @OnEvent('order.refused', { suppressErrors: false })
  refused(error: Error): void {
    throw error;
  }

  @OnEvent('order.lost')
  @OnEvent(['order', 'stolen'])
  suppressed(): void {
    note('suppressed', this.context);
    throw new TypeError('lost');
  }

  @OnEvent('order.counted')
  async counted(query: () => Promise<unknown>): Promise<void> {
    note('counted', this.context);
    await query();
  }

  @OnEvent('order.decorated')
  @RunInContext({ handler: 'decorated' })
  decorated(): void {
    note('decorated', this.context);
  }
}

@Injectable({ scope: Scope.REQUEST })
class ScopedListener {
  constructor(private readonly context: ContextService) {}

  @OnEvent('order.scoped')
  scoped(): void {
    note('scoped', this.context);
  }
}

@Controller('orders')
class OrdersController {
  static emit: (emitter: EventEmitter2) => unknown;

  constructor(
    private readonly context: ContextService,
    private readonly emitter: EventEmitter2,
  ) {}

  @Get()
  async create(): Promise<unknown> {
    this.context.setUser({ id: 'ada' });
    this.context.set(TENANT, 'acme');
    const result = await OrdersController.emit(this.emitter);
    const { requestId, traceId } = this.context;
    return { requestId, traceId, result, tenant: this.context.get(TENANT) };
  }

  @Get('both')
  @OnEvent('order.both')
  both(): unknown {
    note('both', this.context);
    return { requestId: this.context.requestId };
  }
}

interface Answer {
  readonly requestId: string;
  readonly traceId: string;
  readonly result: unknown;
  readonly tenant: string;
}

const app = {
  imports: [EventEmitterModule.forRoot({ wildcard: true })],
  providers: [Listeners, ScopedListener],
  controllers: [OrdersController],
};

for (const platform of platforms) {
  describe(`listeners of @nestjs/event-emitter for events of a request on ${platform}`, () => {
    let test: TestApp;
    const pool = new Pool({ connectionString: databaseUrl(), max: 1 });
    afterAll(() => pool.end());

    beforeAll(async () => {
      test = await startApp({ ...app, platform });
    });
    afterAll(() => test.close());
    beforeEach(() => {
      calls.length = 0;
    });

    async function request(emit: (emitter: EventEmitter2) => unknown): Promise<Answer> {
      OrdersController.emit = emit;
      return (await (await fetch(`${test.url}/orders`)).json()) as Answer;
    }
    const callOf = (what: string): Promise<Call> =>
      until(() => calls.find(call => call.what === what), `call of ${what}`);
    const recordOf = ({ requestId }: Pick<Call, 'requestId'>): Promise<CostRecord> =>
      until(() => test.sink.records.find(record => record.requestId === requestId), 'record');

    it('run in a context of their own, whose parent is the request', async () => {
      const { requestId, traceId } = await request(emitter => emitter.emit('order.created', { id: 1 }));
      const call = await callOf('atOnce');
      expect(call).toMatchObject({
        traceId,
        handler: 'Listeners.atOnce',
        route: 'event:order.created',
        user: { id: 'ada' },
        tenant: 'acme',
      });
      expect(call.requestId).not.toBe(requestId);
      const record = await recordOf(call);
      expect(record).toMatchObject({ kind: 'job', parentRequestId: requestId, traceId, userId: 'ada' });
      expect(record.within).toBeUndefined();
    });

    it('are charged what they do, and the request is not', async () => {
      const { requestId, tenant } = await request(emitter => emitter.emit('order.created', { id: 1 }));
      expect(await recordOf(await callOf('atOnce'))).toMatchObject({
        queries: { count: 3 },
        breaches: [{ from: '@QueryBudget on Listeners.atOnce' }],
      });
      expect((await recordOf({ requestId })).queries.count).toBe(0);
      expect(tenant).toBe('acme');
    });

    it('may outlive the request, and know its user still', async () => {
      const { requestId } = await request(emitter => emitter.emit('order.shipped'));
      const call = await callOf('slowly');
      expect(call).toMatchObject({ user: { id: 'ada' }, tenant: 'acme' });
      const record = await recordOf(call);
      expect(record).toMatchObject({ handler: 'Listeners.slowly', parentRequestId: requestId });
      expect(record.queries.late).toBe(0);
    });

    it('have the request as parent, too, where they are put off', async () => {
      const { requestId, traceId } = await request(emitter => emitter.emit('order.created', { id: 1 }));
      const record = await recordOf(await callOf('later'));
      expect(record).toMatchObject({ handler: 'Listeners.later', parentRequestId: requestId, traceId });
    });

    it('are called at once and in their order, and give back what they do', async () => {
      let order: string[] = [];
      const { result } = await request(emitter => {
        const answers = emitter.emitAsync('order.created', { id: 7 });
        order = calls.map(({ what }) => what);
        return answers;
      });
      expect(order).toEqual(['first', 'atOnce', 'wildcard']);
      // One that is put off gives the emitter its timer.
      expect(result).toEqual([null, 'at once 7', expect.any(Object), null]);
    });

    it('fail with the very error where it is not suppressed', async () => {
      const error = new Error('no');
      const { result } = await request(async emitter => {
        const thrown = await emitter.emitAsync('order.refused', error).catch((reason: unknown) => reason);
        return thrown === error;
      });
      expect(result).toBe(true);
    });

    it('fail into the log where it is suppressed', async () => {
      await request(emitter => emitter.emit('order.stolen'));
      const call = await callOf('suppressed');
      expect(call.route).toBe('event:order.stolen|order.lost');
      expect(await recordOf(call)).toMatchObject({ error: 'TypeError' });
      expect(test.logs.lines).toContainEqual(expect.objectContaining({ level: 'error', message: 'lost' }));
    });

    it('have one context, and not two, with @RunInContext()', async () => {
      const { requestId } = await request(emitter => emitter.emit('order.decorated'));
      const call = await callOf('decorated');
      expect(await recordOf(call)).toMatchObject({ handler: 'decorated', parentRequestId: requestId });
      const children = test.sink.records.filter(record => record.parentRequestId === requestId);
      expect(children.map(({ handler }) => handler).sort()).toEqual(['Listeners.wildcard', 'decorated']);
    });

    it('may be request-scoped', async () => {
      const { requestId } = await request(emitter => emitter.emit('order.scoped'));
      const call = await callOf('scoped');
      expect(await recordOf(call)).toMatchObject({
        handler: 'ScopedListener.scoped',
        parentRequestId: requestId,
      });
    });

    it('may be routes as well, which run in the context of their request', async () => {
      const response = await fetch(`${test.url}/orders/both`);
      const requestId = response.headers.get('x-request-id');
      expect(await response.json()).toEqual({ requestId });
      test.app.get(EventEmitter2).emit('order.both');
      const routes = calls
        .filter(({ handler }) => handler === 'OrdersController.both')
        .map(({ route }) => route);
      expect(routes).toEqual(['GET /orders/both', 'event:order.both']);
    });

    it('have a context of their own, too, when there is no request', async () => {
      test.app.get(EventEmitter2).emit('order.created', { id: 1 });
      const record = await recordOf(await callOf('atOnce'));
      expect(record).toMatchObject({ handler: 'Listeners.atOnce' });
      expect(record.parentRequestId).toBeUndefined();
    });

    it('are charged themselves where the emitter keeps apart what it calls', async () => {
      const context = test.app.get(ContextService);
      const { requestId } = await request(emitter =>
        context.uncounted('a test', () => emitter.emitAsync('order.counted', () => pool.query('SELECT 1'))),
      );
      expect((await recordOf(await callOf('counted'))).queries.count).toBe(1);
      expect((await recordOf({ requestId })).uncounted).toMatchObject([{ queries: 0 }]);
    });
  });
}
