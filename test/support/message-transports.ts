import {
  ClientKafka,
  type ClientProxy,
  ClientProxyFactory,
  type MicroserviceOptions,
  Transport,
} from '@nestjs/microservices';
import { logLevel, Partitioners } from 'kafkajs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { KafkaConsumers } from './kafka-consumers';
import { type KafkaServer, startKafkaServer } from './kafka-server';
import { isReachable } from './servers';

/** No subject, topic or queue of one test process is that of another. */
export const named = (name: string): string => `nac-messages-${process.pid}-${name}`;

export interface MessageTransport {
  readonly isUp: boolean;
  options(): Promise<MicroserviceOptions>;
}

export const protoPath = join(import.meta.dirname, 'echo.proto');

function transport(
  name: string,
  options: () => Promise<MicroserviceOptions> | MicroserviceOptions,
  port?: number,
  command?: string,
): Promise<[name: string, transport: MessageTransport]> {
  return (port === undefined ? Promise.resolve(true) : isReachable(port)).then(isReachable => [
    isReachable ? name : `${name} (skipped: nothing at port ${port}; ${command})`,
    { isUp: isReachable || Boolean(process.env['CI']), options: async () => options() },
  ]);
}

const mqtt = (protocolVersion: 4 | 5): MicroserviceOptions =>
  ({
    transport: Transport.MQTT,
    options: { url: 'mqtt://127.0.0.1:1883', protocolVersion },
  }) as MicroserviceOptions;

let queues = 0;

/** Those whose clients have `send()` and `emit()`. */
export const packetTransports = await Promise.all([
  transport('TCP', async () => ({
    transport: Transport.TCP,
    options: { host: '127.0.0.1', port: await freePort() },
  })),
  transport(
    'Redis',
    () => ({ transport: Transport.REDIS, options: { host: '127.0.0.1', port: 6379 } }),
    6379,
    'start `redis-server`',
  ),
  transport(
    'NATS',
    () => ({ transport: Transport.NATS, options: { servers: ['nats://127.0.0.1:4222'] } }),
    4222,
    'start `nats-server`',
  ),
  transport('MQTT 3.1.1', () => mqtt(4), 1883, 'start `mosquitto`'),
  transport('MQTT 5', () => mqtt(5), 1883, 'start `mosquitto`'),
  transport(
    'RabbitMQ',
    () => ({
      transport: Transport.RMQ,
      options: {
        urls: ['amqp://127.0.0.1:5672'],
        queue: named(`queue-${(queues += 1)}`),
        queueOptions: { durable: false, autoDelete: true },
      },
    }),
    5672,
    'start `rabbitmq-server`',
  ),
]);

/** A client that may ask; Kafka's has to say before what answers it takes. */
export function newClient(transport: MicroserviceOptions, more: object = {}): ClientProxy {
  const options = { ...transport.options, ...more };
  const client = ClientProxyFactory.create({ ...transport, options } as never) as unknown as ClientProxy;
  const kafka: object = client;
  if (kafka instanceof ClientKafka) {
    for (const pattern of ['echo', 'stream', 'headers']) kafka.subscribeToResponseOf(named(pattern));
  }
  return client;
}

const kafkaServers: KafkaServer[] = [];

/** Kafka is stood in for: its clients are real, its broker is not, and is a new one each time. */
export const kafkaTransport: MessageTransport & { close(): Promise<unknown> } = {
  isUp: true,
  close: () => Promise.all(kafkaServers.splice(0).map(server => server.close())),
  options: async () => {
    const server = await startKafkaServer(new KafkaConsumers());
    kafkaServers.push(server);
    return {
      transport: Transport.KAFKA,
      options: {
        client: { brokers: [server.broker], logLevel: logLevel.NOTHING },
        consumer: { groupId: named('group'), maxWaitTimeInMs: 100 },
        producer: { createPartitioner: Partitioners.DefaultPartitioner },
      },
    };
  },
};

export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as { port: number };
  await new Promise(resolve => server.close(resolve));
  return port;
}
