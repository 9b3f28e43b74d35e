import { IoAdapter } from '@nestjs/platform-socket.io';
import { WsAdapter } from '@nestjs/platform-ws';
import {
  type OnGatewayConnection,
  type OnGatewayDisconnect,
  SubscribeMessage,
  WebSocketGateway,
} from '@nestjs/websockets';
import type { IncomingMessage } from 'node:http';
import { connect as connectTcp } from 'node:net';
import { Pool } from 'pg';
import { io } from 'socket.io-client';
import { WebSocket } from 'ws';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { ContextService, type CostRecord } from 'nestjs-async-context';
import { databaseUrl } from '../support/database';
import { type Platform, startApp, type TestApp, until } from '../support/platforms';

const pool = new Pool({ connectionString: databaseUrl(), max: 1 });
afterAll(() => pool.end());

/** A client that is kept waiting for its answer, until it is let in. */
let waiting: (() => void) | undefined;

/** Asks the database whether a client may connect. */
async function mayConnect(request: IncomingMessage): Promise<boolean> {
  await pool.query('SELECT 1 AS "may connect"');
  if (request.headers['x-wait'] !== undefined) await new Promise<void>(resolve => (waiting = resolve));
  return request.headers['x-refused'] === undefined;
}

@WebSocketGateway({
  // Of `ws`, and of socket.io.
  verifyClient: async ({ req }: { req: IncomingMessage }, done: (may: boolean) => void) => {
    done(await mayConnect(req));
  },
  allowRequest: async (req: IncomingMessage, done: (error: null, may: boolean) => void) => {
    done(null, await mayConnect(req));
  },
})
class DoorGateway implements OnGatewayConnection, OnGatewayDisconnect {
  constructor(private readonly context: ContextService) {}

  async handleConnection(): Promise<void> {
    await pool.query('SELECT 1 AS "hello"');
    await pool.query('SELECT 1 AS "hello again"');
  }

  async handleDisconnect(): Promise<void> {
    await pool.query('SELECT 1 AS "bye"');
  }

  @SubscribeMessage('id')
  async id() {
    await pool.query('SELECT 1 AS "message"');
    return { event: 'id', data: this.context.requestId };
  }
}

interface Connection {
  ask(): void;
  close(): void;
}

type Connect = (url: string, headers?: Record<string, string>) => Promise<Connection>;

const adapters: {
  name: string;
  platform: Platform;
  Adapter: typeof WsAdapter | typeof IoAdapter;
  connect: Connect;
}[] = [
  { name: 'ws on Express', platform: 'express', Adapter: WsAdapter, connect: connectWs },
  { name: 'ws on Fastify', platform: 'fastify', Adapter: WsAdapter, connect: connectWs },
  { name: 'socket.io on Express', platform: 'express', Adapter: IoAdapter, connect: connectIo },
  { name: 'socket.io on Fastify', platform: 'fastify', Adapter: IoAdapter, connect: connectIo },
];

describe.each(adapters)('A request for a WebSocket: $name', ({ platform, Adapter, connect }) => {
  let test: TestApp;

  beforeAll(async () => {
    test = await startApp({
      platform,
      lateAfterMs: 50,
      providers: [DoorGateway],
      configure: app => void app.useWebSocketAdapter(new Adapter(app)),
    });
  });
  afterEach(() => test.sink.clear());
  afterAll(() => test.close());

  const recordOf = (is: Partial<CostRecord>): Promise<CostRecord> =>
    until(
      () =>
        test.sink.records.find(record =>
          Object.entries(is).every(([key, value]) => record[key as keyof CostRecord] === value),
        ),
      `record of ${JSON.stringify(is)}`,
    );

  it('is a unit of work that ends with the handshake', async () => {
    const client = await connect(test.url);
    const upgrade = await recordOf({ kind: 'http' });
    expect(upgrade).toMatchObject({
      method: 'GET',
      route: 'GET (upgrade)',
      status: 101,
      aborted: false,
      queries: { count: 1, late: 0 },
    });
    const connection = await recordOf({ route: 'connection' });
    expect(connection).toMatchObject({
      kind: 'websocket',
      handler: 'DoorGateway.handleConnection',
      queries: { count: 2, late: 0 },
    });
    expect(connection.requestId).not.toBe(upgrade.requestId);
    for (let i = 0; i < 3; i += 1) client.ask();
    await until(() => test.sink.records.filter(({ route }) => route === 'id').length === 3, 'messages');
    client.close();
    const bye = await recordOf({ route: 'disconnect' });
    expect(bye).toMatchObject({ handler: 'DoorGateway.handleDisconnect', queries: { count: 1, late: 0 } });
    expect(test.sink.records).toHaveLength(6);
    expect(test.logs.of('warn', 'AsyncContext')).toEqual([]);
  });

  it('has the status that it is refused with', async () => {
    await expect(connect(test.url, { 'x-refused': 'yes' })).rejects.toThrow();
    const { status } = await recordOf({ kind: 'http' });
    expect(status).toBeGreaterThanOrEqual(400);
    expect(test.sink.records).toHaveLength(1);
  });

  it('ends as well when the client has left before the answer', async () => {
    const { hostname, port } = new URL(test.url);
    const socket = connectTcp(Number(port), hostname);
    const path = Adapter === IoAdapter ? '/socket.io/?EIO=4&transport=websocket' : '/';
    const headers = ['connection: Upgrade', 'upgrade: websocket', 'sec-websocket-version: 13', 'x-wait: yes'];
    const key = 'sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==';
    socket.write(`GET ${path} HTTP/1.1\r\nhost: here\r\n${[...headers, key].join('\r\n')}\r\n\r\n`);
    const letIn = await until(() => waiting, 'a client that waits');
    socket.destroy();
    await new Promise(resolve => socket.once('close', resolve));
    // Nobody reads from the connection before: that it is gone shows when it is answered.
    letIn();
    waiting = undefined;
    const record = await recordOf({ kind: 'http' });
    // The answer may have been sent to nobody.
    expect(record.aborted || record.status === 101).toBe(true);
    expect(record.queries).toMatchObject({ count: 1, late: 0 });
  });
});

async function connectWs(url: string, headers: Record<string, string> = {}): Promise<Connection> {
  const socket = new WebSocket(url.replace('http', 'ws'), { headers });
  await new Promise((resolve, reject) => socket.once('open', resolve).once('error', reject));
  return { ask: () => socket.send(JSON.stringify({ event: 'id' })), close: () => socket.close() };
}

async function connectIo(url: string, headers: Record<string, string> = {}): Promise<Connection> {
  const socket = io(url, { transports: ['websocket'], extraHeaders: headers, reconnection: false });
  await new Promise((resolve, reject) =>
    socket.once('connect', () => resolve(undefined)).once('connect_error', reject),
  );
  return { ask: () => void socket.emit('id', {}), close: () => void socket.close() };
}
