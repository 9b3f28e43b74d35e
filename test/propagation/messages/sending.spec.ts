import {
  ClientKafka,
  ClientNats,
  ClientProxy,
  ClientTCP,
  type MicroserviceOptions,
} from '@nestjs/microservices';
import type { AsyncLocalStorage } from 'node:async_hooks';
import { connect } from 'node:net';
import { firstValueFrom, lastValueFrom, mergeMap, retry, tap, throwError } from 'rxjs';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import {
  AsyncContextError,
  type AsyncContextOptions,
  type Carrier,
  ContextService,
} from 'nestjs-async-context';
import { processShare } from '../../../lib/kernel/once-per-process';
import { type Receiver, type Seen, startReceiver, TENANT } from '../../support/message-receiver';
import { freePort, named, newClient, packetTransports } from '../../support/message-transports';
import { startApp, type TestApp, until } from '../../support/platforms';

const [, tcp] = packetTransports[0]!;
const SECRET = 'a secret of the shop, 32 bytes  ';
const hasDispatchHook = 'setOnDispatchHook' in ClientProxy.prototype;

type Hooked = { setOnDispatchHook(hook: (packet: { metadata?: unknown }) => void): void };

let receiver: Receiver;
let transport: MicroserviceOptions;
let sender: TestApp;
let context: ContextService;
let client: ClientProxy;

const ask = (data: unknown = {}) => client.send<Seen>(named('echo'), data);
const unit = <T>(tenant: string, work: () => T): T =>
  context.run({ values: new Map([[TENANT, tenant]]) }, work);

async function start(given: AsyncContextOptions = {}): Promise<void> {
  const options = { propagate: { messages: true }, ...given };
  transport = await tcp.options();
  receiver = await startReceiver(transport, options);
  sender = await startApp(options);
  context = sender.app.get(ContextService);
  client = newClient(transport);
}
async function stop(): Promise<void> {
  await client.close();
  await sender.close();
  await receiver.close();
}

describe('a message that is sent', () => {
  beforeAll(() => start());
  afterAll(stop);

  it('has the values that were there when it was asked for, not when its client is connected', async () => {
    const seen = await context.run({}, () =>
      Promise.all(
        ['one', 'two', 'three'].map(tenant => {
          context.set(TENANT, tenant);
          return firstValueFrom(ask());
        }),
      ),
    );
    expect(seen.map(({ tenant }) => tenant)).toEqual(['one', 'two', 'three']);
    receiver.eye.events.length = 0;
    context.run({}, () => {
      for (const tenant of ['one', 'two', 'three']) {
        context.set(TENANT, tenant);
        client.emit(named('happened'), {});
      }
    });
    await until(() => receiver.eye.events.length === 6, 'events');
    expect(receiver.eye.events.map(({ tenant }) => tenant).sort()).toEqual([
      'one',
      'one',
      'three',
      'three',
      'two',
      'two',
    ]);
  });

  it('belongs to who subscribes', async () => {
    const { cold } = unit('made', () => ({ cold: ask() }));
    const [first, second] = await Promise.all(
      ['first', 'second'].map(tenant => unit(tenant, () => firstValueFrom(cold))),
    );
    expect([first!.tenant, second!.tenant]).toEqual(['first', 'second']);
    expect((await firstValueFrom(cold)).tenant).toBeUndefined();
  });

  it('is answered, and sent again, in the context of who has asked', async () => {
    const fresh = newClient(transport);
    // The connection belongs to this one.
    await unit('opener', () => firstValueFrom(fresh.send(named('echo'), {})));
    const tries = await Promise.all(
      Array.from({ length: 10 }, (_, i) =>
        unit(`tenant-${i}`, async () => {
          const tenants: (string | undefined)[] = [];
          await lastValueFrom(
            fresh.send<Seen>(named('echo'), {}).pipe(
              tap(seen => tenants.push(context.get(TENANT), seen.tenant)),
              mergeMap(() => (tenants.length < 6 ? throwError(() => new Error('again')) : [0])),
              retry(2),
            ),
          );
          return tenants;
        }),
      ),
    );
    await fresh.close();
    for (const [i, tenants] of tries.entries()) {
      expect(tenants).toEqual(Array.from({ length: 6 }, () => `tenant-${i}`));
    }
  });

  it('fails as it does without, where nobody listens', async () => {
    const lost = newClient({ ...transport, options: { host: '127.0.0.1', port: await freePort() } } as never);
    await expect(unit('acme', () => firstValueFrom(lost.send(named('echo'), {})))).rejects.toMatchObject({
      code: 'ECONNREFUSED',
    });
    await lost.close();
  });

  it('is left alone while it is unsubscribed', async () => {
    const subscription = unit('acme', () => ask().subscribe());
    subscription.unsubscribe();
    expect(await unit('next', () => firstValueFrom(ask()))).toMatchObject({ tenant: 'next' });
  });
});

