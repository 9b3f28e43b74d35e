import { ApolloDriver, type ApolloDriverConfig } from '@nestjs/apollo';
import { Controller, type DynamicModule } from '@nestjs/common';
import { Field, GraphQLModule, Int, ObjectType, Query, ResolveField, Resolver } from '@nestjs/graphql';
import { MercuriusDriver, type MercuriusDriverConfig } from '@nestjs/mercurius';
import {
  ClientProxyFactory,
  MessagePattern,
  type MicroserviceOptions,
  Payload,
  Transport,
} from '@nestjs/microservices';
import { IoAdapter } from '@nestjs/platform-socket.io';
import { WsAdapter } from '@nestjs/platform-ws';
import { APP_GUARD } from '@nestjs/core';
import { MessageBody, SubscribeMessage, WebSocketGateway } from '@nestjs/websockets';
import { firstValueFrom } from 'rxjs';
import { io } from 'socket.io-client';
import { afterEach, describe, expect, it } from 'vitest';
import { ContextService, CostLimit, CostLimitGuard, type CostLimitStore } from 'nestjs-async-context';
import { WebSocket } from 'ws';
import { stacks } from '../../support/graphql-app';
import { startApp, type TestApp, type TestAppOptions, until } from '../../support/platforms';
import { freePort } from '../../support/servers';
import { NotingStore } from './noting-store';

const limit = {
  burst: 100,
  restorePerSecond: 1e-9,
  cost: { query: 1, row: 0, databaseMs: 0, blockedMs: 0 },
} as const;

function spend(context: ContextService, points: number): number {
  for (let i = 0; i < points; i++)
    context.record({ system: 'postgresql', statement: 'SELECT 1', durationMs: 1 });
  return points;
}

const running: TestApp[] = [];
const cleanUp: (() => unknown)[] = [];
afterEach(async () => {
  for (const undo of cleanUp.splice(0)) await undo();
  await Promise.all(running.splice(0).map(test => test.close()));
});

async function start(options: TestAppOptions) {
  const store = new NotingStore();
  const test = await startApp({ ...options, guards: { costLimit: { store, ...options.guards?.costLimit } } });
  running.push(test);
  return { test, store };
}

@ObjectType()
class Part {
  @Field(() => Int)
  id!: number;
}

@Resolver(() => Part)
class PartsResolver {
  constructor(private readonly context: ContextService) {}

  @Query(() => Int)
  @CostLimit({ ...limit, by: 'ip', estimate: 30, name: 'parts' })
  cheap(): number {
    return spend(this.context, 10);
  }

  @Query(() => Int)
  @CostLimit({ ...limit, by: 'ip', estimate: 50, name: 'parts' })
  dear(): number {
    return spend(this.context, 50);
  }

  @Query(() => [Part])
  parts(): Part[] {
    return [{ id: 1 }, { id: 2 }];
  }

  @ResolveField(() => Int)
  id(): number {
    return spend(this.context, 1);
  }
}

function graphql(driver: 'apollo' | 'mercurius'): DynamicModule {
  return driver === 'apollo'
    ? GraphQLModule.forRoot<ApolloDriverConfig>({
        driver: ApolloDriver,
        autoSchemaFile: true,
        csrfPrevention: false,
        fieldResolverEnhancers: ['guards'],
      })
    : GraphQLModule.forRoot<MercuriusDriverConfig>({
        driver: MercuriusDriver,
        autoSchemaFile: true,
        fieldResolverEnhancers: ['guards'],
      });
}

