import { Body, Controller, Get, Post } from '@nestjs/common';
import { connect } from 'node:net';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { ContextService, QueryBudget } from 'nestjs-async-context';
import { platforms, startApp, type TestApp, until } from '../support/platforms';

let test: TestApp;
afterEach(() => test?.close());

let closed: string[] = [];
let begun = 0;
let answer = (): void => undefined;

@Controller('ahead')
@QueryBudget(0)
class AheadController {
  constructor(private readonly context: ContextService) {}

  @Get('waits')
  waits(): Promise<string> {
    this.#begin();
    return new Promise(resolve => {
      const before = answer;
      answer = () => {
        before();
        resolve('waited');
      };
    });
  }

  @Post('waits')
  reads(@Body() _body: unknown): Promise<string> {
    return this.waits();
  }

  @Get('answers')
  answers(): string {
    this.#begin();
    return 'answered';
  }

  #begin(): void {
    begun += 1;
    this.context.record({ system: 'test', collection: 'things', durationMs: 1 });
    this.context.onClose(() => closed.push(this.context.requestId!));
  }
}

const GET = 'GET /ahead/waits HTTP/1.1\r\nhost: test\r\n\r\n';
const POST =
  'POST /ahead/waits HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}';
const ANSWERED = 'GET /ahead/answers HTTP/1.1\r\nhost: test\r\n\r\n';

async function start(platform: (typeof platforms)[number]): Promise<void> {
  closed = [];
  begun = 0;
  answer = () => undefined;
  test = await startApp({ platform, controllers: [AheadController], breachWindowMs: 0 });
}

function send(text: string) {
  const { hostname, port } = new URL(test.url);
  const socket = connect(Number(port), hostname, () => socket.write(text));
  return socket.on('error', () => undefined);
}

describe.each(platforms)('on %s', platform => {
  it('ends each request that was sent ahead when the client leaves', async () => {
    await start(platform);
    const warned = vi.spyOn(process, 'emitWarning');
    const socket = send((GET + POST + ANSWERED).repeat(10));
    await until(() => begun === 30, '30 requests');
    socket.destroy();

    const records = await test.records(30);
    expect(records).toHaveLength(30);
    expect(records.every(({ aborted }) => aborted)).toBe(true);
    expect(records.every(({ breaches }) => breaches.length === 1)).toBe(true);
    expect(new Set(closed).size).toBe(30);
    // What the handlers still do makes no second record.
    answer();
    await new Promise(resolve => setTimeout(resolve, 30));
    expect(test.sink.records).toHaveLength(30);
    expect(closed).toHaveLength(30);
    expect(warned.mock.calls.flat().join()).not.toContain('MaxListeners');
    warned.mockRestore();
  });

  it('ends each request that was sent ahead when it is answered', async () => {
    await start(platform);
    const socket = send((GET + POST + ANSWERED).repeat(10));
    let received = '';
    socket.on('data', chunk => (received += String(chunk)));
    await until(() => begun === 30, '30 requests');
    answer();
    await until(() => received.split('HTTP/1.1 2').length === 31, '30 answers');

    const records = await test.records(30);
    expect(records.map(({ aborted, status }) => [aborted, status! < 300])).toEqual(
      Array.from({ length: 30 }, () => [false, true]),
    );
    socket.destroy();
    await new Promise(resolve => setTimeout(resolve, 30));
    expect(test.sink.records).toHaveLength(30);
    expect(closed).toHaveLength(30);
  });
});
