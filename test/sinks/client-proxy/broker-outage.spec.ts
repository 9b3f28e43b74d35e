import { Logger } from '@nestjs/common';
import { ClientProxyFactory, Transport } from '@nestjs/microservices';
import { connect as connectNats, type NatsConnection } from 'nats';
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { ClientProxySink } from 'nestjs-async-context/microservices';
import {
  clientOf,
  consumerOptionsOf,
  PATTERN,
  Received,
  startBroker,
  startConsumer,
} from '../../support/broker';
import { startKafkaServer } from '../../support/kafka-server';
import { canStart, type OwnServer, SERVERS } from '../../support/own-server';
import { type OutageResult, runOutage } from '../../support/sink-outage';

/** With `SINK_RECORDS=100000 SINK_OUTAGE_MS=60000` as large and as long as that. */
const isFull = process.env['SINK_OUTAGE_MS'] !== undefined;
const scale = isFull ? {} : { records: 900, outageMs: 400 };
/** What is under way when the server goes away: it was taken, or not, and is sent again. */
const BATCH = 512;
const CAPACITY = 2_048;

beforeAll(() => Logger.overrideLogger(false));

interface Arrived {
  readonly count: number;
  readonly duplicates: number;
}

function report(
  what: string,
  { stats, inOutage, heapMb, answers, caughtUpMs }: OutageResult,
  arrived: Arrived,
): void {
  if (!isFull) return;
  const { during } = answers;
  const { count, duplicates } = arrived;
  console.log(
    JSON.stringify({ what, ...stats, received: count, duplicates, inOutage, heapMb, during, caughtUpMs }),
  );
}

function expectBounded({ stats, answers, heapMb }: OutageResult): void {
  expect(stats).toMatchObject({ queued: 0, produced: stats.delivered + stats.dropped });
  for (const { count, failed } of Object.values(answers)) expect([count > 0, failed]).toEqual([true, 0]);
  expect(heapMb.during - heapMb.before).toBeLessThan(48);
  expect(heapMb.after - heapMb.before).toBeLessThan(48);
}

describe.each([
  // Who listens is away as long as the broker, and comes back after the sink: what is sent meanwhile is lost.
  { name: 'redis', keeps: false },
  { name: 'nats', keeps: false },
  { name: 'mqtt', keeps: true },
  { name: 'rabbitmq', keeps: true },
] as const)('an outage of $name', { timeout: 900_000 }, ({ name, keeps }) => {
  // RabbitMQ takes 3 s to start on a machine that is idle, and 20 s on one that is not.
  const canRun = (isFull || name !== 'rabbitmq') && canStart(SERVERS[name]);
  let server: OwnServer;
  let consumer: Awaited<ReturnType<typeof startConsumer>>;
  beforeEach(async () => {
    if (!canRun) return;
    server = await startBroker(name);
    consumer = await startConsumer(consumerOptionsOf(name, server.port));
  });
  afterEach(async () => {
    await consumer?.close();
    await server?.remove();
  });

  it.runIf(canRun)(
    keeps
      ? 'loses nothing that is delivered, and nothing that is not counted'
      : 'loses nothing that is not counted, but what is sent before its subscriber is back',
    async () => {
      const sink = new ClientProxySink({ client: () => clientOf(name, server.port), pattern: PATTERN });
      const result = await runOutage({
        ...scale,
        sink,
        stop: () => server.stop(),
        start: () => server.start(),
      });
      const { delivered, produced } = result.stats;
      await rest(consumer);
      report(name, result, consumer);
      expectBounded(result);
      expect(consumer.count).toBeGreaterThanOrEqual(keeps ? delivered : delivered - CAPACITY);
      expect(consumer.count).toBeLessThanOrEqual(produced);
      expect(consumer.duplicates).toBeLessThanOrEqual(BATCH);
    },
  );
});

/** Waits until nothing more arrives. */
async function rest(received: Received): Promise<void> {
  for (let before = -1; before !== received.messages;) {
    before = received.messages;
    await new Promise(resolve => setTimeout(resolve, isFull ? 2_000 : 400));
  }
}

describe.runIf(canStart(SERVERS.nats))('an outage of JetStream', { timeout: 900_000 }, () => {
  it('loses nothing that is acknowledged, and nothing that is not counted', async () => {
    const server = await startBroker('nats');
    const nats = await connectNats({ port: server.port, maxReconnectAttempts: -1, reconnectTimeWait: 50 });
    const { streams } = await nats.jetstreamManager();
    await streams.add({ name: 'COSTS', subjects: ['costs.>'] });
    const sink = new ClientProxySink({
      client: () => clientOf('nats', server.port),
      pattern: 'costs.shop',
      awaitReply: true,
    });
    const result = await runOutage({
      ...scale,
      sink,
      stop: () => server.stop(),
      start: () => server.start(),
    });
    const stored = await readStream(nats, 'COSTS');
    report('jetstream', result, stored);
    await nats.close();
    await server.remove();
    expectBounded(result);
    expect(stored.count).toBeGreaterThanOrEqual(result.stats.delivered);
    expect(stored.count).toBeLessThanOrEqual(result.stats.produced);
    expect(stored.duplicates).toBeLessThanOrEqual(BATCH);
  });
});

async function readStream(nats: NatsConnection, name: string): Promise<Received> {
  const received = new Received();
  const { state } = await (await nats.jetstreamManager()).streams.info(name);
  const consumer = await nats.jetstream().consumers.get(name);
  while (received.messages < state.messages) {
    for await (const message of await consumer.fetch({ max_messages: 100, expires: 1_000 })) {
      received.add(message.json<{ data: unknown }>().data);
    }
  }
  return received;
}

describe('an outage of a stand-in for Kafka', { timeout: 900_000 }, () => {
  it('loses nothing that it has acknowledged, and nothing that is not counted', async () => {
    const kafka = await startKafkaServer();
    const sink = new ClientProxySink({
      client: () =>
        ClientProxyFactory.create({
          transport: Transport.KAFKA,
          options: {
            client: { brokers: [kafka.broker], retry: { retries: 1, initialRetryTime: 50 } },
            producerOnlyMode: true,
          },
        }),
      pattern: PATTERN,
    });
    const result = await runOutage({
      ...scale,
      sink,
      stop: () => kafka.close(),
      start: () => kafka.restart(),
    });
    const count = kafka.received[PATTERN] ?? 0;
    report('kafka stand-in', result, { count, duplicates: NaN });
    await kafka.close();
    expectBounded(result);
    expect(count).toBeGreaterThanOrEqual(result.stats.delivered);
    expect(count).toBeLessThanOrEqual(result.stats.delivered + BATCH);
  });
});