describe.each(stacks)('@CostLimit() of GraphQL with $name', ({ platform, driver }) => {
  async function startGraphql(isSlow = false) {
    const store = new NotingStore();
    const slow: CostLimitStore = {
      take: take => new Promise(resolve => setImmediate(() => resolve(store.take(take)))),
    };
    const { test } = await start({
      platform,
      imports: [graphql(driver)],
      providers: [PartsResolver, { provide: APP_GUARD, useClass: CostLimitGuard }],
      guards: {
        costLimit: {
          store: isSlow ? slow : store,
          timeoutMs: 5_000,
          default: { ...limit, by: 'ip', estimate: 7 },
        },
      },
    });
    return {
      test,
      store,
      async ask(query: string) {
        const before = test.sink.records.length;
        const response = await fetch(`${test.url}/graphql`, {
          method: 'POST',
          headers: { 'content-type': 'application/json' },
          body: JSON.stringify({ query }),
        });
        const answer = (await response.json()) as {
          data?: Record<string, unknown>;
          errors?: { message: string }[];
        };
        await test.records(before + 1);
        return { ...answer, response };
      },
    };
  }

  it('has one reservation for each operation, which further fields raise, and charges what it has cost', async () => {
    const { store, ask } = await startGraphql();
    const { data, response } = await ask('{ cheap dear }');
    expect(data).toEqual({ cheap: 10, dear: 50 });
    expect(store.takes.map(({ key, take }) => [key, take])).toEqual([
      ['parts|ip:127.0.0.1', 30],
      ['parts|ip:127.0.0.1', 50],
      ['parts|ip:127.0.0.1', -20],
    ]);
    expect(response.headers.get('ratelimit')).toMatch(/^"parts";r=20;t=/);
    expect(store.sum('parts')).toBe(60);
  });

  it('takes each alias for a field of its own, and no operation for more than a bucket holds', async () => {
    const { store, ask } = await startGraphql();
    const { data } = await ask('{ a: dear b: dear c: dear }');
    expect(data).toEqual({ a: 50, b: 50, c: 50 });
    expect(store.takes.map(({ take }) => take)).toEqual([50, 50, 0, 50]);
    expect(store.sum('parts')).toBe(150);
    const refused = await ask('{ cheap }');
    expect(refused.data?.['cheap'] ?? null).toBeNull();
    expect(refused.errors?.[0]?.message).toContain('Too Many Requests');
    expect(refused.response.headers.get('retry-after')).not.toBeNull();
    expect(store.sum('parts')).toBe(150);
  });

  it('asks for its fields one after the other where the store takes its time', async () => {
    const { store, ask } = await startGraphql(true);
    const { data, response } = await ask('{ a: dear b: dear c: cheap parts { id } }');
    expect(data).toMatchObject({ a: 50, b: 50, c: 10 });
    await until(() => store.sum('parts') === 112 && store.sum('default') === 112, 'settlement');
    expect(store.takes.filter(({ key, need }) => key.startsWith('parts') && need >= 0)).toMatchObject([
      { take: 50 },
      { take: 50 },
      { take: 0 },
    ]);
    expect(response.headers.get('ratelimit')).toMatch(
      /"parts";r=0;.*"default";r=93;|"default";r=93;.*"parts";r=0;/,
    );
  });

  it('asks for no field below another one', async () => {
    const { store, ask } = await startGraphql();
    expect((await ask('{ parts { id } }')).data).toEqual({ parts: [{ id: 1 }, { id: 1 }] });
    expect(store.takes.map(({ key, take }) => [key, take])).toEqual([
      ['default|ip:127.0.0.1', 7],
      ['default|ip:127.0.0.1', -5],
    ]);
  });

  it('charges for the fields that ran where another one was refused', async () => {
    const { store, ask } = await startGraphql();
    store.take({ key: 'default|ip:127.0.0.1', ...limit, need: 0, take: 100 });
    const { errors } = await ask('{ cheap parts { id } }');
    expect(errors?.[0]?.message).toContain('Too Many Requests');
    expect(store.sum('parts')).toBe(10);
  });
});

@WebSocketGateway()
@CostLimit({ ...limit, by: 'ip', estimate: 40, name: 'gateway' })
class SpendingGateway {
  constructor(private readonly context: ContextService) {}

  @SubscribeMessage('spend')
  spend(@MessageBody() points: number) {
    return { event: 'spent', data: spend(this.context, points) };
  }
}

