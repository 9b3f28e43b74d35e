import { type CanActivate, Injectable, UseGuards } from '@nestjs/common';
import { IoAdapter } from '@nestjs/platform-socket.io';
import { WsAdapter } from '@nestjs/platform-ws';
import {
  MessageBody,
  type OnGatewayConnection,
  SubscribeMessage,
  WebSocketGateway,
  WsException,
} from '@nestjs/websockets';
import { interval, map, type Observable, take } from 'rxjs';
import { io } from 'socket.io-client';
import { WebSocket } from 'ws';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ContextService, RunInContext } from 'nestjs-async-context';
import { startApp, type TestApp, until } from '../support/platforms';

const seen: (string | undefined)[] = [];

@Injectable()
class SeeingGuard implements CanActivate {
  constructor(private readonly context: ContextService) {}

  canActivate(): boolean {
    seen.push(this.context.requestId);
    return true;
  }
}

@WebSocketGateway()
@UseGuards(SeeingGuard)
class ShopGateway implements OnGatewayConnection {
  connectedIn: string | undefined;

  constructor(private readonly context: ContextService) {}

  @RunInContext()
  handleConnection(): void {
    this.connectedIn = this.context.requestId;
  }

  @SubscribeMessage('id')
  async id(@MessageBody() pause: number) {
    await new Promise(resolve => setTimeout(resolve, pause));
    const { requestId, kind, handler, route } = this.context;
    return { event: 'id', data: { requestId, kind, handler, route } };
  }

  @SubscribeMessage('stream')
  stream(): Observable<{ event: string; data: string | undefined }> {
    return interval(1).pipe(
      take(3),
      map(() => ({ event: 'stream', data: this.context.requestId })),
    );
  }

  @SubscribeMessage('fails')
  fails(): never {
    throw new WsException('no');
  }
}

interface Client {
  send(event: string, data: unknown): void;
  close(): void;
}

interface Answer {
  readonly event: string;
  readonly data: unknown;
}

type Connect = (url: string, answers: Answer[]) => Promise<Client>;

const adapters: [string, typeof WsAdapter | typeof IoAdapter, Connect][] = [
  ['ws', WsAdapter, connectWs],
  ['socket.io', IoAdapter, connectIo],
];

describe.each(adapters)('WebSocket messages over %s', (_name, Adapter, connect) => {
  const answers: Answer[] = [];
  let test: TestApp;
  let client: Client;

  beforeAll(async () => {
    test = await startApp({
      providers: [ShopGateway],
      configure: app => void app.useWebSocketAdapter(new Adapter(app)),
    });
    client = await connect(test.url, answers);
  });
  afterAll(async () => {
    client.close();
    await test.close();
  });

  /** Those of messages: that a client connects is a unit of work as well. */
  const messageRecords = (count: number) =>
    until(() => {
      const records = test.sink.records.filter(({ kind }) => kind === 'websocket');
      return records.length >= count && records;
    }, `${count} records`);

  it('have a context each, which guard, handler and record share', async () => {
    seen.length = 0;
    test.sink.clear();
    for (const pause of [20, 1, 10]) client.send('id', pause);
    const ids = await until(
      () => answers.length === 3 && answers.map(({ data }) => data as { requestId: string }),
      'three answers',
    );
    expect(new Set(ids.map(({ requestId }) => requestId)).size).toBe(3);
    expect([...seen].sort()).toEqual(ids.map(({ requestId }) => requestId).sort());
    expect(ids[0]).toMatchObject({ kind: 'websocket', handler: 'ShopGateway.id', route: 'id' });
    const records = await messageRecords(3);
    expect(records.map(({ requestId }) => requestId).sort()).toEqual([...seen].sort());
    expect(records[0]).toMatchObject({ kind: 'websocket', handler: 'ShopGateway.id', route: 'id' });
  });

  it('keep it for a stream, which closes it', async () => {
    answers.length = 0;
    test.sink.clear();
    client.send('stream', {});
    await until(() => answers.length === 3, 'three answers');
    expect(new Set(answers.map(({ data }) => data)).size).toBe(1);
    const [record] = await messageRecords(1);
    expect(record).toMatchObject({ requestId: answers[0]!.data, handler: 'ShopGateway.stream' });
  });

  it('are recorded when they fail', async () => {
    test.sink.clear();
    client.send('fails', {});
    const [record] = await messageRecords(1);
    expect(record).toMatchObject({ route: 'fails', handler: 'ShopGateway.fails', error: 'WsException' });
  });

  it('leave handleConnection() to @RunInContext()', () => {
    expect(test.app.get(ShopGateway).connectedIn).toEqual(expect.any(String));
  });
});

async function connectWs(url: string, answers: Answer[]): Promise<Client> {
  const socket = new WebSocket(url.replace('http', 'ws'));
  await new Promise((resolve, reject) => socket.once('open', resolve).once('error', reject));
  socket.on('message', data => answers.push(JSON.parse(String(data)) as Answer));
  return { send: (event, data) => socket.send(JSON.stringify({ event, data })), close: () => socket.close() };
}

async function connectIo(url: string, answers: Answer[]): Promise<Client> {
  const socket = io(url, { transports: ['websocket'] });
  await new Promise((resolve, reject) =>
    socket.once('connect', () => resolve(undefined)).once('connect_error', reject),
  );
  for (const event of ['id', 'stream']) socket.on(event, (data: unknown) => answers.push({ event, data }));
  return { send: (event, data) => void socket.emit(event, data), close: () => void socket.close() };
}
