import { ClientProxyFactory, Transport, type ClientProxy } from '@nestjs/microservices';
import { connect as connectRabbit, type Channel, type ChannelModel, type ConfirmChannel } from 'amqplib';
import {
  type Connection as CallbackModel,
  type Channel as CallbackChannel,
  connect as connectWithCallbacks,
} from 'amqplib/callback_api';
import { FlowProducer, Queue, QueueEvents, Worker } from 'bullmq';
import { Kafka, logLevel, Partitioners, type Producer } from 'kafkajs';
import { connect as connectNats, type NatsConnection, StringCodec } from 'nats';
import { firstValueFrom } from 'rxjs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ContextService, QueryBudgetExceededError } from 'nestjs-async-context';
import { amqplibInstrumentation } from '../../lib/drivers/amqplib.driver';
import { bullmqInstrumentation } from '../../lib/drivers/bullmq.driver';
import { ioredisInstrumentation } from '../../lib/drivers/ioredis/ioredis.driver';
import { kafkajsInstrumentation } from '../../lib/drivers/kafkajs.driver';
import { natsInstrumentation } from '../../lib/drivers/nats.driver';
import { type KafkaServer, startKafkaServer } from '../support/kafka-server';
import { startApp, type TestApp, until } from '../support/platforms';
import { recordOfUnit } from '../support/units';

const instrumentations = [
  bullmqInstrumentation(),
  amqplibInstrumentation(),
  natsInstrumentation(),
  kafkajsInstrumentation(),
  ioredisInstrumentation(),
];
const connection = { host: '127.0.0.1', port: 6379 };
const letters = process.pid.toString(26).replaceAll(/\d/g, digit => 'qrstuvwxyz'[Number(digit)]!);
const name = `nac-${letters}`;
const secret = Buffer.from('SECRET');

let test: TestApp;

/** Messages by target, and how many failed. */
async function messagesOf(work: () => unknown): Promise<{ errors: number; targets: Record<string, number> }> {
  const record = await recordOfUnit(test, async () => {
    await new Promise(resolve => resolve(work())).catch(() => undefined);
  });
  expect(record.queries.count).toBe(0);
  expect(record.cache?.count ?? 0).toBe(0);
  expect(JSON.stringify(record)).not.toContain('SECRET');
  const targets = Object.entries(record.messages?.byTarget ?? {}).map(([target, { count }]) => [
    target,
    count,
  ]);
  return {
    errors: record.messages?.errors ?? 0,
    targets: Object.fromEntries(targets) as Record<string, number>,
  };
}

/** 20 units of work at once, each with a number of messages of its own. */
async function chargedAtOnce(publish: () => unknown): Promise<[made: number[], charged: number[]]> {
  const made = Array.from({ length: 20 }, (_, i) => i + 1);
  const records = await Promise.all(
    made.map(times =>
      recordOfUnit(test, async () => {
        for (let i = 0; i < times; i++) await publish();
      }),
    ),
  );
  return [made, records.map(({ messages }) => messages!.count)];
}

beforeAll(async () => {
  test = await startApp({ instrumentations });
});
afterAll(() => test.close());

