import { Metadata } from '@grpc/grpc-js';
import { Controller, UseGuards } from '@nestjs/common';
import {
  type ClientGrpcProxy,
  ClientProxyFactory,
  GrpcMethod,
  GrpcStreamCall,
  GrpcStreamMethod,
  type MicroserviceOptions,
  Transport,
} from '@nestjs/microservices';
import { once } from 'node:events';
import type { Duplex } from 'node:stream';
import { firstValueFrom, from, lastValueFrom, map, type Observable, toArray } from 'rxjs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ContextService } from 'nestjs-async-context';
import {
  Eye,
  type Receiver,
  type Seen,
  startReceiver,
  TENANT,
  TenantGuard,
} from '../../support/message-receiver';
import { freePort, protoPath } from '../../support/message-transports';
import { startApp, type TestApp } from '../../support/platforms';

interface Question {
  readonly text: string;
  readonly numbers?: readonly number[];
}
interface Answer {
  readonly json: string;
}
type Call<Q> = (question: Q, ...more: unknown[]) => Observable<Answer>;
interface EchoService {
  ask: Call<Question>;
  count: Call<Question>;
  collect: Call<Observable<Question>>;
  talk: Call<Observable<Question>>;
}

@Controller()
@UseGuards(TenantGuard)
class EchoController {
  constructor(
    private readonly eye: Eye,
    private readonly context: ContextService,
  ) {}

  #answer(by: string, data: unknown, metadata?: Metadata): Answer {
    return { json: JSON.stringify({ ...this.eye.see(by, data), headers: metadata?.getMap() }) };
  }

  @GrpcMethod('Echo', 'Ask')
  async ask(question: Question, metadata: Metadata): Promise<Answer> {
    await new Promise(resolve => setTimeout(resolve, Math.random() * 10));
    return this.#answer('ask', question, metadata);
  }

  @GrpcMethod('Echo', 'Count')
  count(question: Question): Observable<Answer> {
    return from([1, 2, 3]).pipe(map(() => this.#answer('count', question)));
  }

  @GrpcStreamMethod('Echo', 'Collect')
  collect(questions: Observable<Question>): Observable<Answer> {
    return questions.pipe(
      toArray(),
      map(data => this.#answer('collect', data)),
    );
  }

  @GrpcStreamCall('Echo', 'Talk')
  async talk(call: Duplex): Promise<void> {
    // Nothing of Nest's is between the call and its handler.
    const answer = this.context.bind((question: Question) => call.write(this.#answer('talk', question)));
    call.on('data', answer);
    await once(call, 'end');
    call.end();
  }
}

let sender: TestApp;
let context: ContextService;
let receiver: Receiver;
let transport: MicroserviceOptions;
let client: ClientGrpcProxy;
let echo: EchoService;

beforeAll(async () => {
  const url = `127.0.0.1:${await freePort()}`;
  transport = { transport: Transport.GRPC, options: { url, package: 'echo', protoPath } };
  receiver = await startReceiver(transport, { controllers: [EchoController] });
  sender = await startApp({ propagate: { messages: true } });
  context = sender.app.get(ContextService);
  [client, echo] = connect();
});
afterAll(async () => {
  client?.close();
  await sender?.close();
  await receiver?.close();
});

function connect(): [ClientGrpcProxy, EchoService] {
  const client = ClientProxyFactory.create(transport as never) as never as ClientGrpcProxy;
  return [client, client.getService<EchoService>('Echo')];
}

/** What was seen of the calls that a unit of work makes, and its ids. */
async function unit(work: () => Observable<Answer>, tenant = 'acme') {
  return context.run({ values: new Map([[TENANT, tenant]]) }, async () => {
    const { requestId, traceId, spanId } = context;
    const answers = await lastValueFrom(work().pipe(toArray()));
    return { requestId, traceId, spanId, seen: answers.map(({ json }) => JSON.parse(json) as Seen) };
  });
}

describe('calls of gRPC', () => {
  const question: Question = { text: 'Grüße', numbers: [1, 2] };
  const kinds: [string, unknown, number, () => Observable<Answer>][] = [
    ['one message for one', question, 1, () => echo.ask(question)],
    ['a stream of answers', question, 3, () => echo.count(question)],
    ['a stream of messages', [question, question], 1, () => echo.collect(from([question, question]))],
    ['streams in both directions', question, 2, () => echo.talk(from([question, question]))],
  ];

  it.each(kinds)('bring the context with %s', async (_, data, count, call) => {
    const { seen, ...sent } = await unit(call);
    expect(seen).toHaveLength(count);
    for (const one of seen) expect(one).toMatchObject({ traceId: sent.traceId, tenant: 'acme', data });
    expect(seen[0]!.guarded).toBe('acme');
    expect(await receiver.recordOf(seen[0]!)).toMatchObject({
      kind: 'rpc',
      traceId: sent.traceId,
      parentSpanId: sent.spanId,
      parentRequestId: sent.requestId,
    });
  });

  it('keep 50 callers apart, over a client that is not connected yet', async () => {
    const [fresh, service] = connect();
    const all = await Promise.all(
      Array.from({ length: 50 }, (_, i) => unit(() => service.ask({ text: `${i}` }), `tenant-${i}`)),
    );
    fresh.close();
    for (const [i, { seen, ...sent }] of all.entries()) {
      expect(seen[0]).toMatchObject({
        traceId: sent.traceId,
        tenant: `tenant-${i}`,
        data: { text: `${i}` },
      });
      expect(await receiver.recordOf(seen[0]!)).toMatchObject({
        parentSpanId: sent.spanId,
        parentRequestId: sent.requestId,
      });
    }
  });

  it('keep the metadata and the options of the application, which stay as they were', async () => {
    const metadata = new Metadata();
    metadata.set('traceparent', `00-${'a'.repeat(32)}-${'b'.repeat(16)}-01`);
    metadata.set('shop', '7');
    const { seen } = await unit(() => echo.ask(question, metadata, { deadline: Date.now() + 120_000 }));
    expect(seen[0]).toMatchObject({ traceId: 'a'.repeat(32), tenant: 'acme', headers: { shop: '7' } });
    expect(Object.keys(metadata.getMap())).toEqual(['traceparent', 'shop']);
    const { seen: withOptions, traceId } = await unit(() =>
      echo.ask(question, { deadline: Date.now() + 120_000 }),
    );
    expect(withOptions[0]).toMatchObject({ traceId });
    await expect(unit(() => echo.ask(question, { deadline: Date.now() - 1 }))).rejects.toThrow('DEADLINE');
  });

  it('belong to who subscribes, and to nobody outside of any unit of work', async () => {
    const { cold } = context.run({}, () => ({ cold: echo.ask(question) }));
    const { seen, traceId } = await unit(() => cold);
    expect(seen[0]).toMatchObject({ traceId });
    const alone = JSON.parse((await firstValueFrom(cold)).json) as Seen & { headers: object };
    expect(alone.tenant).toBeUndefined();
    expect(Object.keys(alone.headers)).toEqual(['user-agent']);
    expect((await receiver.recordOf(alone)).parentRequestId).toBeUndefined();
  });
});
