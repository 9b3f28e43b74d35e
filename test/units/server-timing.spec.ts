import { Controller, Get, Header, Res } from '@nestjs/common';
import { setTimeout as sleep } from 'node:timers/promises';
import { ContextService } from 'nestjs-async-context';
import { afterEach, describe, expect, it } from 'vitest';
import { platforms, startApp, type TestApp, type TestAppOptions } from '../support/platforms';

@Controller()
class Orders {
  constructor(private readonly context: ContextService) {}

  @Get('orders')
  async orders() {
    await sleep(30);
    for (let i = 0; i < 12; i += 1) {
      this.context.record({ system: 'cassandra', statement: 'SELECT 1', durationMs: 2, rows: 1 });
    }
    return [];
  }

  @Get('own')
  @Header('Server-Timing', 'cdn;dur=1')
  own() {
    return [];
  }

  @Get('raw')
  raw(@Res() response: { raw?: import('node:http').ServerResponse } & import('node:http').ServerResponse) {
    const raw = response.raw ?? response;
    raw.writeHead(200, { 'SERVER-timing': 'cdn;dur=1', 'content-type': 'text/plain' });
    raw.end('raw');
  }

  @Get('fails')
  fails() {
    throw new Error('no');
  }
}

describe.each(platforms)('Server-Timing on %s', platform => {
  let test: TestApp;
  afterEach(() => test.close());

  async function timingOf(path: string, serverTiming: TestAppOptions['serverTiming'], user = 'ada') {
    test = await startApp({
      platform,
      controllers: [Orders],
      ...(serverTiming !== undefined && { serverTiming }),
    });
    const response = await fetch(test.url + path, { headers: { 'x-user': user } });
    await response.text();
    return response.headers.get('server-timing');
  }

  it('is off by default', async () => {
    expect(await timingOf('/orders', undefined)).toBeNull();
  });

  it('says where the time went, in the form of the W3C', async () => {
    const header = await timingOf('/orders', true);
    const entries = header!.split(', ');

    expect(entries[0]).toMatch(/^db;dur=\d+(\.\d)?;desc="12 queries"$/);
    expect(Number(/^db;dur=([\d.]+)/.exec(header!)![1])).toBeGreaterThan(20);
    for (const entry of entries) expect(entry).toMatch(/^[a-z]+;dur=\d+(\.\d)?(;desc="[\w ]+")?$/);
    expect(entries.length).toBeLessThanOrEqual(10);
    expect(entries.at(-1)).toMatch(/^total;dur=\d/);
  });

  it.each(['/own', '/raw'])('adds to what the application has said, on %s', async path => {
    // A busy machine may have kept the loop from turning.
    expect(await timingOf(path, true)).toMatch(
      /^cdn;dur=1, (loop;dur=[\d.]+, )?app;dur=[\d.]+, total;dur=[\d.]+$/,
    );
  });

  it.each(['/fails', '/no-such-route'])('is there on an error as well: %s', async path => {
    expect(await timingOf(path, true)).toMatch(/total;dur=/);
  });

  it('is there for whom a function says so', async () => {
    const isAda = (request: unknown): boolean =>
      (request as { headers: Record<string, string> }).headers['x-user'] === 'ada';
    expect(await timingOf('/orders', isAda)).toContain('db;dur=');
    await test.close();
    expect(await timingOf('/orders', isAda, 'eve')).toBeNull();
  });

  it('is left out, and the request goes on, when the function throws', async () => {
    const broken = (): boolean => {
      throw new Error('broken');
    };
    expect(await timingOf('/orders', broken)).toBeNull();
    expect(test.logs.of('warn', 'AsyncContext').join()).toContain('serverTiming failed and was ignored');
  });
});
