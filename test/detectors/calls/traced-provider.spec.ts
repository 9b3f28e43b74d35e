import { EventEmitter } from 'node:events';
import { isDeepStrictEqual } from 'node:util';
import { ConsoleLogger, Controller, Injectable, Module, Scope } from '@nestjs/common';
import { LazyModuleLoader, Reflector } from '@nestjs/core';
import { Resolver } from '@nestjs/graphql';
import { WebSocketGateway } from '@nestjs/websockets';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ContextService, type TracedCallRecord, traceProviders } from 'nestjs-async-context';
import { startApp, type TestApp } from '../../support/platforms';
import { recordOfUnit } from '../../support/units';

const ROUTE = Symbol('route');

function Marked(value: string): MethodDecorator {
  return (_target, _name, descriptor) =>
    Reflect.defineMetadata('marked', value, descriptor.value as unknown as object);
}

@Injectable()
class OrdersService {
  read = false;

  arrow = (): number => 1;

  @Marked('yes')
  find(_id: number, _options: object): number {
    return 1;
  }

  get accessor(): () => number {
    this.read = true;
    return () => 1;
  }

  [ROUTE](): number {
    return 1;
  }
}

@Injectable()
class BusService extends EventEmitter {
  pong(): number {
    return 1;
  }
}

@Injectable()
class AppLogger extends ConsoleLogger {
  override log(): void {}
}

@Injectable({ scope: Scope.TRANSIENT })
class TransientService {
  work(): number {
    return 1;
  }
}

@Injectable()
class UserService {
  constructor(readonly transient: TransientService) {}

  work(): number {
    return this.transient.work();
  }
}

@Injectable()
class LazyService {
  work(): number {
    return 1;
  }
}

@Module({ providers: [LazyService] })
class LazyModule {}

class Unmarked {
  work(): number {
    return 1;
  }
}

@Controller('nothing')
@Injectable()
class MarkedController extends Unmarked {}

@Resolver()
@Injectable()
class MarkedResolver extends Unmarked {}

@WebSocketGateway()
@Injectable()
class MarkedGateway extends Unmarked {}

@Injectable()
class FrozenService extends Unmarked {
  constructor() {
    super();
    Object.freeze(this);
  }
}

const forbidden = new Proxy(new OrdersService(), {
  get() {
    throw new Error('of the application');
  },
  getPrototypeOf() {
    throw new Error('of the application');
  },
});

@Injectable()
class ManyService {
  readonly methods = METHODS;
}
const METHODS = Array.from({ length: 150 }, (_, i) => `method${i}`);
for (const name of METHODS) Object.defineProperty(ManyService.prototype, name, { value: () => name });

@Injectable()
class LongService {}
Object.defineProperty(LongService, 'name', { value: 'L'.repeat(5_000) });
Object.defineProperty(LongService.prototype, 'm'.repeat(5_000), { value: () => 1 });

let test: TestApp;

beforeAll(async () => {
  test = await startApp({
    providerCalls: true,
    nest: { instrument: traceProviders() },
    controllers: [MarkedController],
    providers: [
      OrdersService,
      BusService,
      AppLogger,
      TransientService,
      UserService,
      Unmarked,
      MarkedResolver,
      MarkedGateway,
      FrozenService,
      ManyService,
      LongService,
      Reflector,
      { provide: 'value', useValue: new OrdersService() },
      { provide: 'factory', useFactory: () => new OrdersService() },
      { provide: 'alias', useExisting: OrdersService },
    ],
  });
});
afterAll(() => test.close());

async function callsOf(work: () => unknown): Promise<readonly TracedCallRecord[]> {
  return (await recordOfUnit(test, work)).providerCalls ?? [];
}

async function countsOf(work: () => unknown): Promise<Record<string, number>> {
  return Object.fromEntries((await callsOf(work)).map(({ call, count }) => [call, count]));
}

const get = <T>(token: string | (new (...args: never[]) => T)): T => test.app.get<T>(token as never);

