import { Controller, Get, Injectable } from '@nestjs/common';
import { EventEmitter2, EventEmitterModule, OnEvent } from '@nestjs/event-emitter';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { ContextService, RunInContext } from 'nestjs-async-context';
import { startApp, type TestApp } from '../support/platforms';

/** Methods of one class that call each other: which of them are units of work. */
@Injectable()
class Orders {
  again: (() => Promise<void>) | undefined;

  constructor(
    private readonly context: ContextService,
    private readonly emitter: EventEmitter2,
  ) {}

  @OnEvent('own.created')
  created(order: object): void {
    this.emitter.emit('own.ready', order);
  }

  @OnEvent('own.ready')
  ready(): void {
    this.context.record({ system: 'test', collection: 'ready', durationMs: 0 });
  }

  /** Begins itself anew when it has long ended. */
  @OnEvent('own.poll')
  poll(order: object): void {
    this.again ??= this.context.bind(async () => this.poll(order));
  }

  @OnEvent('own.tick')
  tick(): void {
    this.cleanUp();
  }

  @RunInContext()
  cleanUp(): void {
    this.context.record({ system: 'test', collection: 'files', durationMs: 0 });
  }
}

@Controller()
class OrdersController {
  constructor(private readonly emitter: EventEmitter2) {}

  @Get('created')
  created(): boolean {
    return this.emitter.emit('own.created', { id: 1 });
  }

  @Get('poll')
  poll(): boolean {
    return this.emitter.emit('own.poll', { id: 1 });
  }

  @Get('tick')
  tick(): boolean {
    return this.emitter.emit('own.tick');
  }
}

describe('methods of one class that are called by each other', () => {
  let test: TestApp;
  beforeAll(async () => {
    test = await startApp({
      imports: [EventEmitterModule.forRoot()],
      controllers: [OrdersController],
      providers: [Orders],
    });
  });
  beforeEach(() => test.sink.clear());
  afterAll(() => test.close());

  const countsOf = async (path: string, records: number): Promise<Record<string, number>> => {
    await fetch(`${test.url}/${path}`);
    const all = await test.records(records);
    return Object.fromEntries(all.map(({ handler, queries }) => [handler, queries.count]));
  };

  it('have a unit of work each, also with the same argument', async () => {
    expect(await countsOf('created', 3)).toEqual({
      'Orders.created': 0,
      'Orders.ready': 1,
      'OrdersController.created': 0,
    });
  });

  it('have a unit of work each without an argument', async () => {
    expect(await countsOf('tick', 3)).toEqual({
      'Orders.cleanUp': 1,
      'Orders.tick': 0,
      'OrdersController.tick': 0,
    });
  });

  it('have another one for what they begin when theirs has closed', async () => {
    await countsOf('poll', 2);
    test.sink.clear();
    await test.app.get(Orders).again!();
    const [record] = await test.records(1);
    expect(record).toMatchObject({ handler: 'Orders.poll' });
  });
});