describe('a message that is signed', () => {
  beforeAll(() => start({ carrierSecret: SECRET }));
  afterAll(stop);

  it.each([
    ['needs no scope of its own because a minute has passed', 'acme', 0],
    ['has one where it says something else', 'other', 1],
  ])('%s', async (_, second, scopes) => {
    const scope = processShare.single.get('messages.scope') as AsyncLocalStorage<{ sender?: unknown }>;
    vi.useFakeTimers({ toFake: ['Date'], now: Date.parse('2026-11-30T12:00:59Z') });
    const run = vi.spyOn(scope, 'run');
    const seen = await unit('acme', async () => {
      const before = await firstValueFrom(ask());
      vi.setSystemTime(Date.parse('2026-11-30T12:01:01Z'));
      context.set(TENANT, second);
      return [before, await firstValueFrom(ask())];
    });
    vi.useRealTimers();
    // Of the receiver, which is in this process as well, there are some without a sender.
    const opened = run.mock.calls.filter(([{ sender }]) => sender !== undefined);
    run.mockRestore();
    expect(seen.map(({ tenant }) => tenant)).toEqual(['acme', second]);
    expect(opened).toHaveLength(scopes);
  });
});

describe('metadata that arrives', () => {
  beforeAll(() => start({ carrierSecret: SECRET }));
  afterAll(stop);

  const garbage: unknown[] = [
    'text',
    7,
    null,
    [],
    { traceparent: 7, 'x-request-id': {}, 'x-async-context': ['{'], baggage: null },
    {
      traceparent: 'x'.repeat(100_000),
      'x-request-id': '\n',
      'x-async-context': '{"values":{"tenant":"forged"}}',
    },
    { __proto__: null, constructor: 1, 'x-async-context': 'x'.repeat(100_000) },
  ];

  it('changes nothing where it is malformed or not signed', async () => {
    for (const metadata of garbage) {
      const answer = await sendRaw({ pattern: named('echo'), id: '1', data: { n: 1 }, metadata });
      const seen = answer.response as Seen;
      expect(seen).toMatchObject({ by: 'echo', data: { n: 1 } });
      expect([seen.tenant, seen.user]).toEqual([undefined, undefined]);
      expect((await receiver.recordOf(seen)).parentRequestId).toBeUndefined();
    }
  });

  it('is gone on from where somebody else has sent it', async () => {
    const carrier: Carrier = await unit('acme', async () => context.carry());
    const answer = await sendRaw({
      pattern: named('echo'),
      id: '1',
      data: 0,
      metadata: { ...carrier, more: 1 },
    });
    expect(answer.response).toMatchObject({ tenant: 'acme', traceId: carrier.traceparent!.slice(3, 35) });
  });

  it('says who the user is, signed', async () => {
    const seen = await context.run({ user: { id: 7, secret: 'x' } as never }, () => firstValueFrom(ask()));
    expect(seen.user).toEqual({ id: 7 });
  });
});

describe.skipIf(!hasDispatchHook)('a hook of the application (Nest 12)', () => {
  beforeAll(() => start({ carrierSecret: SECRET }));
  afterAll(stop);

  it('keeps its slot, and what it puts into the metadata', async () => {
    const shared = Object.freeze({ 'x-request-id': 'theirs', shop: 7 });
    const hooked = newClient(transport);
    (hooked as unknown as Hooked).setOnDispatchHook(packet => {
      packet.metadata = shared;
    });
    const sent = await context.run(
      { user: { id: 7 } as never, values: new Map([[TENANT, 'acme']]) },
      async () => ({
        traceId: context.traceId,
        seen: await firstValueFrom(hooked.send<Seen>(named('headers'), {})),
      }),
    );
    await hooked.close();
    expect(sent.seen.headers).toMatchObject({ 'x-request-id': 'theirs', shop: 7 });
    // As with `@nestjs/observe`, which sends an id of its own: what goes with it is signed for that.
    expect(sent.seen).toMatchObject({ traceId: sent.traceId, tenant: 'acme', user: { id: 7 } });
    expect((await receiver.recordOf(sent.seen)).parentRequestId).toBe('theirs');
  });
});

