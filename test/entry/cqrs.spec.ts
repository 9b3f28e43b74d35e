import { EventEmitter } from 'node:events';
import { Controller, Get, Injectable, Scope } from '@nestjs/common';
import {
  CommandBus,
  CommandHandler,
  CqrsModule,
  EventBus,
  EventsHandler,
  type ICommandHandler,
  type IEvent,
  ofType,
  QueryBus,
  QueryHandler,
  Saga,
  UnhandledExceptionBus,
} from '@nestjs/cqrs';
import { Pool } from 'pg';
import { map, type Observable } from 'rxjs';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import {
  ContextService,
  type CostRecord,
  createContextKey,
  QueryBudget,
  type QueryBudgetExceededError,
  RunInContext,
} from 'nestjs-async-context';
import { databaseUrl } from '../support/database';
import { type Platform, platforms, startApp, type TestApp, until } from '../support/platforms';

const TENANT = createContextKey<string>('cqrs.tenant');

class CreateOrder {
  constructor(
    readonly queries: number,
    readonly then: (context: ContextService) => unknown = () => undefined,
  ) {}
}
class PackOrder {
  constructor(
    readonly queries: number,
    readonly then: (context: ContextService) => unknown = () => undefined,
  ) {}
}
class ScopedCommand {
  readonly queries = 1;
  readonly then = (): undefined => undefined;
}
class AuditCommand extends ScopedCommand {}
class SendInvoice extends ScopedCommand {}
class GiftOrder extends CreateOrder {}
class CountOrders {
  constructor(readonly queries: number) {}
}
class OrderCreated {
  constructor(readonly queries = 1) {}
}
class OrderPaid {
  readonly queries = 1;
}
class OrderLost {
  readonly queries = 1;
}

interface Call {
  readonly requestId: string | undefined;
  readonly spanId: string | undefined;
  readonly traceId: string | undefined;
  readonly handler: string | undefined;
  readonly route: string | undefined;
  readonly user: unknown;
  readonly tenant: unknown;
}

const calls: Call[] = [];

async function work(
  context: ContextService,
  { queries, then }: { queries: number; then?: (context: ContextService) => unknown },
): Promise<unknown> {
  const { requestId, spanId, traceId, handler, route, user } = context;
  calls.push({ requestId, spanId, traceId, handler, route, user, tenant: context.get(TENANT) });
  for (let i = 0; i < queries; i++) {
    await Promise.resolve();
    context.record({ system: 'test', collection: 'orders', rows: 2, durationMs: 1 });
  }
  return then?.(context);
}

@Injectable()
@CommandHandler(CreateOrder)
@QueryBudget(3)
class CreateOrderHandler implements ICommandHandler<CreateOrder> {
  constructor(private readonly context: ContextService) {}

  execute(command: CreateOrder): Promise<unknown> {
    return work(this.context, command);
  }
}

@Injectable()
class BaseHandler {
  constructor(protected readonly context: ContextService) {}

  execute(command: PackOrder): Promise<unknown> {
    return work(this.context, command);
  }
}

@CommandHandler(PackOrder)
class PackOrderHandler extends BaseHandler implements ICommandHandler<PackOrder> {
  override execute(command: PackOrder): Promise<unknown> {
    return super.execute(command);
  }
}

@CommandHandler(GiftOrder)
class GiftHandler extends CreateOrderHandler {
  override execute(command: GiftOrder): Promise<unknown> {
    return super.execute(command);
  }
}

@CommandHandler(AuditCommand)
class AuditHandler extends BaseHandler implements ICommandHandler<AuditCommand> {
  @RunInContext()
  override execute(command: PackOrder): Promise<unknown> {
    return super.execute(command);
  }
}

@CommandHandler(SendInvoice)
class SendInvoiceHandler extends BaseHandler implements ICommandHandler<SendInvoice> {}