describe('bullmq', () => {
  let queue: Queue;
  let flows: FlowProducer;

  beforeAll(async () => {
    queue = new Queue(name, { connection });
    flows = new FlowProducer({ connection });
    await queue.waitUntilReady();
  });
  afterAll(async () => {
    await queue.obliterate({ force: true });
    await queue.close();
    await flows.close();
  });

  it.each<[string, () => unknown, Record<string, number>, number?]>([
    ['add()', () => queue.add('mail', { to: 'SECRET' }), { [name]: 1 }],
    ['a delayed job', () => queue.add('mail', {}, { delay: 60_000 }), { [name]: 1 }],
    [
      'addBulk()',
      () =>
        queue.addBulk([
          { name: 'a', data: {} },
          { name: 'b', data: {} },
        ]),
      { [name]: 2 },
    ],
    [
      'a flow',
      () => flows.add({ name: 'root', queueName: name, children: [{ name: 'child', queueName: name }] }),
      { [name]: 2 },
    ],
    ['an error', () => queue.add('mail', {}, { jobId: '0' }), { [name]: 1 }, 1],
  ])('is counted: %s, and its commands to Redis are part of it', async (_what, work, targets, errors = 0) => {
    expect(await messagesOf(work)).toEqual({ errors, targets });
  });

  it('charges 20 requests at once to their own', async () => {
    const [made, charged] = await chargedAtOnce(() => queue.add('n', {}));
    expect(charged).toEqual(made);
  });

  it('does not charge the worker to who added the job', async () => {
    const events = new QueueEvents(`${name}-work`, { connection });
    const busy = new Queue(`${name}-work`, { connection });
    await events.waitUntilReady();
    let worker: Worker | undefined;
    const record = await recordOfUnit(test, async () => {
      const job = await busy.add('n', {});
      worker = new Worker(busy.name, async () => 'done', { connection });
      await job.waitUntilFinished(events);
    });
    expect(record.messages!.count).toBe(1);
    await worker!.close();
    await busy.obliterate({ force: true });
    await Promise.all([busy.close(), events.close()]);
  });

  it('is kept back by a budget that throws', async () => {
    const app = await startApp({ instrumentations, onExceeded: 'throw', budget: { messages: 1 } });
    await app.app.get(ContextService).run({}, async () => {
      await queue.add('n', {});
      await expect(queue.add('n', {})).rejects.toBeInstanceOf(QueryBudgetExceededError);
    });
    await app.close();
  });
});

describe('amqplib', () => {
  let rabbit: ChannelModel;
  let channel: Channel;
  let confirming: ConfirmChannel;

  beforeAll(async () => {
    rabbit = await connectRabbit('amqp://guest:guest@127.0.0.1:5672');
    rabbit.on('error', () => undefined);
    channel = await rabbit.createChannel();
    confirming = await rabbit.createConfirmChannel();
    await channel.assertQueue(name, { autoDelete: true });
    await channel.assertExchange(`${name}-x`, 'fanout', { autoDelete: true });
  });
  afterAll(async () => {
    await channel.deleteQueue(name);
    await channel.deleteExchange(`${name}-x`);
    await rabbit.close();
  });

  it.each<[string, () => unknown, Record<string, number>, number?]>([
    ['publish()', () => channel.publish(`${name}-x`, 'key', secret), { [`${name}-x`]: 1 }],
    ['sendToQueue()', () => channel.sendToQueue(name, secret), { [`queue ${name}`]: 1 }],
    [
      'an id in the name of a queue',
      () => channel.sendToQueue('replies.8f3a', secret),
      { 'queue replies.*': 1 },
    ],
    [
      'a confirmation',
      () => new Promise(resolve => confirming.sendToQueue(name, secret, {}, resolve)),
      { [`queue ${name}`]: 1 },
    ],
    ['an error', () => channel.publish(`${name}-x`, 'key', 'no buffer' as never), { [`${name}-x`]: 1 }, 1],
  ])('is counted: %s', async (_what, work, targets, errors = 0) => {
    expect(await messagesOf(work)).toEqual({ errors, targets });
  });

  it('brings a confirmation back to who published', async () => {
    const context = test.app.get(ContextService);
    const seen = await Promise.all(
      [1, 2, 3].map(i =>
        context.run({ requestId: `confirm-${i}` }, () => {
          return new Promise(resolve => {
            confirming.sendToQueue(name, secret, {}, () => resolve(context.requestId));
          });
        }),
      ),
    );
    expect(seen).toEqual(['confirm-1', 'confirm-2', 'confirm-3']);
  });

  it('charges 20 requests at once, and the callback API, to their own', async () => {
    const [made, charged] = await chargedAtOnce(() => channel.sendToQueue(name, secret));
    expect(charged).toEqual(made);
    const model = await new Promise<CallbackModel>((resolve, reject) => {
      connectWithCallbacks('amqp://guest:guest@127.0.0.1:5672', (error, opened) =>
        error ? reject(error as Error) : resolve(opened),
      );
    });
    const callbacks = await new Promise<CallbackChannel>((resolve, reject) => {
      model.createChannel((error, opened) => (error ? reject(error as Error) : resolve(opened)));
    });
    const cost = await messagesOf(() => callbacks.sendToQueue(name, secret));
    expect(cost.targets).toEqual({ [`queue ${name}`]: 1 });
    await new Promise(resolve => model.close(resolve));
  });
});