describe.skipIf(!hasDispatchHook)('a client of the application (Nest 12)', () => {
  class OwnClient extends ClientProxy {
    readonly packets: { metadata?: object }[] = [];
    connect = async () => undefined;
    close = () => undefined;
    unwrap = <T>() => undefined as T;
    protected publish(packet: object, callback: (answer: object) => void): () => void {
      this.packets.push(packet);
      callback({ response: 'answer', isDisposed: true });
      return () => undefined;
    }
    protected async dispatchEvent<T>(packet: object): Promise<T> {
      this.packets.push(packet);
      return undefined as T;
    }
  }

  it('is given the context as the metadata of its packets', async () => {
    await start();
    const own = new OwnClient();
    const carrier = await context.run({}, async () => {
      expect(await firstValueFrom(own.send('asked', {}))).toBe('answer');
      await lastValueFrom(own.emit('happened', {}), { defaultValue: undefined });
      return context.carry();
    });
    expect(own.packets.map(({ metadata }) => metadata)).toEqual([carrier, carrier]);
    await stop();
  });
});

describe('without propagate: { messages: true }', () => {
  const off = { propagate: { messages: false } };

  it('sends nothing and takes nothing over', async () => {
    await start(off);
    const seen = await unit('acme', () => firstValueFrom(ask()));
    expect(seen.tenant).toBeUndefined();
    expect((await receiver.recordOf(seen)).parentRequestId).toBeUndefined();
    const carrier = unit('acme', () => ({ ...context.carry() }));
    const answer = await sendRaw({ pattern: named('echo'), id: '1', data: 0, metadata: carrier });
    expect((answer.response as Seen).tenant).toBeUndefined();
    await stop();
  });

  it('holds for the application that says so, beside another that does not', async () => {
    await start();
    const quiet = await startApp(off);
    const other = quiet.app.get(ContextService);
    const [own, none] = await Promise.all([
      unit('acme', () => firstValueFrom(ask())),
      other.run({ values: new Map([[TENANT, 'acme']]) }, () => firstValueFrom(ask())),
    ]);
    expect([own.tenant, none.tenant]).toEqual(['acme', undefined]);
    await quiet.close();
    await stop();
  });

  it('is an option that says what is wrong with it', async () => {
    for (const [propagate, path] of [
      [{ messages: 'no' }, 'propagate.messages'],
      [{ mesages: true }, 'propagate.mesages'],
      [true, 'propagate'],
    ] as const) {
      await expect(startApp({ propagate: propagate as never })).rejects.toSatisfy(
        error => error instanceof AsyncContextError && error.message.includes(path),
      );
    }
  });
});

describe('the clients of @nestjs/microservices', () => {
  const methods = () =>
    [ClientProxy, ClientTCP, ClientNats, ClientKafka].map(({ prototype }) =>
      Object.entries(Object.getOwnPropertyDescriptors(prototype)).map(([name, { value }]) => [name, value]),
    );

  it('are as they were once the last application is closed', async () => {
    const before = methods();
    const [first, second] = [await startApp({}), await startApp({})];
    expect(methods()).not.toEqual(before);
    await first.close();
    expect(methods()).not.toEqual(before);
    await second.close();
    for (const [i, own] of methods().entries()) {
      for (const [j, [name, value]] of own.entries()) {
        expect(before[i]![j]![0]).toBe(name);
        expect(before[i]![j]![1]).toBe(value);
      }
    }
  });
});

/** Sends a packet as somebody else's client does, and gives the answer. */
async function sendRaw(packet: object): Promise<{ response: unknown }> {
  const { port } = transport.options as { port: number };
  const socket = connect(port, '127.0.0.1');
  const text = JSON.stringify(packet);
  socket.write(`${text.length}#${text}`);
  let received = '';
  for await (const chunk of socket) {
    received += String(chunk);
    const at = received.indexOf('#');
    if (at > 0 && received.length >= at + 1 + Number(received.slice(0, at))) break;
  }
  return JSON.parse(received.slice(received.indexOf('#') + 1)) as { response: unknown };
}