@Injectable({ scope: Scope.REQUEST })
@CommandHandler(ScopedCommand, { scope: Scope.REQUEST })
class ScopedHandler implements ICommandHandler<ScopedCommand> {
  constructor(private readonly context: ContextService) {}

  execute(command: ScopedCommand): Promise<unknown> {
    return work(this.context, command);
  }
}

@QueryHandler(CountOrders)
class CountOrdersHandler {
  constructor(private readonly context: ContextService) {}

  async execute(query: CountOrders): Promise<number> {
    await work(this.context, query);
    return query.queries;
  }
}

@EventsHandler(OrderCreated, OrderLost)
class OrderListener {
  constructor(private readonly context: ContextService) {}

  async handle(event: OrderCreated | OrderLost): Promise<void> {
    await new Promise(resolve => setTimeout(resolve, 10));
    await work(this.context, event);
    if (event instanceof OrderLost) throw new TypeError('lost');
  }
}

@Injectable()
class OrderSagas {
  @Saga()
  invoice(events: Observable<IEvent>): Observable<SendInvoice> {
    return events.pipe(
      ofType(OrderPaid),
      map(() => new SendInvoice()),
    );
  }
}

@Controller('orders')
class OrdersController {
  static run: (test: OrdersController) => unknown;

  constructor(
    readonly context: ContextService,
    readonly commands: CommandBus,
    readonly queries: QueryBus,
    readonly events: EventBus,
  ) {}

  @Get()
  @QueryBudget(4)
  async handle(): Promise<unknown> {
    this.context.setUser({ id: 'ada' });
    this.context.set(TENANT, 'acme');
    const result = await OrdersController.run(this);
    const { requestId, traceId, spanId, handler, cost } = this.context;
    return {
      requestId,
      traceId,
      spanId,
      handler,
      result,
      tenant: this.context.get(TENANT),
      made: cost?.queries,
    };
  }
}

interface Answer {
  readonly requestId: string;
  readonly traceId: string;
  readonly spanId: string;
  readonly handler: string;
  readonly result: unknown;
  readonly tenant: string;
  readonly made: number;
}

const app = {
  imports: [CqrsModule.forRoot()],
  controllers: [OrdersController],
  providers: [
    CreateOrderHandler,
    PackOrderHandler,
    AuditHandler,
    GiftHandler,
    SendInvoiceHandler,
    ScopedHandler,
    CountOrdersHandler,
    OrderListener,
    OrderSagas,
  ],
};

let test: TestApp;

async function request(run: (test: OrdersController) => unknown): Promise<Answer> {
  OrdersController.run = run;
  const response = await fetch(`${test.url}/orders`);
  return (await response.json()) as Answer;
}

const callOf = (handler: string): Promise<Call> =>
  until(() => calls.find(call => call.handler === handler), `call of ${handler}`);

const recordOf = (requestId: string | undefined, handler: string): Promise<CostRecord> =>
  until(
    () => test.sink.records.find(record => record.requestId === requestId && record.handler === handler),
    `record of ${handler}`,
  );

function starts(platform: Platform, options = {}): void {
  beforeAll(async () => {
    test = await startApp({ ...app, platform, ...options });
  });
  afterAll(() => test.close());
  beforeEach(() => {
    calls.length = 0;
  });
}

