import { ApolloDriver, type ApolloDriverConfig } from '@nestjs/apollo';
import {
  type CanActivate,
  Controller,
  type ExecutionContext,
  Get,
  Injectable,
  UseGuards,
} from '@nestjs/common';
import { GraphQLModule, Int, Query, Resolver } from '@nestjs/graphql';
import { ClientProxyFactory, MessagePattern, Transport } from '@nestjs/microservices';
import { WsAdapter } from '@nestjs/platform-ws';
import { SubscribeMessage, WebSocketGateway } from '@nestjs/websockets';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import { request, type RequestOptions } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { NestFactory } from '@nestjs/core';
import {
  AsyncContextModule,
  ContextService,
  CostLimit,
  type CostLimitStore,
  createContextKey,
  MemoryCostLimitStore,
  MemorySink,
  RedisCostLimitStore,
  ProcessFigures,
} from 'nestjs-async-context';
import { PostgresCostLimitStore } from 'nestjs-async-context/postgres';
import { Redis } from 'ioredis';
import { Pool } from 'pg';
import { WebSocket } from 'ws';
import { afterEach, describe, expect, it } from 'vitest';
import { networkOf } from '../../../lib/guards/caller/address';
import { callerKey, nameKey } from '../../../lib/guards/caller/bounded-key';
import { databaseUrl, isEmbedded } from '../../support/database';
import { hostileStrings } from '../../support/hostile-strings';
import { freePort } from '../../support/message-transports';
import { type Platform, platforms, startApp, type TestApp, until } from '../../support/platforms';
import { seeded } from '../../support/random';
import { hasRedis, redisKey, redisUrl } from '../../support/redis-server';
import { NotingStore } from './noting-store';

const limit = { burst: 100, restorePerSecond: 1e-9, estimate: 10, cost: { query: 1 } } as const;

@Controller()
class CallerController {
  @Get('ip')
  @CostLimit({ ...limit, by: 'ip', name: 'ip' })
  ip() {
    return 'ok';
  }
}

const running: Pick<TestApp, 'close'>[] = [];
afterEach(async () => {
  await Promise.all(running.splice(0).map(test => test.close()));
});

describe('an address', () => {
  it.each([
    ['203.0.113.7', 64, '203.0.113.7'],
    ['::ffff:203.0.113.7', 64, '203.0.113.7'],
    ['::FFFF:cb00:7107', 64, '203.0.113.7'],
    ['0:0:0:0:0:ffff:203.0.113.7', 64, '203.0.113.7'],
    ['2001:db8:1:2:3:4:5:6', 64, '2001:db8:1:2:0:0:0:0/64'],
    ['2001:DB8:1:2::', 64, '2001:db8:1:2:0:0:0:0/64'],
    ['2001:0db8:0001:0002:ffff:ffff:ffff:ffff', 64, '2001:db8:1:2:0:0:0:0/64'],
    ['2001:db8:1:3::', 64, '2001:db8:1:3:0:0:0:0/64'],
    ['2001:db8:1:2ff::', 56, '2001:db8:1:200:0:0:0:0/56'],
    ['2001:db8::1', 128, '2001:db8:0:0:0:0:0:1/128'],
    ['::1', 64, '0:0:0:0:0:0:0:0/64'],
    ['fe80::1%eth0', 64, 'fe80:0:0:0:0:0:0:0/64'],
    ['64:ff9b::203.0.113.7', 128, '64:ff9b:0:0:0:0:cb00:7107/128'],
    ['203.0.113.7:80', 64, undefined],
    ['203.0.113.07', 64, undefined],
    ['localhost', 64, undefined],
    ['', 64, undefined],
    [undefined, 64, undefined],
  ])('%s within %i bits is %s', (address, prefix, network) => {
    expect(networkOf(address, prefix)).toBe(network);
  });
});

async function keyOf(platform: Platform, trust: unknown, headers: Record<string, string>) {
  const store = new NotingStore();
  if (platform === 'express') {
    const test = await startApp({
      platform,
      controllers: [CallerController],
      guards: { costLimit: { store } },
      configure: app =>
        void (app.getHttpAdapter().getInstance() as { set(name: string, value: unknown): void }).set(
          'trust proxy',
          trust,
        ),
    });
    running.push(test);
    await fetch(`${test.url}/ip`, { headers });
    await fetch(`${test.url}/ip`, { headers });
    return { key: store.takes[0]?.key, logs: test.logs.of('warn', 'AsyncContext') };
  }
  const module = {
    module: class {},
    imports: [AsyncContextModule.forRoot({ guards: { costLimit: { store } } })],
    controllers: [CallerController],
  };
  const app = await NestFactory.create(module, new FastifyAdapter({ trustProxy: trust as never }), {
    logger: false,
  });
  running.push(app);
  await app.listen(0, '127.0.0.1');
  await fetch(`http://127.0.0.1:${(app.getHttpServer().address() as AddressInfo).port}/ip`, { headers });
  return { key: store.takes[0]?.key, logs: [] };
}

