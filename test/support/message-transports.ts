import { Transport, type MicroserviceOptions } from '@nestjs/microservices';
import { createServer } from 'node:net';
import { join } from 'node:path';
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

export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as { port: number };
  await new Promise(resolve => server.close(resolve));
  return port;
}