for (const platform of platforms) {
  describe(`commands and queries of @nestjs/cqrs in a request on ${platform}`, () => {
    starts(platform);

    it('run in a context of their own, with the id, the user and the values of the request', async () => {
      const { requestId, traceId, spanId, handler } = await request(({ commands }) =>
        commands.execute(new CreateOrder(1)),
      );
      const call = await callOf('CreateOrderHandler.execute');
      expect(call).toMatchObject({
        requestId,
        traceId,
        route: 'command:CreateOrder',
        user: { id: 'ada' },
        tenant: 'acme',
      });
      expect(call.spanId).not.toBe(spanId);
      expect(handler).toBe('OrdersController.handle');
      expect(await recordOf(requestId, 'CreateOrderHandler.execute')).toMatchObject({
        kind: 'job',
        parentRequestId: requestId,
        parentSpanId: spanId,
        within: 'OrdersController.handle',
        userId: 'ada',
        queries: { count: 1, rows: 2 },
      });
    });

    it('are in the cost of the request that awaits them', async () => {
      const { requestId, made, result } = await request(async ({ commands, queries, context }) => {
        context.record({ system: 'test', collection: 'users', durationMs: 1 });
        await commands.execute(new CreateOrder(2));
        return queries.execute(new CountOrders(3));
      });
      expect(result).toBe(3);
      expect(made).toBe(6);
      const whole = await recordOf(requestId, 'OrdersController.handle');
      expect(whole).toMatchObject({
        queries: { count: 6, rows: 10, byTable: { orders: { count: 5 }, users: { count: 1 } } },
        breaches: [
          { dimension: 'queries', used: 6, limit: 4, from: '@QueryBudget on OrdersController.handle' },
        ],
      });
      expect(whole.within).toBeUndefined();
      expect(await recordOf(requestId, 'CountOrdersHandler.execute')).toMatchObject({
        route: 'query:CountOrders',
        queries: { count: 3, rows: 6 },
        breaches: [],
      });
    });

    it('are counted once in the sum over the records that are no part of another', async () => {
      const { requestId } = await request(({ commands }) =>
        commands.execute(
          new CreateOrder(1, () =>
            commands.execute(new PackOrder(2, () => commands.execute(new PackOrder(3)))),
          ),
        ),
      );
      await recordOf(requestId, 'OrdersController.handle');
      const records = test.sink.records.filter(record => record.requestId === requestId);
      expect(records.map(({ handler, within, queries }) => [handler, within, queries.count])).toEqual([
        ['PackOrderHandler.execute', 'PackOrderHandler.execute', 3],
        ['PackOrderHandler.execute', 'CreateOrderHandler.execute', 5],
        ['CreateOrderHandler.execute', 'OrdersController.handle', 6],
        ['OrdersController.handle', undefined, 6],
      ]);
    });

    it('are kept apart where the request keeps apart what it calls', async () => {
      const { requestId, made } = await request(({ commands, context }) =>
        context.uncounted('a test', () => commands.execute(new CreateOrder(2))),
      );
      expect(made).toBe(0);
      expect(await recordOf(requestId, 'OrdersController.handle')).toMatchObject({
        queries: { count: 0 },
        uncounted: [{ reason: 'a test', queries: 2 }],
      });
    });

    it('have the budget that they declare', async () => {
      const { requestId } = await request(({ commands }) => commands.execute(new CreateOrder(4)));
      expect(await recordOf(requestId, 'CreateOrderHandler.execute')).toMatchObject({
        breaches: [{ dimension: 'queries', used: 4, limit: 3, from: '@QueryBudget on CreateOrderHandler' }],
      });
      expect(await recordOf(requestId, 'OrdersController.handle')).toMatchObject({ breaches: [] });
    });

    it('share their values and their user with the request', async () => {
      const { tenant, requestId } = await request(({ commands }) =>
        commands.execute(
          new CreateOrder(0, context => {
            context.set(TENANT, 'changed');
            context.setUser({ id: 'grace' });
          }),
        ),
      );
      expect(tenant).toBe('changed');
      expect((await recordOf(requestId, 'OrdersController.handle')).userId).toBe('grace');
    });

    it('may leave something to do after the response', async () => {
      let closedWith: string | undefined;
      const { requestId } = await request(({ commands }) =>
        commands.execute(
          new CreateOrder(0, context => {
            context.onClose(() => (closedWith = context.handler));
          }),
        ),
      );
      await recordOf(requestId, 'OrdersController.handle');
      expect(await until(() => closedWith, 'call after the response')).toBe('OrdersController.handle');
    });

    it('are a unit of work by themselves when nobody awaits them any more', async () => {
      let late!: () => Promise<unknown>;
      const { requestId } = await request(({ commands, context }) => {
        late = context.bind(() => commands.execute(new PackOrder(1)));
      });
      await recordOf(requestId, 'OrdersController.handle');
      await late();
      const call = await callOf('PackOrderHandler.execute');
      expect(call.requestId).not.toBe(requestId);
      const record = await recordOf(call.requestId, 'PackOrderHandler.execute');
      expect(record).toMatchObject({ parentRequestId: requestId, queries: { count: 1 } });
      expect(record.within).toBeUndefined();
    });

    it('are a unit of work by themselves with @RunInContext()', async () => {
      const { requestId, made } = await request(({ commands }) => commands.execute(new AuditCommand()));
      const call = await callOf('AuditHandler.execute');
      const record = await recordOf(call.requestId, 'AuditHandler.execute');
      expect(record).toMatchObject({ parentRequestId: requestId, queries: { count: 1 } });
      expect(call.requestId).not.toBe(requestId);
      expect(made).toBe(0);
    });

    it('have one context, and not two, where a handler extends another', async () => {
      const { requestId, made } = await request(({ commands }) => commands.execute(new GiftOrder(1)));
      await recordOf(requestId, 'OrdersController.handle');
      const records = test.sink.records.filter(record => record.requestId === requestId);
      expect(records.map(({ handler }) => handler)).toEqual([
        'GiftHandler.execute',
        'OrdersController.handle',
      ]);
      expect(made).toBe(1);
    });

    it('may be request-scoped', async () => {
      const { requestId, made } = await request(({ commands }) => commands.execute(new ScopedCommand()));
      expect(await recordOf(requestId, 'ScopedHandler.execute')).toMatchObject({
        within: 'OrdersController.handle',
      });
      expect(made).toBe(1);
    });

    it('fail with the very error, whose class is in their record', async () => {
      const error = new RangeError('no');
      const { requestId, result } = await request(async ({ commands }) => {
        const failing = new CreateOrder(0, () => Promise.reject(error));
        return commands.execute(failing).catch((reason: unknown) => reason === error);
      });
      expect(result).toBe(true);
      expect(await recordOf(requestId, 'CreateOrderHandler.execute')).toMatchObject({ error: 'RangeError' });
      expect((await recordOf(requestId, 'OrdersController.handle')).error).toBeUndefined();
    });

    it('have a context of their own, too, when there is no request', async () => {
      await test.app.get(CommandBus).execute(new CreateOrder(1));
      const { requestId } = await callOf('CreateOrderHandler.execute');
      const record = await recordOf(requestId, 'CreateOrderHandler.execute');
      expect(record.parentRequestId).toBeUndefined();
      expect(record.within).toBeUndefined();
    });
  });

  describe(`events of @nestjs/cqrs in a request on ${platform}`, () => {
    starts(platform);

    it('are handled in a context of their own, whose parent is the request', async () => {
      const { requestId, traceId, made } = await request(({ events }) => events.publish(new OrderCreated()));
      const call = await callOf('OrderListener.handle');
      expect(call).toMatchObject({
        traceId,
        route: 'event:OrderCreated',
        user: { id: 'ada' },
        tenant: 'acme',
      });
      expect(call.requestId).not.toBe(requestId);
      expect(await recordOf(call.requestId, 'OrderListener.handle')).toMatchObject({
        parentRequestId: requestId,
        queries: { count: 1, late: 0 },
      });
      expect(made).toBe(0);
    });

    it('have the command that has published them as parent', async () => {
      const { requestId, spanId } = await request(({ commands, events }) =>
        commands.execute(new PackOrder(0, () => events.publish(new OrderCreated()))),
      );
      const { requestId: id } = await callOf('OrderListener.handle');
      const command = await recordOf(requestId, 'PackOrderHandler.execute');
      expect(command.parentSpanId).toBe(spanId);
      expect(await recordOf(id, 'OrderListener.handle')).toMatchObject({
        parentRequestId: requestId,
        parentSpanId: command.spanId,
      });
    });

    it('fail to the bus of unhandled exceptions', async () => {
      const causes: unknown[] = [];
      const bus = test.app.get(UnhandledExceptionBus).subscribe(({ exception }) => causes.push(exception));
      await request(({ events }) => events.publish(new OrderLost()));
      await until(() => causes.length > 0, 'unhandled exception');
      bus.unsubscribe();
      expect(causes).toEqual([expect.any(TypeError)]);
      const { requestId } = await callOf('OrderListener.handle');
      expect(await recordOf(requestId, 'OrderListener.handle')).toMatchObject({ error: 'TypeError' });
    });

    it('give sagas commands that are units of work by themselves', async () => {
      const { requestId, made } = await request(({ events }) => events.publish(new OrderPaid()));
      const call = await callOf('SendInvoiceHandler.execute');
      expect(call.requestId).not.toBe(requestId);
      const record = await recordOf(call.requestId, 'SendInvoiceHandler.execute');
      expect(record).toMatchObject({ parentRequestId: requestId, queries: { count: 1 } });
      expect(record.within).toBeUndefined();
      expect(made).toBe(0);
    });
  });
}

