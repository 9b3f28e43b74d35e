import { Controller, Inject } from '@nestjs/common';
import {
  type ClientGrpcProxy,
  ClientProxyFactory,
  GrpcMethod,
  GrpcStreamCall,
  GrpcStreamMethod,
  type MicroserviceOptions,
  Transport,
} from '@nestjs/microservices';
import type { Duplex } from 'node:stream';
import { concat, from, lastValueFrom, map, NEVER, type Observable, tap, toArray } from 'rxjs';
import { afterEach, describe, expect, it } from 'vitest';
import { ContextService, type CostRecord } from 'nestjs-async-context';
import { type Receiver, startReceiver } from '../../support/message-receiver';
import { freePort, protoPath } from '../../support/message-transports';
import { until } from '../../support/platforms';

interface Question {
  readonly text: string;
}
interface Answer {
  readonly json: string;
}
interface EchoService {
  ask(question: Question, ...more: unknown[]): Observable<Answer>;
  count(question: Question): Observable<Answer>;
  collect(questions: Observable<Question>): Observable<Answer>;
  talk(questions: Observable<Question>): Observable<Answer>;
}

const QUESTION: Question = { text: 'why' };
const ANSWER: Answer = { json: '{}' };
let begun = 0;
let goOn: (() => void)[] = [];

class Counting {
  @Inject(ContextService) protected readonly context!: ContextService;

  protected query(): void {
    this.context.record({ system: 'test', statement: 'SELECT 1', durationMs: 0 });
  }
}

@Controller()
class StreamsController extends Counting {
  @GrpcMethod('Echo', 'Ask')
  async ask(): Promise<Answer> {
    begun += 1;
    await new Promise<void>(resolve => goOn.push(resolve));
    return ANSWER;
  }

  @GrpcMethod('Echo', 'Count')
  count(): Observable<Answer> {
    begun += 1;
    return NEVER;
  }

  @GrpcStreamMethod('Echo', 'Collect')
  collect(questions: Observable<Question>): Observable<Answer> {
    begun += 1;
    return questions.pipe(
      tap(() => this.query()),
      toArray(),
      map(() => ANSWER),
    );
  }

  @GrpcStreamMethod('Echo', 'Talk')
  talk(questions: Observable<Question>): Observable<Answer> {
    begun += 1;
    return questions.pipe(
      tap(() => this.query()),
      map(() => ANSWER),
    );
  }
}

@Controller()
class CallsController extends Counting {
  @GrpcStreamCall('Echo', 'Collect')
  collect(call: Duplex, respond: (error: unknown, answer?: Answer) => void): void {
    begun += 1;
    call.on(
      'data',
      this.context.bind(() => this.query()),
    );
    call.on(
      'end',
      this.context.bind(() => {
        // The call lives on when the client has sent its last.
        const answer = this.context.bind(() => {
          this.query();
          respond(null, ANSWER);
        });
        goOn.push(answer);
      }),
    );
  }

  @GrpcStreamCall('Echo', 'Talk')
  async talk(call: Duplex): Promise<void> {
    begun += 1;
    call.on(
      'data',
      this.context.bind(({ text }: Question) => {
        this.query();
        if (text === 'fail') call.destroy(new Error('no'));
        else call.write(ANSWER);
      }),
    );
    call.on(
      'end',
      this.context.bind(() => {
        this.query();
        call.end();
      }),
    );
    await Promise.resolve();
  }
}

let receiver: Receiver;
let client: ClientGrpcProxy;
let echo: EchoService;

async function start(controller: typeof StreamsController | typeof CallsController, options = {}) {
  begun = 0;
  goOn = [];
  const transport: MicroserviceOptions = {
    transport: Transport.GRPC,
    options: { url: `127.0.0.1:${await freePort()}`, package: 'echo', protoPath },
  };
  receiver = await startReceiver(transport, { controllers: [controller], ...options });
  client = ClientProxyFactory.create(transport as never) as never as ClientGrpcProxy;
  echo = client.getService<EchoService>('Echo');
}
afterEach(async () => {
  client?.close();
  await receiver?.close();
});

