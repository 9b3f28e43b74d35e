import { Logger } from '@nestjs/common';
import {
  ClientProxyFactory,
  ClientsModule,
  type ClientProxy,
  NatsRecordBuilder,
  Transport,
} from '@nestjs/microservices';
import { connect as connectRabbit } from 'amqplib';
import Redis from 'ioredis';
import { connect as connectNats, headers, type JetStreamManager, type NatsConnection } from 'nats';
import { afterAll, afterEach, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import {
  AsyncContextModule,
  ContextService,
  type CostRecord,
  MemorySink,
  ProcessFigures,
} from 'nestjs-async-context';
import { ClientProxySink, type ClientProxySinkOptions } from 'nestjs-async-context/microservices';
import { clientOf, optionsOf, PATTERN, REQUESTS, startBroker, startConsumer } from '../../support/broker';
import { startKafkaServer } from '../../support/kafka-server';
import { canStart, type OwnServer, SERVERS } from '../../support/own-server';
import { platforms, startApp, until } from '../../support/platforms';
import { recordOf } from '../../support/records';
import { isReachable } from '../../support/servers';

const records = (count: number, from = 0): CostRecord[] =>
  Array.from({ length: count }, (_, i) => recordOf(`r-${from + i}`));
const failureOf = (write: Promise<void>): Promise<Error & { delivered?: number; rejected?: number }> =>
  write.then(
    () => Promise.reject(new Error('it was delivered')),
    (error: Error) => error,
  );
const freeTcpPort = 20_000 + (process.pid % 10_000);

function sinkFor(client: ClientProxySinkOptions['client'], more: Partial<ClientProxySinkOptions> = {}) {
  const sink = new ClientProxySink({ client, pattern: PATTERN, timeoutMs: 2_000, ...more });
  onTestFinished(() => sink.close());
  return sink;
}

beforeAll(() => Logger.overrideLogger(false));

const isCi = Boolean(process.env['CI']);
const hasRabbit = isCi || (await isReachable(5672));
afterAll(() => (hasRabbit ? deleteQueue(PATTERN) : undefined));
if (!hasRabbit) console.warn('skipped: no RabbitMQ at port 5672; start one with `rabbitmq-server`');

describe.each([
  { name: 'redis', canRun: canStart(SERVERS.redis) },
  { name: 'nats', canRun: canStart(SERVERS.nats) },
  { name: 'mqtt', canRun: canStart(SERVERS.mqtt) },
  { name: 'rabbitmq', canRun: hasRabbit },
  { name: 'tcp', canRun: true },
] as const)('over $name', ({ name, canRun }) => {
  let server: OwnServer | undefined;
  let consumer: Awaited<ReturnType<typeof startConsumer>>;
  let make: () => ClientProxy;

  beforeAll(async () => {
    if (!canRun) return;
    if (name !== 'rabbitmq' && name !== 'tcp') server = await startBroker(name);
    const port = server?.port ?? (name === 'tcp' ? freeTcpPort : 5672);
    consumer = await startConsumer(optionsOf(name, port));
    make = () => clientOf(name, port);
  });
  afterEach(() => {
    consumer?.times.clear();
    consumer.messages = 0;
  });
  afterAll(async () => {
    await consumer?.close();
    await server?.remove();
  });

  it.runIf(canRun)('a subscriber gets what was written, in lists, each record once', async () => {
    await sinkFor(make).write(records(1_000));
    await until(() => consumer.count === 1_000, 'records');
    expect(consumer.duplicates).toBe(0);
    // About 620 bytes each, in messages of 256 KB.
    expect(consumer.messages).toBeGreaterThan(1);
    expect(consumer.messages).toBeLessThan(10);
  });

  it.runIf(canRun)('a request is delivered when a handler has answered it', async () => {
    const sink = sinkFor(make, { pattern: REQUESTS, awaitReply: true, recordsPerMessage: 6 });
    await sink.write(records(60));
    await sink.write(records(60, 60));
    expect([consumer.count, consumer.messages, consumer.duplicates]).toEqual([120, 20, 0]);
  });

  it.runIf(canRun)('a request that nobody answers is not delivered', async () => {
    const sink = sinkFor(make, { pattern: `${PATTERN}-nobody`, awaitReply: true, timeoutMs: 200 });
    expect(await failureOf(sink.write(records(3)))).toMatchObject({ delivered: 0 });
  });
});

async function deleteQueue(name: string): Promise<void> {
  const connection = await connectRabbit('amqp://guest:guest@127.0.0.1:5672');
  const channel = await connection.createChannel();
  await channel.deleteQueue(name);
  await connection.close();
}

describe.runIf(canStart(SERVERS.redis))('a server of Redis', () => {
  let server: OwnServer;
  beforeAll(async () => {
    server = await startBroker('redis');
  });
  afterAll(() => server.remove());
  const make = () => clientOf('redis', server.port);

  it('forgets what nobody listens to, and the sink cannot tell', async () => {
    await expect(sinkFor(make).write(records(3))).resolves.toBeUndefined();
    expect(
      await failureOf(sinkFor(make, { awaitReply: true, timeoutMs: 200 }).write(records(3))),
    ).toMatchObject({
      message: 'neither accepted nor rejected within 200 ms',
    });
  });

  it.each(platforms)(
    'takes records of a client that is injected, and is left at shutdown, on %s',
    async platform => {
      const consumer = await startConsumer(optionsOf('redis', server.port));
      const redis = new Redis(server.port, '127.0.0.1');
      onTestFinished(() => redis.disconnect());
      const connections = async () =>
        String(await redis.client('LIST'))
          .trim()
          .split('\n').length;
      const before = await connections();
      const test = await startApp({
        platform,
        module: AsyncContextModule.forRootAsync({
          imports: [
            ClientsModule.register([{ name: 'COST_RECORDS', ...optionsOf('redis', server.port) } as never]),
          ],
          inject: ['COST_RECORDS'],
          useFactory: (client: ClientProxy) => ({
            sinks: [new ClientProxySink({ client, pattern: PATTERN })],
            sinkQueue: { intervalMs: 20 },
          }),
        }),
      });
      const context = test.app.get(ContextService);
      const figures = test.app.get(ProcessFigures);
      context.run({ requestId: 'first' }, () => undefined);
      await until(() => consumer.times.get('first'), 'record');
      context.run({ requestId: 'last' }, () => undefined);
      await test.close();
      await until(() => consumer.times.get('last'), 'record of the last moment');
      for (let tries = 0; (await connections()) > before; tries++) {
        if (tries > 100) throw new Error('its connections are still open');
        await new Promise(resolve => setTimeout(resolve, 10));
      }
      expect(figures.sinkStats).toMatchObject([{ produced: 2, delivered: 2, dropped: 0, queued: 0 }]);
      await consumer.close();
    },
  );

  it('is not charged to anybody, nor reported as lost', async () => {
    const test = await startApp({ sinks: [sinkFor(make)] });
    const context = test.app.get(ContextService);
    const figures = test.app.get(ProcessFigures);
    for (let i = 0; i < 20; i++) context.run({}, () => undefined);
    await until(() => figures.sinkStats[1]!.delivered === 20, 'records at the broker');
    expect(figures.attribution).toMatchObject({ charged: 0, late: 0, lost: 0 });
    expect(
      test.sink.records.filter(({ messages, cache }) => messages !== undefined || cache !== undefined),
    ).toEqual([]);
    await test.close();
  });

  it('is asked by another client when one has failed three times', async () => {
    let made = 0;
    const sink = sinkFor(() => {
      made += 1;
      return ClientProxyFactory.create({
        transport: Transport.REDIS,
        options: { host: '127.0.0.1', port: 1 },
      });
    });
    for (const clients of [1, 1, 1, 2, 2, 2, 3]) {
      await failureOf(sink.write(records(1)));
      expect(made).toBe(clients);
    }
  });
});

describe.runIf(canStart(SERVERS.nats))('JetStream', () => {
  let server: OwnServer;
  let nats: NatsConnection;
  let streams: JetStreamManager['streams'];
  beforeAll(async () => {
    server = await startBroker('nats');
    nats = await connectNats({ port: server.port });
    ({ streams } = await nats.jetstreamManager());
  });
  afterAll(async () => {
    await nats.close();
    await server.remove();
  });
  const stored = async (name: string) => (await streams.info(name)).state.messages;
  const make = () => clientOf('nats', server.port);

  it('has stored what it has acknowledged', async () => {
    await streams.add({ name: 'COSTS', subjects: ['costs.>'] });
    const sink = sinkFor(make, { pattern: 'costs.shop', awaitReply: true, recordsPerMessage: 1 });
    await sink.write(records(100));
    expect(await stored('COSTS')).toBe(100);
  });

  it('refuses what a full stream cannot take: what was stored before is delivered', async () => {
    await streams.add({ name: 'FULL', subjects: ['full.>'], max_msgs: 20, discard: 'new' as never });
    const sink = sinkFor(make, { pattern: 'full.shop', awaitReply: true, recordsPerMessage: 2 });
    expect(await failureOf(sink.write(records(100)))).toMatchObject({
      message: 'JetStream: maximum messages exceeded',
      delivered: 40,
    });
    expect(await stored('FULL')).toBe(20);
  });

  it('stores a message once that came twice, where it has an id', async () => {
    await streams.add({ name: 'ONCE', subjects: ['once.>'] });
    const message: ClientProxySinkOptions['message'] = data => {
      const list = [data].flat();
      const id = headers();
      id.set('Nats-Msg-Id', `${list[0]?.requestId} ${list.length}`);
      return new NatsRecordBuilder(data).setHeaders(id).build();
    };
    const sink = sinkFor(make, { pattern: 'once.shop', awaitReply: true, recordsPerMessage: 10, message });
    await sink.write(records(100));
    await sink.write(records(60, 40));
    expect(await stored('ONCE')).toBe(10);
  });

  it('is missed at once where no stream has the subject', async () => {
    const sink = sinkFor(make, { pattern: 'no.stream', awaitReply: true });
    expect((await failureOf(sink.write(records(1)))).message).toMatch(/^Empty response/);
  });
});

describe.runIf(canStart(SERVERS.nats))('a message that is too large for the server', () => {
  it('is refused for good, by itself', async () => {
    const server = await startBroker('nats');
    onTestFinished(() => server.remove());
    const consumer = await startConsumer(optionsOf('nats', server.port));
    onTestFinished(() => consumer.close());
    const message: ClientProxySinkOptions['message'] = data =>
      [data].flat()[0]?.requestId === 'r-3' ? 'x'.repeat(1_048_577) : data;
    const sink = sinkFor(() => clientOf('nats', server.port), { message, recordsPerMessage: 1 });
    const test = await startApp({ sinks: [sink], sinkQueue: { retryDelayMs: 20 } });
    const context = test.app.get(ContextService);
    const figures = test.app.get(ProcessFigures);
    for (let i = 0; i < 10; i++) context.run({ requestId: `r-${i}` }, () => undefined);
    await until(() => figures.sinkStats[1]!.delivered === 9, 'the others');
    expect(figures.sinkStats[1]).toMatchObject({ produced: 10, delivered: 9, dropped: 1, queued: 0 });
    await until(() => consumer.count === 9, 'records');
    await test.close();
  });
});

describe.runIf(hasRabbit)('RabbitMQ', () => {
  const queue = `${PATTERN}-durable`;
  afterAll(() => deleteQueue(queue));

  it('is told to keep the messages, and has confirmed them', async () => {
    const options = { urls: ['amqp://guest:guest@127.0.0.1:5672'], queue, queueOptions: { durable: true } };
    const sink = sinkFor(() => ClientProxyFactory.create({ transport: Transport.RMQ, options }));
    await sink.write(records(10));
    const connection = await connectRabbit('amqp://guest:guest@127.0.0.1:5672');
    const channel = await connection.createChannel();
    const message = await channel.get(queue, { noAck: true });
    await connection.close();
    expect(message && message.properties.deliveryMode).toBe(2);
    expect(JSON.parse(String(message && message.content))).toMatchObject({
      pattern: PATTERN,
      data: records(10),
    });
  });
});

describe.runIf(hasRabbit)('a sink that is closed while its client connects', () => {
  it('leaves no rejection that nobody handles', async () => {
    const unhandled: unknown[] = [];
    const note = (reason: unknown) => unhandled.push(reason);
    process.on('unhandledRejection', note);
    onTestFinished(() => void process.off('unhandledRejection', note));
    for (let ms = 1; ms <= 20; ms++) {
      const client = () => clientOf('rabbitmq', 5672);
      const sink = new ClientProxySink({ client, pattern: REQUESTS, awaitReply: true, timeoutMs: ms });
      await sink.write(records(1)).catch(() => undefined);
      await sink.close();
    }
    expect(unhandled).toEqual([]);
  });
});

describe('Kafka, as far as a stand-in for its protocol can show', () => {
  it('gets a message for each record, with its request id as the key, in one request', async () => {
    const kafka = await startKafkaServer();
    const sent: unknown[] = [];
    const sink = sinkFor(() =>
      ClientProxyFactory.create({
        transport: Transport.KAFKA,
        options: {
          client: { brokers: [kafka.broker] },
          producerOnlyMode: true,
          serializer: {
            serialize: (message: { key: string; value: object }) => {
              sent.push(message);
              return { key: message.key, value: JSON.stringify(message.value) };
            },
          },
        },
      }),
    );
    await sink.write(records(300));
    expect(kafka.received).toEqual({ [PATTERN]: 300 });
    expect(sent[7]).toEqual({ key: 'r-7', value: recordOf('r-7') });
    await sink.close();
    await kafka.close();
  });

  it('acknowledges events: awaitReply is refused', () => {
    const client = ClientProxyFactory.create({ transport: Transport.KAFKA, options: {} });
    expect(() => new ClientProxySink({ client, awaitReply: true })).toThrow(
      'new ClientProxySink({ awaitReply }) is true. Omit it: Kafka acknowledges events.',
    );
  });
});

describe.runIf(canStart(SERVERS.mqtt))('a broker that hangs', () => {
  it('makes a write fail in time, and the client sit on 64 messages at most', async () => {
    const server = await startBroker('mqtt');
    onTestFinished(() => server.remove());
    const sink = sinkFor(() => clientOf('mqtt', server.port), { timeoutMs: 50, recordsPerMessage: 1 });
    await taken(sink);
    server.freeze();
    const failures: string[] = [];
    for (let i = 0; i < 6; i++) failures.push((await failureOf(sink.write(records(16)))).message);
    expect(failures).toEqual([
      ...Array(4).fill('neither accepted nor rejected within 50 ms'),
      ...Array(2).fill('the client has neither accepted nor rejected 64 messages yet'),
    ]);
    server.thaw();
    await taken(sink);
  });

  async function taken(sink: ClientProxySink): Promise<void> {
    const isTaken = () =>
      sink.write(records(1)).then(
        () => true,
        () => false,
      );
    for (let tries = 0; !(await isTaken()); tries++) {
      expect(tries).toBeLessThan(200);
      await new Promise(resolve => setTimeout(resolve, 20));
    }
  }
});

describe('options', () => {
  const client = ClientProxyFactory.create({ transport: Transport.TCP });
  const least = { client, recordsPerMessage: 1, maxMessageBytes: 65_538, timeoutMs: 1 };
  const most = { client, recordsPerMessage: 10_000, maxMessageBytes: 16_777_216, timeoutMs: 600_000 };

  it.each<[string, ClientProxySinkOptions]>([
    ['the least', least],
    ['the most', most],
    ['a pattern of several parts', { client, pattern: { cmd: 'costs' } }],
  ])('can be %s', (_what, options) => {
    expect(() => new ClientProxySink(options)).not.toThrow();
  });

  it.each<[string, object]>([
    ['client', {}],
    ['client', { client: 'nats://127.0.0.1' }],
    ['pattern', { client, pattern: '' }],
    ['recordsPerMessage', { client, recordsPerMessage: 0 }],
    ['recordsPerMessage', { client, recordsPerMessage: 10_001 }],
    ['maxMessageBytes', { client, maxMessageBytes: 65_537 }],
    ['maxMessageBytes', { client, maxMessageBytes: 16_777_217 }],
    ['awaitReply', { client, awaitReply: 'yes' }],
    ['timeoutMs', { client, timeoutMs: 0 }],
    ['timeoutMs', { client, timeoutMs: 600_001 }],
    ['key', { client, key: 'requestId' }],
    ['message', { client, message: {} }],
    ['topic', { client, topic: 'costs' }],
  ])('say that it is wrong: %s', (name, options) => {
    expect(() => new ClientProxySink(options as never)).toThrow(`new ClientProxySink({ ${name} }) is `);
  });

  it('bound the bytes of a message: the last record that fits, and the first that does not', async () => {
    const sent: { data: readonly CostRecord[] }[] = [];
    const consumer = await startConsumer(optionsOf('tcp', freeTcpPort));
    const own = ClientProxyFactory.create({
      transport: Transport.TCP,
      options: { port: freeTcpPort, serializer: { serialize: packet => (sent.push(packet), packet) } },
    });
    const record = recordOf('r', {}, { handler: 'h'.repeat(30_000) });
    const bytes = (count: number) => JSON.stringify(Array(count).fill(record)).length + 1;
    const sink = (maxMessageBytes: number) =>
      new ClientProxySink({ client: own, pattern: PATTERN, maxMessageBytes });
    await sink(bytes(3)).write([record, record, record]);
    await sink(bytes(3) - 1).write([record, record, record]);
    expect(sent.map(({ data }) => data.length)).toEqual([3, 2, 1]);
    await own.close();
    await consumer.close();
  });

  it('make a message of one record that record, and not a list', async () => {
    const sent: unknown[] = [];
    const consumer = await startConsumer(optionsOf('tcp', freeTcpPort));
    const own = ClientProxyFactory.create({
      transport: Transport.TCP,
      options: { port: freeTcpPort, serializer: { serialize: packet => (sent.push(packet.data), packet) } },
    });
    await new ClientProxySink({ client: own, pattern: PATTERN, recordsPerMessage: 1 }).write(records(2));
    expect(sent).toEqual(records(2));
    await own.close();
    await consumer.close();
  });
});

describe('what is sent', () => {
  it('carries nobody’s context, also when it is written in a request that connects the client', async () => {
    const test = await startApp({ sinks: [new MemorySink()] });
    const context = test.app.get(ContextService);
    const consumer = await startConsumer(optionsOf('tcp', freeTcpPort));
    const seen: unknown[] = [];
    const client = ClientProxyFactory.create({
      transport: Transport.TCP,
      options: {
        port: freeTcpPort,
        serializer: { serialize: packet => (seen.push(context.requestId), packet) },
      },
    });
    const sink = new ClientProxySink({ client, pattern: PATTERN });
    await context.run({ requestId: 'someone' }, () => sink.write(records(1)));
    expect(seen).toEqual([undefined]);
    await client.close();
    await consumer.close();
    await test.close();
  });
});