describe.each(platforms)("by: 'ip' on %s", platform => {
  const forwarded = (value: string): Record<string, string> => ({ 'x-forwarded-for': value });

  it('believes no header of a client', async () => {
    const { key } = await keyOf(platform, false, forwarded('198.51.100.1'));
    expect(key).toBe('ip|ip:127.0.0.1');
  });

  it('is what the proxy has seen that the application trusts, and not what the client has told that', async () => {
    const trust = platform === 'express' ? 1 : '127.0.0.1';
    const { key } = await keyOf(platform, trust, forwarded('6.6.6.6, 198.51.100.1'));
    expect(key).toBe('ip|ip:198.51.100.1');
    const v6 = await keyOf(platform, trust, forwarded('2001:db8:1:2:3:4:5:6'));
    expect(v6.key).toBe('ip|ip:2001:db8:1:2:0:0:0:0/64');
  });

  it('is the address of the socket where what is forwarded is none', async () => {
    const trust = platform === 'express' ? 1 : '127.0.0.1';
    const { key } = await keyOf(platform, trust, forwarded('__proto__'));
    expect(key).toBe('ip|ip:127.0.0.1');
  });
});

describe("by: 'ip' where every proxy is trusted", () => {
  it('says once that anybody can be anybody', async () => {
    const { key, logs } = await keyOf('express', true, { 'x-forwarded-for': '6.6.6.6, 198.51.100.1' });
    expect(key).toBe('ip|ip:6.6.6.6');
    expect(logs.filter(line => line.includes('"trust proxy" is true'))).toHaveLength(1);
  });
});

let isWaiting = false;
let goOn: () => void = () => undefined;
let handled = 0;

/** A guard that takes its time, and finds the user at the end of it. */
@Injectable()
class SlowGuard implements CanActivate {
  async canActivate(execution: ExecutionContext): Promise<boolean> {
    isWaiting = true;
    await new Promise<void>(resolve => (goOn = resolve));
    isWaiting = false;
    if (execution.getType() === 'http')
      Object.assign(execution.getArgByIndex<object>(0), { user: { id: 'alice' } });
    return true;
  }
}

@Controller()
@UseGuards(SlowGuard)
class SlowController {
  @Get('ip')
  @CostLimit({ ...limit, by: 'ip', name: 'ip' })
  ip() {
    handled += 1;
  }

  @Get('user')
  @CostLimit({ ...limit, by: 'user', name: 'user' })
  user() {
    handled += 1;
  }

  @Get('nobody')
  @CostLimit({ ...limit, by: () => undefined, name: 'nobody' })
  nobody() {
    handled += 1;
  }

  @Get('dry')
  @CostLimit({ ...limit, by: 'ip', name: 'dry', dryRun: true })
  dry() {
    handled += 1;
  }
}

/** Sends a request, and leaves while the first guard is at work. */
async function leave(options: RequestOptions, isClosed: () => boolean): Promise<void> {
  const sent = request(options);
  sent.on('error', () => undefined);
  sent.end();
  await until(() => isWaiting, 'guard');
  sent.destroy();
  await until(isClosed, 'close');
  goOn();
}

describe.each(platforms)('a client that leaves while an earlier guard is at work, on %s', platform => {
  async function start() {
    const store = new NotingStore();
    handled = 0;
    const test = await startApp({
      platform,
      controllers: [SlowController],
      guards: { costLimit: { store } },
      configure: app => {
        const express = app.getHttpAdapter().getInstance() as { set?(name: string, value: unknown): void };
        if (platform === 'express') express.set?.('trust proxy', 1);
      },
    });
    running.push(test);
    const { port } = new URL(test.url);
    return {
      store,
      async leave(path: string) {
        const seen = test.sink.records.length;
        const headers = platform === 'express' ? { 'x-forwarded-for': '198.51.100.1' } : {};
        const to = { host: '127.0.0.1', port, path: `/${path}`, headers };
        await leave(to, () => test.sink.records.length > seen);
      },
    };
  }

  it('is limited under its own address, and under its user', async () => {
    const address = platform === 'express' ? '198.51.100.1' : '127.0.0.1';
    const { store, leave: leaves } = await start();
    for (const [path, key] of [
      ['ip', `ip|ip:${address}`],
      ['nobody', `nobody|x:${address}`],
      ['user', 'user|u:alice'],
    ] as const) {
      const before = handled;
      await leaves(path);
      await until(() => handled > before, 'handler');
      expect(store.takes.at(-1)?.key).toBe(key);
    }
  });
});

