import { Controller, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import {
  type ClientOptions,
  type ClientProxy,
  ClientProxyFactory,
  EventPattern,
  MessagePattern,
  type MicroserviceOptions,
  Payload,
  Transport,
} from '@nestjs/microservices';
import type { CostRecord } from 'nestjs-async-context';
import { LogLines } from './platforms';
import { OwnServer, type ServerProgram, SERVERS } from './own-server';

/** No other process of the tests uses it. */
export const PATTERN = `nac-records-${process.pid}`;
/** The same for who answers. */
export const REQUESTS = `${PATTERN}-requests`;

export type BrokerName = 'redis' | 'nats' | 'mqtt' | 'rabbitmq' | 'tcp';

/** How Nest's clients and servers reach a broker, set up to come back after an outage. */
export function optionsOf(name: BrokerName, port: number): ClientOptions & MicroserviceOptions {
  switch (name) {
    case 'redis':
      return {
        transport: Transport.REDIS,
        options: { host: '127.0.0.1', port, retryAttempts: 1_000_000, retryDelay: 50 },
      };
    case 'nats':
      return {
        transport: Transport.NATS,
        options: { servers: `127.0.0.1:${port}`, maxReconnectAttempts: -1, reconnectTimeWait: 50 },
      };
    case 'mqtt':
      return {
        transport: Transport.MQTT,
        options: { url: `mqtt://127.0.0.1:${port}`, reconnectPeriod: 50 },
      };
    case 'rabbitmq':
      return {
        transport: Transport.RMQ,
        options: {
          urls: [`amqp://guest:guest@127.0.0.1:${port}`],
          queue: PATTERN,
          queueOptions: { durable: true },
          noAck: true,
          socketOptions: { reconnectTimeInSeconds: 0.2, heartbeatIntervalInSeconds: 2 },
        },
      };
    case 'tcp':
      return { transport: Transport.TCP, options: { host: '127.0.0.1', port } };
  }
}

/** The same for a consumer for whom the broker keeps what comes while it is away, where it can. */
export function consumerOptionsOf(name: BrokerName, port: number): MicroserviceOptions {
  if (name !== 'mqtt') return optionsOf(name, port);
  return {
    transport: Transport.MQTT,
    options: {
      url: `mqtt://127.0.0.1:${port}`,
      reconnectPeriod: 50,
      clientId: PATTERN,
      clean: false,
      subscribeOptions: { qos: 1 },
    },
  };
}

export function clientOf(name: BrokerName, port: number): ClientProxy {
  return ClientProxyFactory.create(optionsOf(name, port) as ClientOptions) as ClientProxy;
}

/** What arrived, and how often. */
export class Received {
  readonly times = new Map<string, number>();
  messages = 0;

  add(data: unknown): void {
    this.messages += 1;
    for (const { requestId } of [data as CostRecord].flat()) {
      this.times.set(requestId, (this.times.get(requestId) ?? 0) + 1);
    }
  }

  get count(): number {
    return this.times.size;
  }

  get duplicates(): number {
    return [...this.times.values()].reduce((sum, times) => sum + times - 1, 0);
  }
}

/** A Nest microservice that takes records, and answers those that ask. */
export async function startConsumer(
  options: MicroserviceOptions,
): Promise<Received & { close(): Promise<void> }> {
  const received = new Received();
  @Controller()
  class Records {
    @EventPattern(PATTERN)
    take(@Payload() data: unknown) {
      received.add(data);
    }

    @MessagePattern(REQUESTS)
    answer(@Payload() data: unknown) {
      received.add(data);
      return { taken: true };
    }
  }
  @Module({ controllers: [Records] })
  class ConsumerModule {}
  const app = await NestFactory.createMicroservice<MicroserviceOptions>(ConsumerModule, {
    ...options,
    logger: new LogLines(),
  });
  await app.listen();
  return Object.assign(received, { close: () => app.close() });
}

/** The server that a transport needs; TCP has none but its consumer. */
export function startBroker(name: Exclude<BrokerName, 'tcp'>): Promise<OwnServer> {
  return OwnServer.start(SERVERS[name] satisfies ServerProgram);
}
