import { Controller } from '@nestjs/common';
import { ClientProxyFactory, MessagePattern, Transport } from '@nestjs/microservices';
import { WsAdapter } from '@nestjs/platform-ws';
import { SubscribeMessage, WebSocketGateway } from '@nestjs/websockets';
import { Concurrency, ProcessFigures } from 'nestjs-async-context';
import { createServer, type AddressInfo } from 'node:net';
import { firstValueFrom } from 'rxjs';
import { describe, expect, it } from 'vitest';
import { WebSocket } from 'ws';
import { startApp, until } from '../support/platforms';

const finishes: (() => void)[] = [];
const finishAll = (): void => {
  for (const finish of finishes.splice(0)) finish();
};
const work = (): Promise<string> => new Promise(resolve => finishes.push(() => resolve('done')));

@Controller()
class MessagesController {
  @MessagePattern('work')
  @Concurrency({ limit: 1 })
  work() {
    return work();
  }

  @MessagePattern('never')
  @Concurrency({ limit: 1, maxHoldMs: 20 })
  never() {
    return work();
  }
}

@WebSocketGateway()
class WorkGateway {
  @SubscribeMessage('work')
  @Concurrency({ limit: 1 })
  async work() {
    return { event: 'work', data: await work() };
  }
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise(resolve => server.close(resolve));
  return port;
}

describe('@Concurrency() of messages', () => {
  it('answers with the error of RPC, and takes the slot back when the result has settled or never does', async () => {
    const options = { host: '127.0.0.1', port: await freePort() };
    const test = await startApp({
      controllers: [MessagesController],
      configure: async app => {
        app.connectMicroservice({ transport: Transport.TCP, options });
        await app.startAllMicroservices();
      },
    });
    const client = ClientProxyFactory.create({ transport: Transport.TCP, options });
    const send = (pattern: string): Promise<unknown> => firstValueFrom(client.send(pattern, {}));
    const first = send('work');
    await until(() => finishes.length === 1, 'the first');
    await expect(send('work')).rejects.toMatchObject({
      statusCode: 503,
      reason: 'busy',
      retryAfterSeconds: 1,
    });
    finishAll();
    expect(await first).toBe('done');
    const next = send('work');
    await until(() => finishes.length === 1, 'the next');
    finishAll();
    expect(await next).toBe('done');

    const hung = send('never').catch(() => undefined);
    await until(() => finishes.length === 1, 'one that never ends');
    await until(() => test.logs.of('warn', 'Guards').some(line => line.includes('was reclaimed')), 'line');
    const another = send('never').catch(() => undefined);
    await until(() => finishes.length === 2, 'another one');
    finishAll();
    await Promise.all([hung, another]);
    client.close();
    await test.close();
  });

  it('answers with the error of a gateway', async () => {
    const test = await startApp({
      providers: [WorkGateway],
      configure: app => void app.useWebSocketAdapter(new WsAdapter(app)),
    });
    const socket = new WebSocket(test.url.replace('http', 'ws'));
    const said: string[] = [];
    socket.on('message', data => said.push(String(data)));
    await new Promise(resolve => socket.on('open', resolve));
    const send = (): void => socket.send(JSON.stringify({ event: 'work' }));
    send();
    await until(() => finishes.length === 1, 'the first');
    send();
    await until(() => said.length === 1, 'a refusal');
    expect(said[0]).toContain('"event":"exception"');
    expect(said[0]).toContain('busy');
    finishAll();
    await until(() => said.length === 2, 'an answer');
    send();
    await until(() => finishes.length === 1, 'the next');
    finishAll();
    await until(() => said.length === 3, 'its answer');
    expect(test.app.get(ProcessFigures).refusals).toMatchObject([
      { by: 'concurrency', reason: 'busy', handler: 'WorkGateway.work', count: 1 },
    ]);
    socket.close();
    await test.close();
  });
});