describe("commands of @nestjs/cqrs with onExceeded: 'throw'", () => {
  starts('express', { onExceeded: 'throw' });
  const pool = new Pool({ connectionString: databaseUrl(), max: 1 });
  afterAll(() => pool.end());

  const queries = async (times: number): Promise<string | undefined> => {
    try {
      for (let i = 0; i < times; i++) await pool.query('SELECT 1');
    } catch (error) {
      return (error as QueryBudgetExceededError).from;
    }
    return undefined;
  };

  it('are kept back by their own budget', async () => {
    const { requestId, result, made } = await request(({ commands }) =>
      commands.execute(new CreateOrder(0, () => queries(9))),
    );
    expect(result).toBe('@QueryBudget on CreateOrderHandler');
    expect(made).toBe(4);
    const [part, whole] = await Promise.all(
      ['CreateOrderHandler.execute', 'OrdersController.handle'].map(name => recordOf(requestId, name)),
    );
    expect(part).toMatchObject({ queries: { count: 4, rows: 3, errors: 0 } });
    expect(whole).toMatchObject({ queries: { count: 4, rows: 3, errors: 0 }, breaches: [] });
  });

  it('are kept back by the budget of the request', async () => {
    const { requestId, result } = await request(({ commands }) =>
      commands.execute(new PackOrder(0, () => queries(9))),
    );
    expect(result).toBe('@QueryBudget on OrdersController.handle');
    const part = await recordOf(requestId, 'PackOrderHandler.execute');
    expect(part).toMatchObject({ queries: { count: 4, rows: 4 }, breaches: [] });
  });
});

describe('commands of @nestjs/cqrs, and what looks at their request,', () => {
  starts('express', { providerCalls: true, answerUnhandledErrors: true });

  it('have their calls of providers in the record of the request', async () => {
    const { requestId } = await request(({ commands }) => commands.execute(new CreateOrder(1)));
    const { providerCalls } = await recordOf(requestId, 'OrdersController.handle');
    expect(providerCalls!.map(({ call }) => call)).toContain('CreateOrderHandler.execute');
    expect((await recordOf(requestId, 'CreateOrderHandler.execute')).providerCalls).toBeUndefined();
  });

  it('have the request answered when an error that nobody awaits ends their work', async () => {
    OrdersController.run = ({ commands }) =>
      commands.execute(
        new CreateOrder(0, () => {
          const lost: unknown[] = [new Error('lost'), 'unhandledRejection'];
          (process as EventEmitter).emit('uncaughtExceptionMonitor', ...lost);
          return new Promise(() => undefined);
        }),
      );
    const response = await fetch(`${test.url}/orders`);
    expect(response.status).toBe(500);
  });
});