describe('a traced provider', () => {
  it('looks as it did', () => {
    const orders = get(OrdersService);
    const bare = new OrdersService();
    expect(Object.keys(orders)).toEqual(Object.keys(bare));
    expect({ ...orders }).toEqual({ read: false, arrow: orders.arrow });
    expect(Object.getPrototypeOf(orders)).toBe(OrdersService.prototype);
    bare.arrow = orders.arrow;
    expect(isDeepStrictEqual(orders, bare)).toBe(true);
    const { find } = orders;
    expect(find).not.toBe(OrdersService.prototype.find);
    expect([find.name, find.length]).toEqual(['find', 2]);
    expect(Reflect.getOwnMetadata('marked', find)).toBe('yes');
    expect(get(Reflector).get('marked', find)).toBe('yes');
  });

  it('keeps what is no method of its class: accessors, arrow functions, symbols, the constructor', async () => {
    const orders = get(OrdersService);
    expect(orders.read).toBe(false);
    const calls = await countsOf(() => [
      orders.accessor(),
      orders.arrow(),
      orders[ROUTE](),
      orders.constructor,
    ]);
    expect(calls).toEqual({});
    expect(Object.getOwnPropertyNames(orders).sort()).toEqual(['arrow', 'find', 'read']);
  });

  it('is counted by its own class, also what it inherits from a package', async () => {
    const bus = get(BusService);
    bus.on('ping', () => bus.pong());
    const calls = await countsOf(() => bus.emit('ping'));
    expect(calls).toEqual({ 'BusService.emit': 1, 'BusService.pong': 1 });
  });

  it('is traced down to a class of Nest', async () => {
    const logger = get(AppLogger);
    const calls = await countsOf(() => [logger.log(), logger.isLevelEnabled('log')]);
    expect(calls).toEqual({ 'AppLogger.log': 1 });
  });

  it('is one that a factory, a value or an alias gives, a transient one, or one of a lazy module', async () => {
    const instances = [get(OrdersService), get<OrdersService>('factory'), get<OrdersService>('value')];
    expect(get('alias')).toBe(instances[0]);
    expect(await countsOf(() => instances.map(orders => orders.find(1, {})))).toEqual({
      'OrdersService.find': 3,
    });
    const user = get(UserService);
    expect(await countsOf(() => user.work())).toEqual({ 'UserService.work': 1, 'TransientService.work': 1 });
    const module = await get(LazyModuleLoader).load(() => LazyModule);
    expect(await countsOf(() => module.get(LazyService).work())).toEqual({ 'LazyService.work': 1 });
  });
});

describe('left alone is', () => {
  it.each([
    ['a class without @Injectable()', Unmarked],
    ['a controller', MarkedController],
    ['a resolver', MarkedResolver],
    ['a gateway', MarkedGateway],
    ['a frozen instance', FrozenService],
  ])('%s', async (_what, type) => {
    const instance = get(type);
    expect(await countsOf(() => instance.work())).toEqual({});
    expect(Object.hasOwn(instance, 'work')).toBe(false);
  });

  it('what is of Nest or of this package', async () => {
    const calls = await countsOf(() => [
      get(Reflector).get('marked', OrdersService),
      get(ContextService).get('key'),
    ]);
    expect(calls).toEqual({});
  });

  it('a proxy, which may throw whatever it is asked', () => {
    const instrument = traceProviders();
    expect(instrument.instanceDecorator(forbidden)).toBe(forbidden);
    expect(test.logs.of('warn', 'AsyncContext')).toEqual([]);
  });
});

describe('the trace is bounded', () => {
  it('to 100 methods of one unit of work, the rest as one, and to 20 in its record', async () => {
    const many = get(ManyService) as unknown as Record<string, () => string>;
    const context = get(ContextService);
    let live: readonly TracedCallRecord[] = [];
    const calls = await callsOf(() => {
      for (const name of METHODS) many[name]!();
      live = context.cost!.providerCalls();
    });
    expect(calls).toHaveLength(20);
    expect(live).toHaveLength(101);
    expect(live.find(({ call }) => call === 'other')).toMatchObject({ count: 50 });
    expect(live.filter(({ count }) => count === 1)).toHaveLength(100);
  });

  it('in the length of its names', async () => {
    const long = get(LongService) as unknown as Record<string, () => number>;
    const [call] = await callsOf(() => long['m'.repeat(5_000)]!());
    expect(call!.call).toBe(`${'L'.repeat(100)}.${'m'.repeat(100)}`);
  });
});