describe('a client that leaves, and whose address was never known', () => {
  it('shares no bucket with others: it is refused, but not in a dry run', async () => {
    const socketPath = join(tmpdir(), `callers-${process.pid}.sock`);
    const store = new NotingStore();
    const sink = new MemorySink();
    const module = {
      module: class {},
      imports: [
        AsyncContextModule.forRoot({
          guards: { costLimit: { store } },
          sinks: [sink],
          sinkQueue: { intervalMs: 20 },
        }),
      ],
      controllers: [SlowController],
    };
    const app = await NestFactory.create(module, { logger: false });
    running.push(app);
    await app.listen(socketPath);
    const figures = app.get(ProcessFigures);
    handled = 0;
    await leave({ socketPath, path: '/ip' }, () => sink.records.length === 1);
    await until(() => figures.refusals.length === 1, 'refusal');
    expect(figures.refusals).toMatchObject([{ by: 'cost-limit', reason: 'left', dryRun: false }]);
    await leave({ socketPath, path: '/dry' }, () => sink.records.length === 2);
    await until(() => handled === 1, 'handler');
    expect(store.takes).toEqual([]);
  });
});

@Controller()
@UseGuards(SlowGuard)
class MessagesController {
  @MessagePattern('ip')
  @CostLimit({ ...limit, by: 'ip', name: 'rpc' })
  ip() {
    handled += 1;
  }
}

@WebSocketGateway()
@UseGuards(SlowGuard)
class SlowGateway {
  @SubscribeMessage('ip')
  @CostLimit({ ...limit, by: 'ip', name: 'ws' })
  ip() {
    handled += 1;
  }
}

@Resolver()
@UseGuards(SlowGuard)
class SlowResolver {
  @Query(() => Int, { nullable: true })
  @CostLimit({ ...limit, by: 'ip', name: 'graphql' })
  ip() {
    handled += 1;
  }
}

describe('a client that leaves while an earlier guard is at work, over another transport', () => {
  async function start() {
    const store = new NotingStore();
    handled = 0;
    const tcp = { host: '127.0.0.1', port: await freePort() };
    const test = await startApp({
      imports: [GraphQLModule.forRoot<ApolloDriverConfig>({ driver: ApolloDriver, autoSchemaFile: true })],
      controllers: [MessagesController],
      providers: [SlowGateway, SlowResolver],
      guards: { costLimit: { store } },
      configure: async app => {
        app.useWebSocketAdapter(new WsAdapter(app));
        app.connectMicroservice({ transport: Transport.TCP, options: tcp });
        await app.startAllMicroservices();
      },
    });
    running.push(test);
    return { test, store, tcp };
  }
  const refused = (test: TestApp) => (): boolean => test.app.get(ProcessFigures).refusals.length > 0;

  it('is limited under its own address in GraphQL', async () => {
    const { test, store } = await start();
    const { port } = new URL(test.url);
    const path = `/graphql?query=${encodeURIComponent('{ ip }')}`;
    const headers = { 'apollo-require-preflight': 'yes' };
    await leave({ host: '127.0.0.1', port, path, headers }, () => test.sink.records.length > 0);
    await until(() => handled === 1, 'resolver');
    expect(store.takes.at(-1)?.key).toBe('graphql|ip:127.0.0.1');
  });

  it('shares no bucket with others where it sends messages over TCP', async () => {
    const { test, store, tcp } = await start();
    const client = ClientProxyFactory.create({ transport: Transport.TCP, options: tcp });
    client.send('ip', {}).subscribe({ error: () => undefined });
    await until(() => isWaiting, 'guard');
    client.close();
    await new Promise(resolve => setTimeout(resolve, 50));
    goOn();
    await until(refused(test), 'refusal');
    expect([handled, store.takes]).toEqual([0, []]);
  });

  it('shares no bucket with others where it sends messages over WebSocket', async () => {
    const { test, store } = await start();
    const socket = new WebSocket(test.url.replace('http', 'ws'));
    await new Promise(resolve => socket.once('open', resolve));
    socket.send(JSON.stringify({ event: 'ip', data: {} }));
    await until(() => isWaiting, 'guard');
    socket.terminate();
    await new Promise(resolve => setTimeout(resolve, 50));
    goOn();
    await until(refused(test), 'refusal');
    expect([handled, store.takes]).toEqual([0, []]);
  });
});