describe('nats', () => {
  let nats: NatsConnection;
  const text = StringCodec();

  beforeAll(async () => {
    nats = await connectNats({ servers: '127.0.0.1:4222' });
    nats.subscribe(`${name}.echo`, { callback: (_error, message) => void message.respond(message.data) });
    const manager = await nats.jetstreamManager();
    await manager.streams.add({ name, subjects: [`${name}.stream`] });
    await nats.flush();
  });
  afterAll(async () => {
    await (await nats.jetstreamManager()).streams.delete(name);
    await nats.close();
  });

  it.each<[string, () => unknown, Record<string, number>, number?]>([
    ['publish()', () => nats.publish(`${name}.event`, text.encode('SECRET')), { [`${name}.event`]: 1 }],
    ['an id in a subject', () => nats.publish(`${name}.42.done`), { [`${name}.*.done`]: 1 }],
    ['request()', () => nats.request(`${name}.echo`, text.encode('SECRET')), { [`${name}.echo`]: 1 }],
    ['JetStream', () => nats.jetstream().publish(`${name}.stream`, secret), { [`${name}.stream`]: 1 }],
    ['an error', () => nats.publish(''), { '': 1 }, 1],
  ])('is counted: %s', async (_what, work, targets, errors = 0) => {
    expect(await messagesOf(work)).toEqual({ errors, targets });
  });

  it('charges 20 requests at once to their own', async () => {
    const [made, charged] = await chargedAtOnce(() => nats.request(`${name}.echo`));
    expect(charged).toEqual(made);
  });

  it('counts what Nest’s ClientProxy sends, also when it connects for it', async () => {
    const client: ClientProxy = ClientProxyFactory.create({
      transport: Transport.NATS,
      options: { servers: ['nats://127.0.0.1:4222'] },
    });
    // Its package is loaded by this: an application makes its clients before it has started.
    const application = await startApp({ instrumentations });
    const cost = await messagesOf(() =>
      firstValueFrom(client.emit(`${name}.nest`, { id: 1 }), { defaultValue: 0 }),
    );
    expect(cost).toEqual({ errors: 0, targets: { [`${name}.nest`]: 1 } });
    await client.close();
    await application.close();
  });
});

