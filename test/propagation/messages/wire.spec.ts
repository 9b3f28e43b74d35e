import { connect as connectNats } from '@nats-io/transport-node';
import type { MicroserviceOptions } from '@nestjs/microservices';
import { connect as connectRabbit } from 'amqplib';
import { Redis } from 'ioredis';
import { Kafka, logLevel } from 'kafkajs';
import { connectAsync } from 'mqtt';
import { once } from 'node:events';
import { createServer, type Socket } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Carrier, ContextService } from 'nestjs-async-context';
import { TENANT } from '../../support/message-receiver';
import { kafkaTransport, named, newClient, packetTransports } from '../../support/message-transports';
import { startApp, type TestApp } from '../../support/platforms';

const DATA = { id: 7, text: 'Grüße', metadata: { theirs: 1 }, headers: ['theirs'] };
const TOPIC = named('wire');

/** What somebody without Nest receives. */
interface OnTheWire {
  readonly body: string;
  readonly headers?: Record<string, unknown>;
}

interface Tap {
  readonly received: Promise<OnTheWire>;
  close(): unknown;
}

type Listen = (transport: MicroserviceOptions) => Promise<Tap>;

const listeners: Record<string, Listen> = {
  async TCP({ options }) {
    const { port } = options as { port: number };
    const server = createServer();
    const received = once(server, 'connection').then(async ([socket]) => {
      const [chunk] = (await once(socket as Socket, 'data')) as [Buffer];
      return { body: chunk.toString().replace(/^\d+#/, '') };
    });
    server.listen(port, '127.0.0.1');
    await once(server, 'listening');
    return { received, close: () => server.close() };
  },
  async Redis() {
    const redis = new Redis(6379, '127.0.0.1');
    await redis.subscribe(TOPIC);
    const received = once(redis, 'message').then(([, body]) => ({ body: String(body) }));
    return { received, close: () => redis.quit() };
  },
  async NATS() {
    const connection = await connectNats({ servers: 'nats://127.0.0.1:4222' });
    const received = new Promise<OnTheWire>(resolve => {
      connection.subscribe(TOPIC, {
        callback: (_error, message) =>
          resolve({
            body: message.string(),
            headers: Object.fromEntries([...message.headers!].map(([name, [value]]) => [name, value])),
          }),
      });
    });
    await connection.flush();
    return { received, close: () => connection.close() };
  },
  async MQTT() {
    const connection = await connectAsync('mqtt://127.0.0.1:1883', { protocolVersion: 5 });
    const received = new Promise<OnTheWire>(resolve => {
      connection.once('message', (_topic, body) => resolve({ body: String(body) }));
    });
    await connection.subscribeAsync(TOPIC);
    return { received, close: () => connection.endAsync() };
  },
  async RabbitMQ({ options }) {
    const connection = await connectRabbit('amqp://127.0.0.1:5672');
    const channel = await connection.createChannel();
    const { queue, queueOptions } = options as { queue: string; queueOptions: object };
    await channel.assertQueue(queue, queueOptions);
    const received = new Promise<OnTheWire>(resolve => {
      void channel.consume(queue, message =>
        resolve({ body: message!.content.toString(), headers: message!.properties.headers }),
      );
    });
    return { received, close: () => connection.close() };
  },
  async Kafka({ options }) {
    const { brokers } = (options as { client: { brokers: string[] } }).client;
    const consumer = new Kafka({ brokers, logLevel: logLevel.NOTHING }).consumer({
      groupId: named('raw'),
      maxWaitTimeInMs: 100,
    });
    await consumer.connect();
    await consumer.subscribe({ topics: [TOPIC] });
    const received = new Promise<OnTheWire>((resolve, reject) => {
      consumer
        .run({
          eachMessage: async ({ message: { value, headers } }) =>
            resolve({
              body: String(value),
              headers: Object.fromEntries(
                Object.entries(headers ?? {}).map(([name, text]) => [name, String(text)]),
              ),
            }),
        })
        .catch(reject);
    });
    return { received, close: () => consumer.disconnect() };
  },
};

describe.each([...packetTransports, ['Kafka (stood in for)', kafkaTransport] as const])(
  'on the wire of %s',
  (name, { isUp, options }) => {
    let sender: TestApp;
    beforeAll(async () => {
      sender = await startApp({ propagate: { messages: true } });
    });
    afterAll(async () => {
      await sender.close();
      await kafkaTransport.close();
    });

    it.skipIf(!isUp)('the data is what the application has sent, and nothing is added to it', async () => {
      const kind = name.split(' ')[0]!;
      const transport = await options();
      const tap = await listeners[kind]!(transport);
      const client = newClient(transport);
      await client.connect();
      const context = sender.app.get(ContextService);
      const carrier: Carrier = context.run({ values: new Map([[TENANT, 'acme']]) }, () => {
        client.emit(TOPIC, DATA);
        return context.carry();
      });
      const { body, headers } = await tap.received;
      const withHeaders = ['NATS', 'RabbitMQ', 'Kafka'].includes(kind);
      if (kind === 'Kafka') expect(body).toBe(JSON.stringify(DATA));
      else {
        const packet = { pattern: TOPIC, data: DATA };
        expect(JSON.parse(body)).toEqual(withHeaders ? packet : { ...packet, metadata: carrier });
      }
      if (withHeaders) expect(headers).toMatchObject(carrier);
      expect(Object.keys(carrier)).toEqual(['traceparent', 'x-request-id', 'x-async-context']);
      await client.close();
      await tap.close();
    });
  },
);
