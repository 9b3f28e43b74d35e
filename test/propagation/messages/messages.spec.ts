import type { ClientProxy, MicroserviceOptions } from '@nestjs/microservices';
import { firstValueFrom, lastValueFrom, toArray } from 'rxjs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ContextService } from 'nestjs-async-context';
import { type Receiver, type Seen, startReceiver, TENANT } from '../../support/message-receiver';
import { kafkaTransport, named, newClient, packetTransports } from '../../support/message-transports';
import { startApp, type TestApp, until } from '../../support/platforms';

const PAYLOAD = { id: 7, text: 'Grüße\n"{}"', list: [1, null, { deep: true }], metadata: { theirs: 1 } };
const toWire = (data: unknown): unknown => JSON.parse(JSON.stringify(data));
const WIRE = toWire(PAYLOAD);

interface Sent<T> {
  readonly requestId: string;
  readonly traceId: string;
  readonly spanId: string;
  readonly result: T;
}

afterAll(() => kafkaTransport.close());

describe.each([...packetTransports, ['Kafka (stood in for)', kafkaTransport] as const])(
  'messages over %s',
  (name, { isUp, options }) => {
    describe.skipIf(!isUp).each(['alone', 'beside HTTP'])('to a service %s', kind => {
      let sender: TestApp;
      let context: ContextService;
      let receiver: Receiver;
      let transport: MicroserviceOptions;
      let client: ClientProxy;
      let units = 0;

      /** A unit of work that sends. */
      function unit<T>(work: () => T, tenant = 'acme'): Promise<Sent<Awaited<T>>> {
        const requestId = `sender-${(units += 1)}`;
        return context.run({ requestId, values: new Map([[TENANT, tenant]]) }, async () => {
          const { traceId, spanId } = context;
          return { requestId, traceId: traceId!, spanId: spanId!, result: await work() };
        });
      }
      const ask = (data: unknown, through = client): Promise<Seen> =>
        firstValueFrom(through.send<Seen>(named('echo'), data));

      beforeAll(async () => {
        transport = await options();
        receiver = await startReceiver(transport, { hybrid: kind === 'beside HTTP' });
        sender = await startApp({ propagate: { messages: true } });
        context = sender.app.get(ContextService);
        client = newClient(transport);
        await client.connect();
      });
      afterAll(async () => {
        await client?.close();
        await sender?.close();
        await receiver?.close();
      });

      it('are a part of the trace and the request that sends them, before their guards run', async () => {
        const { result, ...from } = await unit(() => ask(PAYLOAD));
        expect(result).toMatchObject({ traceId: from.traceId, tenant: 'acme', guarded: 'acme' });
        expect(result.requestId).not.toBe(from.requestId);
        expect(await receiver.recordOf(result)).toMatchObject({
          kind: 'rpc',
          route: named('echo'),
          traceId: from.traceId,
          parentSpanId: from.spanId,
          parentRequestId: from.requestId,
        });
      });

      it('bring their data as it was sent', async () => {
        for (const data of [PAYLOAD, 'text', 42, false, [1, [2]], {}]) {
          const { result } = await unit(() => ask(data));
          // The value of Kafka's messages is text; only objects and lists are JSON.
          const isText = name.startsWith('Kafka') && typeof data !== 'object';
          expect(result.data).toEqual(isText ? String(data) : toWire(data));
          expect(result.tenant).toBe('acme');
        }
      });

      it('bring it to each handler of an event', async () => {
        receiver.eye.events.length = 0;
        const from = await unit(() => void client.emit(named('happened'), PAYLOAD));
        const events = await until(
          () => (receiver.eye.events.length === 2 ? receiver.eye.events : undefined),
          'both handlers',
        );
        expect(events.map(({ by }) => by).sort()).toEqual(['first', 'second']);
        for (const event of events) {
          expect(event).toMatchObject({ traceId: from.traceId, tenant: 'acme', guarded: 'acme', data: WIRE });
          expect(await receiver.recordOf(event)).toMatchObject({
            parentSpanId: from.spanId,
            parentRequestId: from.requestId,
          });
        }
      });

      it('bring it to a stream of answers', async () => {
        const { result, traceId } = await unit(() =>
          lastValueFrom(client.send<Seen>(named('stream'), PAYLOAD).pipe(toArray())),
        );
        expect(result).toHaveLength(3);
        for (const seen of result) expect(seen).toMatchObject({ traceId, tenant: 'acme' });
      });

      it('keep 50 callers apart, over a client that is not connected yet', async () => {
        const fresh = newClient(transport);
        const all = await Promise.all(
          Array.from({ length: 50 }, (_, i) => unit(() => ask({ i }, fresh), `tenant-${i}`)),
        );
        await fresh.close();
        for (const [i, { result, ...from }] of all.entries()) {
          expect(result).toMatchObject({ traceId: from.traceId, tenant: `tenant-${i}`, data: { i } });
          expect(await receiver.recordOf(result)).toMatchObject({
            parentSpanId: from.spanId,
            parentRequestId: from.requestId,
          });
        }
        expect(new Set(all.map(({ result }) => result.requestId)).size).toBe(50);
      });

      it('belong to nobody where no unit of work sends them', async () => {
        const seen = await ask(PAYLOAD);
        expect(seen).toMatchObject({ data: WIRE });
        expect(seen.tenant).toBeUndefined();
        const record = await receiver.recordOf(seen);
        expect([record.parentRequestId, record.parentSpanId]).toEqual([undefined, undefined]);
      });
    });
  },
);
