import {
  BadRequestException,
  type CanActivate,
  Controller,
  Get,
  Injectable,
  type MessageEvent,
  Param,
  ParseIntPipe,
  Post,
  Body,
  Res,
  Sse,
  StreamableFile,
  UseGuards,
} from '@nestjs/common';
import { connect } from 'node:net';
import { Readable } from 'node:stream';
import { finalize, interval, map, type Observable, take } from 'rxjs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ContextService, type CostRecord } from 'nestjs-async-context';
import { platforms, startApp, type TestApp, until } from '../support/platforms';

@Injectable()
class Refuse implements CanActivate {
  canActivate(): boolean {
    return false;
  }
}

interface AnyResponse {
  readonly raw?: { end(body: string): void };
  end?(body: string): void;
  hijack?(): void;
}

let producing = false;

@Controller('outcome')
class OutcomeController {
  constructor(private readonly context: ContextService) {}

  @Get('ok')
  ok(): string {
    return 'ok';
  }

  @Get('exception')
  exception(): never {
    throw new BadRequestException('no');
  }

  @Get('thrown')
  thrown(): never {
    throw new TypeError('not for the client');
  }

  @Get('piped/:id')
  piped(@Param('id', ParseIntPipe) id: number): number {
    return id;
  }

  @Get('guarded')
  @UseGuards(Refuse)
  guarded(): string {
    return 'never';
  }

  @Get('by-hand')
  byHand(@Res() response: AnyResponse): void {
    response.hijack?.();
    (response.raw ?? (response as { end(body: string): void })).end('by hand');
  }

  @Get('file')
  file(): StreamableFile {
    return new StreamableFile(Buffer.from('a file'));
  }

  @Get('endless-file')
  endlessFile(): StreamableFile {
    return new StreamableFile(
      new Readable({
        read() {
          setTimeout(() => this.push(Buffer.alloc(1024)), 2);
        },
      }),
    );
  }

  @Sse('events')
  events(): Observable<MessageEvent> {
    return interval(1).pipe(
      take(3),
      map(n => ({ data: { n, requestId: this.context.requestId } })),
    );
  }

  @Sse('endless-events')
  endlessEvents(): Observable<MessageEvent> {
    producing = true;
    return interval(2).pipe(
      map(n => ({ data: { n } })),
      finalize(() => {
        producing = false;
      }),
    );
  }

  @Post('body')
  body(@Body() body: unknown): unknown {
    return body;
  }

  @Get('slow')
  async slow(): Promise<string> {
    await new Promise(resolve => setTimeout(resolve, 300));
    return 'too late';
  }

  @Get('never')
  never(): Promise<never> {
    return new Promise(() => undefined);
  }
}

type Expected = Partial<Pick<CostRecord, 'status' | 'route' | 'aborted' | 'handler' | 'error' | 'method'>>;

const outcomes: [name: string, send: (url: string) => Promise<unknown>, expected: Expected][] = [
  ['200', get('ok'), { status: 200, route: 'GET /outcome/ok', handler: 'OutcomeController.ok' }],
  [
    'HttpException',
    get('exception'),
    { status: 400, route: 'GET /outcome/exception', error: 'BadRequestException' },
  ],
  ['a thrown error', get('thrown'), { status: 500, route: 'GET /outcome/thrown', error: 'TypeError' }],
  [
    'a pipe that refuses',
    get('piped/x'),
    { status: 400, route: 'GET /outcome/piped/:id', error: 'BadRequestException' },
  ],
  [
    'a guard that refuses',
    get('guarded'),
    {
      status: 403,
      route: 'GET /outcome/guarded',
      handler: 'OutcomeController.guarded',
      error: 'ForbiddenException',
    },
  ],
  ['404', get('nowhere'), { status: 404, route: undefined, handler: undefined, error: 'NotFoundException' }],
  ['OPTIONS', send('OPTIONS', 'ok'), { method: 'OPTIONS' }],
  ['HEAD', send('HEAD', 'ok'), { method: 'HEAD', status: 200 }],
  ['@Res()', get('by-hand'), { status: 200, route: 'GET /outcome/by-hand' }],
  ['a file', get('file'), { status: 200, route: 'GET /outcome/file' }],
  ['SSE', get('events'), { status: 200, route: 'GET /outcome/events' }],
  ['malformed JSON', malformed, { status: 400, method: 'POST' }],
  [
    'an abort while the handler works',
    abort('slow', false),
    { status: undefined, aborted: true, route: 'GET /outcome/slow' },
  ],
  [
    'an abort of SSE',
    abort('endless-events', true),
    { status: 200, aborted: true, route: 'GET /outcome/endless-events' },
  ],
  [
    'an abort of a file',
    abort('endless-file', true),
    { status: 200, aborted: true, route: 'GET /outcome/endless-file' },
  ],
  [
    'a handler that never settles',
    abort('never', false),
    { status: undefined, aborted: true, route: 'GET /outcome/never' },
  ],
];

describe.each(platforms)('on %s', platform => {
  let test: TestApp;

  beforeAll(async () => {
    test = await startApp({ platform, controllers: [OutcomeController] });
  });
  afterAll(() => test.close());

  it.each(outcomes)('%s gives exactly one record, with what happened', async (_name, request, expected) => {
    test.sink.clear();
    const started = performance.now();

    await request(test.url);
    const [record] = await test.records(1);
    const took = performance.now() - started;

    for (const [name, value] of Object.entries({ kind: 'http', aborted: false, ...expected })) {
      expect(record![name as keyof CostRecord], name).toBe(value);
    }
    expect(record!.durationMs).toBeGreaterThan(0);
    expect(record!.durationMs).toBeLessThanOrEqual(took);
    expect(Date.parse(record!.startedAt)).toBeLessThanOrEqual(Date.now());
    // Long enough for the slow handler to end, and for a second record to show up.
    await new Promise(resolve => setTimeout(resolve, expected.route === 'GET /outcome/slow' ? 350 : 50));
    expect(test.sink.records).toHaveLength(1);
  });

  it('stops the producer of SSE when the client leaves', async () => {
    producing = false;
    await abort('endless-events', true)(test.url);
    await until(() => !producing, 'end of the producer');
  });
});

function get(path: string): (url: string) => Promise<unknown> {
  return send('GET', path);
}

function send(method: string, path: string): (url: string) => Promise<unknown> {
  return async url => (await fetch(`${url}/outcome/${path}`, { method })).text();
}

async function malformed(url: string): Promise<unknown> {
  const response = await fetch(`${url}/outcome/body`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: '{"a":',
  });
  return response.text();
}

/** Leaves after the first bytes of the answer, or, where none come, after the request was sent. */
function abort(path: string, afterFirstBytes: boolean): (url: string) => Promise<void> {
  return url =>
    new Promise((resolve, reject) => {
      const { hostname, port } = new URL(url);
      const socket = connect(Number(port), hostname, () => {
        socket.write(`GET /outcome/${path} HTTP/1.1\r\nhost: test\r\n\r\n`);
        if (!afterFirstBytes) setTimeout(() => socket.destroy(), 50);
      });
      if (afterFirstBytes) socket.once('data', () => setTimeout(() => socket.destroy(), 10));
      socket.on('close', () => resolve());
      socket.on('error', reject);
    });
}