describe('kafkajs, at a stand-in', () => {
  let server: KafkaServer;
  let producer: Producer;
  let transactional: Producer;

  beforeAll(async () => {
    server = await startKafkaServer();
    const kafka = new Kafka({ brokers: [server.broker], logLevel: logLevel.NOTHING });
    const createPartitioner = Partitioners.DefaultPartitioner;
    producer = kafka.producer({ createPartitioner });
    transactional = kafka.producer({ createPartitioner, transactionalId: 'nac', maxInFlightRequests: 1 });
    await transactional.connect();
    await producer.connect();
  });
  afterAll(async () => {
    await Promise.all([producer.disconnect(), transactional.disconnect()]);
    await server.close();
  });

  it.each<[string, () => Promise<unknown>, Record<string, number>]>([
    [
      'send()',
      () => producer.send({ topic: 'orders', messages: [{ value: 'SECRET' }, { value: 'b' }] }),
      { orders: 2 },
    ],
    [
      'sendBatch()',
      () =>
        producer.sendBatch({
          topicMessages: [
            { topic: 'orders', messages: [{ value: 'a' }] },
            { topic: 'mails', messages: [{ value: 'a' }, { value: 'b' }] },
          ],
        }),
      { orders: 1, mails: 2 },
    ],
    [
      'a transaction',
      async () => {
        const transaction = await transactional.transaction();
        await transaction.send({ topic: 'orders', messages: [{ value: 'a' }, { value: 'b' }] });
        await transaction.commit();
      },
      { orders: 2 },
    ],
  ])('each message is counted as the broker receives it: %s', async (_what, work, targets) => {
    const before = { ...server.received };
    expect(await messagesOf(work)).toEqual({ errors: 0, targets });
    const came = Object.entries(server.received).map(([topic, count]) => [
      topic,
      count - (before[topic] ?? 0),
    ]);
    expect(Object.fromEntries(came.filter(([, count]) => count !== 0))).toEqual(targets);
  });

  it('has no address of the name of a topic', async () => {
    const send = (): Promise<unknown> =>
      producer.send({ topic: 'orders.SECRET@example.com', messages: [{ value: 'a' }] });
    expect((await messagesOf(send)).targets).toEqual({ '*': 1 });
  });

  it('gives what the bare producer gives', async () => {
    const send = (): Promise<unknown> => producer.send({ topic: 'orders', messages: [{ value: 'a' }] });
    let counted: unknown;
    await messagesOf(async () => {
      counted = await send();
    });
    expect(counted).toEqual(await send());
    expect(counted).toMatchObject([{ topicName: 'orders', errorCode: 0 }]);
  });

  it('is charged to its own, 20 at once', async () => {
    const [made, charged] = await chargedAtOnce(() =>
      producer.send({ topic: 'orders', messages: [{ value: 'a' }] }),
    );
    expect(charged).toEqual(made);
  });
});

describe('kafkajs, at a broker that refuses', () => {
  const kafka = (): Kafka =>
    new Kafka({
      brokers: ['127.0.0.1:1'],
      logLevel: logLevel.NOTHING,
      retry: { retries: 0 },
      connectionTimeout: 500,
    });

  it.each<[string, () => unknown, Record<string, number>]>([
    [
      'send()',
      () =>
        kafka()
          .producer()
          .send({ topic: 'orders', messages: [{ value: 'SECRET' }, { value: 'b' }] }),
      { orders: 2 },
    ],
    [
      'sendBatch()',
      () =>
        kafka()
          .producer()
          .sendBatch({
            topicMessages: [
              { topic: 'orders', messages: [{ value: 'a' }] },
              { topic: 'mails', messages: [{ value: 'a' }, { value: 'b' }] },
            ],
          }),
      { orders: 1, mails: 2 },
    ],
  ])('is counted, with its error: %s', async (_what, work, targets) => {
    const sum = Object.values(targets).reduce((a, b) => a + b);
    expect(await messagesOf(work)).toEqual({ errors: sum, targets });
  });

  it('is kept back by a budget that throws', async () => {
    const app = await startApp({ instrumentations, onExceeded: 'throw', budget: { messages: 1 } });
    await app.app.get(ContextService).run({}, async () => {
      const producer = kafka().producer();
      const two = { topic: 'orders', messages: [{ value: 'a' }, { value: 'b' }] };
      await expect(producer.send(two)).rejects.toBeInstanceOf(QueryBudgetExceededError);
    });
    await app.close();
  });
});

describe('the instrumentations', () => {
  it('are taken back with the last application', async () => {
    const { add } = Queue.prototype;
    const other = await startApp({ instrumentations });
    expect(Queue.prototype.add).toBe(add);
    await other.close();
    expect(Queue.prototype.add).toBe(add);
    await test.close();
    expect(Queue.prototype.add).not.toBe(add);
    test = await startApp({ instrumentations });
    await until(() => Queue.prototype.add !== undefined, 'a method');
  });
});
