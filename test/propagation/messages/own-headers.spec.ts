import {
  type ClientKafka,
  MqttRecordBuilder,
  type MicroserviceOptions,
  NatsRecordBuilder,
  RmqRecordBuilder,
} from '@nestjs/microservices';
import { headers as natsHeaders } from 'nats';
import { headers as natsCoreHeaders } from '@nats-io/transport-node';
import { firstValueFrom } from 'rxjs';
import { afterAll, describe, expect, it } from 'vitest';
import { ContextService } from 'nestjs-async-context';
import { type Receiver, type Seen, startReceiver, TENANT } from '../../support/message-receiver';
import {
  kafkaTransport,
  type MessageTransport,
  named,
  newClient,
  packetTransports,
} from '../../support/message-transports';
import { startApp, type TestApp, until } from '../../support/platforms';

const THEIRS = { traceparent: `00-${'a'.repeat(32)}-${'b'.repeat(16)}-01`, shop: '7' };
const DATA = { n: 1 };

/** How an application gives a message headers of its own, and how its client does. */
const transports: readonly (readonly [string, MessageTransport, Kind])[] = [
  ...packetTransports.flatMap(([name, transport]) => {
    const kind = KINDS()[name.split(' (')[0]!];
    return kind === undefined ? [] : [[name, transport, kind] as const];
  }),
  ['Kafka (stood in for)', kafkaTransport, { record: () => ({ value: DATA, headers: { ...THEIRS } }) }],
];

interface Kind {
  record(): { data?: unknown; headers?: unknown; options?: unknown };
  readonly client?: object;
}

function KINDS(): Record<string, Kind> {
  // Nest 11 takes the one package, Nest 12 the other; their headers are alike.
  const newHeaders = process.env['NEST'] === '11' ? natsHeaders : natsCoreHeaders;
  return {
    NATS: {
      record() {
        const headers = newHeaders();
        for (const [name, value] of Object.entries(THEIRS)) headers.set(name, value);
        headers.append('shop', '8');
        return new NatsRecordBuilder(DATA).setHeaders(headers).build();
      },
      client: { headers: { region: 'eu', shop: '0', baggage: 'theirs=1' } },
    },
    'MQTT 5': {
      record: () => new MqttRecordBuilder(DATA).setProperties({ userProperties: { ...THEIRS } }).build(),
    },
    RabbitMQ: {
      record: () => new RmqRecordBuilder(DATA).setOptions({ headers: { ...THEIRS }, priority: 3 }).build(),
      client: { headers: { region: 'eu', shop: '0', baggage: 'theirs=1' } },
    },
  };
}

afterAll(() => kafkaTransport.close());

describe.each(transports)('headers of the application over %s', (name, { isUp, options }, kind) => {
  it.skipIf(!isUp)('win over ours, and stay as they were for its next message', async () => {
    const transport: MicroserviceOptions = await options();
    const receiver: Receiver = await startReceiver(transport);
    const sender: TestApp = await startApp({ propagate: { messages: true } });
    const context = sender.app.get(ContextService);
    const client = newClient(transport, kind.client);
    try {
      const record = kind.record();
      const unit = (tenant: string) =>
        context.run({ values: new Map([[TENANT, tenant]]) }, async () => {
          const { requestId, traceId } = context;
          const seen = await firstValueFrom(client.send<Seen>(named('headers'), record));
          return { requestId, traceId, seen };
        });
      // The same record twice: what the first has brought is not the second's.
      for (const tenant of ['one', 'two']) {
        const { seen, requestId } = await unit(tenant);
        const text = JSON.stringify(seen.headers);
        expect(text).toContain('"shop":"7"');
        if (kind.client !== undefined) expect(text).toContain('"baggage":"theirs=1"');
        expect(seen.traceId).toBe('a'.repeat(32));
        expect(seen).toMatchObject({ tenant, data: DATA });
        expect((await receiver.recordOf(seen)).parentRequestId).toBe(requestId);
        // Nest takes the options off a record of MQTT, so that a second message has none.
        if (name.startsWith('MQTT')) break;
      }
      expect(namesIn(record)).not.toContain('x-request-id');
    } finally {
      await client.close();
      await sender.close();
      await receiver.close();
    }
  });
});

describe.each(transports)(
  'headers over %s, where nobody has asked to propagate',
  (_name, transport, kind) => {
    it.skipIf(!transport.isUp)('arrive as the application has sent them', async () => {
      const options: MicroserviceOptions = await transport.options();
      const receiver: Receiver = await startReceiver(options, { propagate: {} });
      const sender: TestApp = await startApp({});
      const client = newClient(options, kind.client);
      try {
        const send = () => firstValueFrom(client.send<Seen>(named('headers'), kind.record()));
        const bare = await send();
        const inUnit = await sender.app.get(ContextService).run({}, send);
        expect(namesIn(inUnit.headers)).toContain('shop');
        // Nest's own id of a message to Kafka.
        const id = { kafka_correlationId: undefined };
        expect({ ...(inUnit.headers as object), ...id }).toEqual({ ...(bare.headers as object), ...id });
      } finally {
        await client.close();
        await sender.close();
        await receiver.close();
      }
    });
  },
);

describe('a batch of Kafka', () => {
  it('brings the context with each of its messages, beside their own headers', async () => {
    const transport = await kafkaTransport.options();
    const receiver = await startReceiver(transport);
    const sender = await startApp({ propagate: { messages: true } });
    const context = sender.app.get(ContextService);
    const client = newClient(transport) as unknown as ClientKafka;
    try {
      const messages = [{ value: 'a' }, { value: 'b', headers: { shop: '7' } }];
      const traceId = await context.run({ values: new Map([[TENANT, 'acme']]) }, async () => {
        client.emitBatch(named('happened'), { messages });
        return context.traceId;
      });
      const { events } = receiver.eye;
      await until(() => events.length === 4, 'both handlers of both');
      expect(new Set(events.map(({ data, tenant }) => `${String(data)} ${tenant}`))).toEqual(
        new Set(['a acme', 'b acme']),
      );
      expect(new Set(events.map(event => event.traceId))).toEqual(new Set([traceId]));
      expect(namesIn(messages)).not.toContain('x-request-id');
    } finally {
      await client.close();
      await sender.close();
      await receiver.close();
    }
  });
});

/** Everything that is written in it, also in a map. */
function namesIn(value: unknown): string {
  return JSON.stringify(value, (_key, part: unknown) => (part instanceof Map ? [...part] : part));
}
