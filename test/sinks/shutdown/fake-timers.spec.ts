import { once } from 'node:events';
import { Agent, get, type Server } from 'node:http';
import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { Controller, Get } from '@nestjs/common';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { ContextService, ProcessFigures } from 'nestjs-async-context';
import { MessageClients } from '../../../lib/propagation/messages/message-clients';
import { platforms, startApp } from '../../support/platforms';

let enter = (): void => undefined;
let answer = (): void => undefined;

@Controller()
class SlowController {
  @Get()
  get(): string {
    return 'done';
  }

  @Get('slow')
  async slow(): Promise<string> {
    const isFree = new Promise<void>(resolve => (answer = resolve));
    enter();
    await isFree;
    return 'done';
  }
}

afterEach(() => void vi.useRealTimers());

// What it waits for is real time: 4 s for a sink that hangs.
describe.each(platforms)('app.close() on %s', { timeout: 120_000 }, platform => {
  it('ends where a test fakes the clock and a sink hangs', async () => {
    const test = await startApp({
      platform,
      controllers: [SlowController],
      sinks: [
        {
          name: 'hangs',
          write: () => new Promise<void>(() => undefined),
          close: () => new Promise(() => undefined),
        },
        { name: 'refuses', write: () => Promise.reject(new Error('no')) },
      ],
      poolWaitMs: 1,
      resourceMonitor: {},
    });
    await (await fetch(test.url)).text();
    await test.records(1);
    const context = test.app.get(ContextService);
    const figures = test.app.get(ProcessFigures);
    vi.useFakeTimers();
    // The record of a unit of work that began, and ended, in a faked time.
    context.run({}, () => undefined);
    await test.app.close();
    expect(test.sink.records).toHaveLength(2);
    expect(figures.sinkStats.map(({ produced, queued }) => [produced, queued])).toEqual([
      [2, 0],
      [2, 0],
      [2, 0],
    ]);
  });

  it('closes the connection of a request that ends meanwhile, in real time', async () => {
    const test = await startApp({
      platform,
      controllers: [SlowController],
      nest: { forceCloseConnections: false },
    });
    // Fastify lets a connection rest for 72 s.
    const agent = new Agent({ keepAlive: true });
    const isIn = new Promise<void>(resolve => (enter = resolve));
    const request = get(`${test.url}/slow`, { agent });
    const responded = once(request, 'response');
    await isIn;
    const turn = setImmediate;
    vi.useFakeTimers();
    const closing = test.app.close();
    // Its connection is busy when the server closes those that are idle.
    const server = test.app.getHttpServer() as Server;
    while (server.listening) await new Promise(resolve => void turn(resolve));
    answer();
    const [response] = (await responded) as [NodeJS.ReadableStream];
    response.resume();
    await once(response, 'end');
    await closing;
    expect(server.listening).toBe(false);
    agent.destroy();
  });

  it('answers what follows on such a connection, and closes it although there is always more', async () => {
    const test = await startApp({
      platform,
      controllers: [SlowController],
      nest: { forceCloseConnections: false },
    });
    const { hostname, port } = new URL(test.url);
    const socket = connect(Number(port), hostname);
    const isOver = new Promise(resolve => socket.once('close', resolve).on('error', () => undefined));
    const ask = async (path: string): Promise<string> => {
      socket.write(`GET ${path} HTTP/1.1\r\nHost: ${hostname}\r\n\r\n`);
      const [answered] = (await Promise.race([once(socket, 'data'), isOver.then(() => [])])) as [unknown];
      return String(answered).split(' ')[1] ?? 'closed';
    };
    const isIn = new Promise<void>(resolve => (enter = resolve));
    const first = ask('/slow');
    await isIn;
    const closing = test.app.close();
    const server = test.app.getHttpServer() as Server;
    while (server.listening) await sleep(1);
    answer();
    expect(await first).toBe('200');
    // As a client with a queue does; and later than two looks at what rests.
    await sleep(120);
    // Fastify takes no more by itself.
    expect(await ask('/')).toBe(platform === 'express' ? '200' : '503');
    while (!socket.destroyed) {
      await sleep(20);
      // What is sent as it closes is met by a reset.
      await ask('/').catch(() => 'closed');
    }
    await closing;
    expect(server.listening).toBe(false);
  });

  it('takes back what it can, and writes the records, where one part fails', async () => {
    const before = process.listenerCount('uncaughtExceptionMonitor');
    const uninstall = vi.spyOn(MessageClients.prototype, 'uninstall').mockImplementation(() => {
      throw new Error('frozen');
    });
    let undone = 0;
    const test = await startApp({
      platform,
      controllers: [SlowController],
      instrumentations: ['first', 'second'].map(name => ({
        name,
        install: () => () => {
          undone += 1;
          throw new Error('no');
        },
      })),
      sinkQueue: { intervalMs: 60_000 },
    });
    await (await fetch(test.url)).text();
    await test.app.close();
    uninstall.mockRestore();
    expect(undone).toBeGreaterThanOrEqual(2);
    expect(test.sink.records).toHaveLength(1);
    expect(process.listenerCount('uncaughtExceptionMonitor')).toBe(before);
    const hookErrors = test.logs.of('warn', 'AsyncContext').map(line => line.split(' failed')[0]);
    expect(hookErrors.toSorted()).toEqual(
      ['instrumentation second', 'instrumentation first', 'message clients, shutdown'].toSorted(),
    );
  });
});