const record = (): Promise<CostRecord> => until(() => receiver.sink.records[0], 'record');

describe('handlers of gRPC', () => {
  it('are named by their class and what it calls them, and so are their breaches', async () => {
    await start(StreamsController, { budget: { queries: 1 } });
    const questions = [QUESTION, QUESTION];
    await lastValueFrom(echo.collect(from(questions)));
    await lastValueFrom(echo.talk(from(questions)));
    const records = await until(() => receiver.sink.records[1] && receiver.sink.records, 'two records');
    expect(records).toMatchObject([
      { handler: 'StreamsController.collect', route: 'Echo/Collect', aborted: false, queries: { count: 2 } },
      { handler: 'StreamsController.talk', route: 'Echo/Talk', aborted: false, queries: { count: 2 } },
    ]);
    const lines = receiver.logs.lines
      .filter(({ level }) => level === 'error')
      .map(({ message }) => `${message}`);
    expect(lines).toHaveLength(2);
    for (const [i, name] of ['collect', 'talk'].entries())
      expect(lines[i]).toContain(`StreamsController.${name}`);
  });

  const questions = from([QUESTION]);
  const kinds: [string, () => Observable<Answer>, string][] = [
    ['one message for one', () => echo.ask(QUESTION), 'ask'],
    ['a stream of answers', () => echo.count(QUESTION), 'count'],
    ['a stream of messages', () => echo.collect(endless(questions)), 'collect'],
    ['streams in both directions', () => echo.talk(endless(questions)), 'talk'],
  ];

  it.each(kinds)('are aborted when the client cancels: %s', async (_name, call, handler) => {
    await start(StreamsController);
    await cancelled(call());
    expect(await record()).toMatchObject({ handler: `StreamsController.${handler}`, aborted: true });
    goOn.forEach(finish => finish());
    expect(receiver.sink.records).toHaveLength(1);
  });
});

describe('handlers that are given the call of gRPC itself', () => {
  it('last until the call has ended: streams in both directions', async () => {
    await start(CallsController);
    await lastValueFrom(echo.talk(from([QUESTION, QUESTION])));
    expect(await record()).toMatchObject({
      handler: 'CallsController.talk',
      route: 'Echo/Talk',
      aborted: false,
      queries: { count: 3, late: 0 },
    });
  });

  it('last until they answer: a stream of messages', async () => {
    await start(CallsController);
    const answer = lastValueFrom(echo.collect(from([QUESTION, QUESTION])));
    await until(() => goOn.length === 1, 'end of the messages');
    expect(receiver.sink.records).toEqual([]);
    goOn[0]!();
    expect(await answer).toEqual(ANSWER);
    expect(await record()).toMatchObject({
      handler: 'CallsController.collect',
      route: 'Echo/Collect',
      aborted: false,
      queries: { count: 3, late: 0 },
    });
  });

  it.each([
    ['collect', () => echo.collect(endless(from([QUESTION])))],
    ['talk', () => echo.talk(endless(from([QUESTION])))],
  ])('are aborted when the client cancels: %s', async (handler, call) => {
    await start(CallsController);
    await cancelled(call());
    expect(await record()).toMatchObject({ handler: `CallsController.${handler}`, aborted: true });
  });

  it('end with a call that is destroyed', async () => {
    await start(CallsController);
    const failing = echo.talk(endless(from([{ text: 'fail' }]))).subscribe({ error: () => undefined });
    expect(await record()).toMatchObject({ handler: 'CallsController.talk', queries: { count: 1 } });
    failing.unsubscribe();
  });
});

/** The messages, and no end. */
function endless(messages: Observable<Question>): Observable<Question> {
  return concat(messages, NEVER);
}

/** Waits until the handler has begun, and has the client leave. */
async function cancelled(call: Observable<Answer>): Promise<void> {
  const subscription = call.subscribe({ error: () => undefined });
  await until(() => begun === 1, 'call');
  subscription.unsubscribe();
}