/** 10,000 callers, no two of them the same, most of them meant to be taken for another. */
function hostileCallers(): string[] {
  const random = seeded(7);
  const callers = new Set<string>(hostileStrings);
  for (const start of [
    'u:alice',
    'alice',
    'x:127.0.0.1',
    'ip:127.0.0.1',
    'u#',
    '|',
    'a|u:b',
    ':',
    '#',
    '\ud800',
    '\udfff',
  ])
    callers.add(start);
  // Each would be the same as another where keys were cut, folded, normalised or written as UTF-8.
  for (let i = 0; i < 1_000; i++) {
    callers.add(`${'x'.repeat(63 + (i % 3))}${i}`);
    callers.add(`${'long '.repeat(40)}${i}`);
    callers.add(String.fromCharCode(0xd800 + i));
    callers.add(`lone ${String.fromCharCode(0xdc00 + (i % 1_000))} half`);
    callers.add(`\0${i}`);
    callers.add(`${i}\0`);
    callers.add(`caf\u00e9${i}`);
    callers.add(`cafe\u0301${i}`);
    callers.add(`ID${i}`);
    callers.add(`id${i}`);
  }
  while (callers.size < 10_000)
    callers.add(String.fromCodePoint(Math.floor(random() * 0x10ffff)).repeat(1 + (callers.size % 90)));
  return [...callers].slice(0, 10_000);
}

describe('the keys of callers', () => {
  const callers = hostileCallers();

  it('are all others, short and printable, whatever callers are called', () => {
    const keys = callers.flatMap(caller =>
      (['u', 'ip', 'k', 'f', 'x'] as const).map(kind => callerKey(kind, caller)),
    );
    expect(new Set(keys).size).toBe(50_000);
    for (const key of keys) expect(key).toMatch(/^[ -~]{2,67}$/);
    const names = callers.map(nameKey);
    expect(new Set(names).size).toBe(10_000);
    for (const name of names) expect(name).toMatch(/^[\w.$#-]{1,64}$/);
  });

  it('reach the store of an application, one bucket each', async () => {
    const CALLER = createContextKey<string>('caller');
    const store = new NotingStore();
    @Controller()
    class KeyController {
      @Get()
      @CostLimit({ ...limit, by: CALLER, name: 'keys' })
      get() {
        return 'ok';
      }
    }
    let next = 0;
    const test = await startApp({
      controllers: [KeyController],
      guards: { costLimit: { store } },
      configure: app => {
        const context = app.get(ContextService);
        app.use((_request: unknown, _response: unknown, go: () => void) => {
          context.set(CALLER, callers[next++]!);
          go();
        });
      },
    });
    running.push(test);
    for (let i = 0; i < 100; i++) expect((await fetch(test.url)).status).toBe(200);
    expect(new Set(store.takes.map(({ key }) => key)).size).toBe(100);
  });

  const stores: [string, boolean, () => { store: CostLimitStore; end(): Promise<unknown> }][] = [
    ['memory', true, () => ({ store: new MemoryCostLimitStore(), end: () => Promise.resolve() })],
    [
      'Redis',
      hasRedis,
      () => {
        const client = new Redis(redisUrl);
        return {
          store: new RedisCostLimitStore({ client, prefix: redisKey('hostile:') }),
          end: () => client.quit(),
        };
      },
    ],
    [
      'PostgreSQL',
      true,
      () => {
        const pool = new Pool({ connectionString: databaseUrl(), max: isEmbedded ? 1 : 4 });
        const table = `hostile_${process.pid}`;
        return {
          store: new PostgresCostLimitStore({ pool, table }),
          end: () => pool.query(`DROP TABLE IF EXISTS ${table}`).then(() => pool.end()),
        };
      },
    ],
  ];
  it.each(stores.filter(([, isUp]) => isUp))('have a bucket each in %s', async (_name, _isUp, open) => {
    const { store, end } = open();
    const bucket = { burst: 10, restorePerSecond: 0.01, need: 10, take: 10 };
    for (let i = 0; i < callers.length; i += 500) {
      const answers = await Promise.all(
        callers
          .slice(i, i + 500)
          .map(caller => store.take({ ...bucket, key: `p|${callerKey('k', caller)}` })),
      );
      expect(answers.filter(({ admitted }) => !admitted)).toEqual([]);
    }
    await end();
  });

  it('fill no more memory than they may', () => {
    const store = new MemoryCostLimitStore({ maxKeys: 1_000 });
    for (const caller of callers)
      store.take({ key: callerKey('k', caller), burst: 10, restorePerSecond: 1e-9, need: 0, take: 5 });
    expect(store.size).toBe(1_000);
  });
});