interface Client {
  send(points: number): void;
  readonly answers: unknown[];
}

async function connectWs(url: string): Promise<Client> {
  const socket = new WebSocket(url.replace('http', 'ws'));
  const answers: unknown[] = [];
  socket.on('message', data => answers.push(JSON.parse(String(data))));
  await new Promise(resolve => socket.once('open', resolve));
  cleanUp.push(() => socket.close());
  return { answers, send: points => socket.send(JSON.stringify({ event: 'spend', data: points })) };
}

async function connectIo(url: string): Promise<Client> {
  const socket = io(url, { transports: ['websocket'] });
  const answers: unknown[] = [];
  socket.onAny((event: string, data: unknown) => answers.push({ event, data }));
  await new Promise<void>(resolve => socket.once('connect', resolve));
  cleanUp.push(() => socket.disconnect());
  return { answers, send: points => socket.emit('spend', points) };
}

describe.each([
  ['ws', WsAdapter, connectWs],
  ['socket.io', IoAdapter, connectIo],
] as const)('@CostLimit() of messages over %s', (name, Adapter, connect) => {
  it('knows the address of the client, and refuses in the words of the transport', async () => {
    const { test, store } = await start({
      providers: [SpendingGateway],
      configure: app => void app.useWebSocketAdapter(new Adapter(app)),
    });
    const client = await connect(test.url);
    for (let i = 1; i <= 2; i++) {
      client.send(45);
      await until(() => store.sum('gateway') === 45 * i, 'settlement');
    }
    expect(store.takes[0]?.key).toBe('gateway|ip:127.0.0.1');
    client.send(1);
    const refused = await until(
      () => test.sink.records.find(record => record.refused !== undefined),
      'record',
    );
    expect(refused).toMatchObject({ kind: 'websocket', refused: { by: 'cost-limit', reason: 'spent' } });
    expect(store.sum('gateway')).toBe(90);
    // Nest 11 tells a client of ws nothing of an exception: it emits an event on its own side.
    if (name === 'ws' && process.env['NEST'] === '11') return;
    await until(() => client.answers.length === 3, 'refusal');
    expect(client.answers[2]).toMatchObject({
      event: 'exception',
      data: { status: 'error', statusCode: 429, message: 'Too Many Requests', reason: 'spent' },
    });
    expect(store.sum('gateway')).toBe(90);
  });
});

@Controller()
class SpendingController {
  constructor(private readonly context: ContextService) {}

  @MessagePattern('spend')
  @CostLimit({ ...limit, by: 'ip', estimate: 40, name: 'message' })
  spend(@Payload() points: number): number {
    return spend(this.context, points);
  }
}

describe('@CostLimit() of messages over TCP', () => {
  it('knows the address of the caller, and refuses in the words of the transport', async () => {
    const options = { host: '127.0.0.1', port: await freePort() };
    const { test, store } = await start({
      controllers: [SpendingController],
      configure: async app => {
        app.connectMicroservice<MicroserviceOptions>({ transport: Transport.TCP, options });
        await app.startAllMicroservices();
      },
    });
    const client = ClientProxyFactory.create({ transport: Transport.TCP, options });
    cleanUp.push(() => client.close());
    for (let i = 1; i <= 2; i++) {
      expect(await firstValueFrom(client.send('spend', 45))).toBe(45);
      await until(() => store.sum('message') === 45 * i, 'settlement');
    }
    expect(store.takes[0]?.key).toBe('message|ip:127.0.0.1');
    await expect(firstValueFrom(client.send('spend', 1))).rejects.toMatchObject({
      statusCode: 429,
      reason: 'spent',
      retryAfterSeconds: expect.any(Number),
    });
    expect(store.sum('message')).toBe(90);
    const [refused] = (await test.records(3)).filter(record => record.refused !== undefined);
    expect(refused).toMatchObject({ kind: 'rpc', refused: { by: 'cost-limit', reason: 'spent' } });
  });
});
