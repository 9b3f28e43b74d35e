import {
  type ClientOptions,
  ClientProxyFactory,
  type MicroserviceOptions,
  Transport,
} from '@nestjs/microservices';
import { ClientProxySink } from 'nestjs-async-context/microservices';

export const PATTERN = 'cost-records';

/** What Nest needs to know of a broker, on both sides: `nats://127.0.0.1:4222`, `redis://127.0.0.1:6379`. */
export function brokerAt(url: string): ClientOptions & MicroserviceOptions {
  const { protocol, hostname, port, host } = new URL(url);
  switch (protocol) {
    case 'nats:':
      return { transport: Transport.NATS, options: { servers: host, maxReconnectAttempts: -1 } };
    case 'redis:':
      return {
        transport: Transport.REDIS,
        options: { host: hostname, port: Number(port || 6379), retryAttempts: 1_000_000, retryDelay: 1_000 },
      };
    default:
      throw new Error(`no broker at ${url}: use nats://… or redis://…`);
  }
}

/** A record is delivered when the consumer has answered, and so when it is in the database. */
export function recordsTo(url: string): ClientProxySink {
  const broker = brokerAt(url);
  return new ClientProxySink({
    client: () => ClientProxyFactory.create(broker as ClientOptions),
    pattern: PATTERN,
    awaitReply: true,
  });
}
