import {
  Body,
  type CanActivate,
  Controller,
  type ExecutionContext,
  Get,
  Injectable,
  Post,
  Query,
  UseGuards,
} from '@nestjs/common';
import { Agent, request } from 'node:http';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ContextService } from 'nestjs-async-context';
import { contextStorage } from '../../lib/context/context-storage';
import { platforms, startApp, type TestApp } from '../support/platforms';

/** `.ci/full` has more: 10,000 and 2,000. */
const REPETITIONS = Number(process.env['TEST_REPETITIONS'] ?? 1);
const REQUESTS = 2_500 * REPETITIONS;
const SOCKETS = 200;
const POSTS = 500 * REPETITIONS;

/** How many requests had a store already when their entry came, and in which middleware that was seen. */
let storesAtEntry = 0;

@Injectable()
class IdGuard implements CanActivate {
  constructor(private readonly context: ContextService) {}

  canActivate(execution: ExecutionContext): boolean {
    const { query } = execution.switchToHttp().getRequest<{ query: { n?: string } }>();
    if (query.n !== undefined) this.context.set('n', query.n);
    return true;
  }
}

@Injectable()
class Worker {
  constructor(private readonly context: ContextService) {}

  async work(): Promise<string[]> {
    const seen = [this.seen()];
    for (let i = 0; i < 3; i++) {
      await pause();
      seen.push(this.seen());
    }
    return seen;
  }

  private seen(): string {
    return `${this.context.requestId} ${this.context.get<string>('n')}`;
  }
}

@Controller()
class WorkController {
  constructor(
    private readonly worker: Worker,
    private readonly context: ContextService,
  ) {}

  @Get()
  @UseGuards(IdGuard)
  async get(@Query('n') n: string) {
    return { n, seen: await this.worker.work(), requestId: this.context.requestId };
  }

  @Post()
  async post(@Body() body: { text: string }, @Query('n') n: string) {
    this.context.set('n', n);
    await pause();
    return { n, length: body.text.length, requestId: this.context.requestId, seen: this.context.get('n') };
  }
}

describe.each(platforms)('contexts on %s', platform => {
  let test: TestApp;

  beforeAll(async () => {
    test = await startApp({
      platform,
      controllers: [WorkController],
      providers: [Worker, IdGuard],
      configure: app => {
        const server = app.getHttpServer();
        const emit = server.emit;
        // Before anything of Nest, of the platform or of ours sees the request.
        server.emit = function (this: unknown, name: string, ...args: unknown[]) {
          if (name === 'request' && contextStorage.getStore() !== undefined) storesAtEntry += 1;
          return emit.call(this, name, ...args);
        };
      },
    });
  });
  afterAll(() => test.close());

  it(`belong to one of ${REQUESTS} requests each, over ${SOCKETS} keep-alive sockets`, async () => {
    storesAtEntry = 0;
    const agent = new Agent({ keepAlive: true, maxSockets: SOCKETS });
    const ids = new Set<string>();
    await inParallel(REQUESTS, SOCKETS, async n => {
      const answer = await send(agent, `${test.url}/?n=${n}`);
      const { requestId, seen } = JSON.parse(answer.body) as { requestId: string; seen: string[] };
      ids.add(requestId);
      if (answer.header !== requestId) throw new Error(`answered ${answer.header}, worked for ${requestId}`);
      for (const one of seen) if (one !== `${requestId} ${n}`) throw new Error(`request ${n} saw ${one}`);
    });
    agent.destroy();
    expect(ids.size).toBe(REQUESTS);
    expect(storesAtEntry).toBe(0);
  });

  it(`are their own after the body of ${POSTS} chunked 70 KB POSTs was parsed`, async () => {
    storesAtEntry = 0;
    const agent = new Agent({ keepAlive: true, maxSockets: 50 });
    const text = 'x'.repeat(70_000);
    const ids = new Set<string>();
    await inParallel(POSTS, 50, async n => {
      const answer = await send(agent, `${test.url}/?n=${n}`, JSON.stringify({ text }));
      const { requestId, seen, length } = JSON.parse(answer.body) as {
        requestId: string;
        seen: string;
        length: number;
      };
      ids.add(requestId);
      if (answer.header !== requestId || seen !== String(n) || length !== text.length) {
        throw new Error(`request ${n}: ${answer.header} ${answer.body}`);
      }
    });
    agent.destroy();
    expect(ids.size).toBe(POSTS);
    expect(storesAtEntry).toBe(0);
  });
});

async function inParallel(count: number, atOnce: number, work: (n: number) => Promise<void>): Promise<void> {
  let next = 0;
  await Promise.all(
    Array.from({ length: atOnce }, async () => {
      while (next < count) await work(next++);
    }),
  );
}

function pause(): Promise<void> {
  return new Promise(resolve => {
    const kind = Math.random();
    if (kind < 0.4) setImmediate(resolve);
    else if (kind < 0.8) setTimeout(resolve, Math.random() * 4);
    else process.nextTick(resolve);
  });
}

function send(
  agent: Agent,
  url: string,
  body?: string,
): Promise<{ body: string; header: string | undefined }> {
  return new Promise((resolve, reject) => {
    const outgoing = request(
      url,
      { agent, method: body === undefined ? 'GET' : 'POST', headers: { 'content-type': 'application/json' } },
      response => {
        let text = '';
        response.setEncoding('utf8').on('data', chunk => (text += chunk));
        response.on('end', () => resolve({ body: text, header: response.headers['x-request-id'] as string }));
        response.on('error', reject);
      },
    );
    outgoing.on('error', reject);
    if (body === undefined) {
      outgoing.end();
      return;
    }
    // Two chunks with a turn of the event loop between them: no content-length, so chunked.
    outgoing.write(body.slice(0, 35_000));
    setImmediate(() => outgoing.end(body.slice(35_000)));
  });
}
