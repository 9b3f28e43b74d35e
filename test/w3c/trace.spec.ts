import { Controller, Get } from '@nestjs/common';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { ContextService, contextLogFields } from 'nestjs-async-context';
import { newSpanId, newTraceId } from '../../lib/w3c/trace-ids';
import { platforms, startApp, type TestApp } from '../support/platforms';

const TRACEPARENT = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';

@Controller()
class TraceController {
  constructor(private readonly context: ContextService) {}

  @Get('silent')
  silent(): string {
    return 'asks for no trace';
  }

  @Get('ids')
  async ids() {
    const { traceId, spanId } = this.context;
    await new Promise(resolve => setTimeout(resolve, 1));
    return { traceId, spanId, fields: contextLogFields() };
  }

  @Get('job')
  job() {
    const { traceId, spanId } = this.context;
    const job = this.context.run({ handler: 'Mail.send' }, () => ({
      traceId: this.context.traceId,
      spanId: this.context.spanId,
    }));
    return { traceId, spanId, job };
  }
}

interface Ids {
  readonly traceId: string;
  readonly spanId: string;
}

describe.each(platforms)('the trace of a request on %s', platform => {
  let test: TestApp;
  beforeAll(async () => {
    test = await startApp({ platform, controllers: [TraceController] });
  });
  beforeEach(() => test.sink.clear());
  afterAll(() => test.close());

  const get = async <T>(path: string, headers: Record<string, string> = {}): Promise<T> =>
    (await (await fetch(`${test.url}/${path}`, { headers })).json()) as T;

  it('begins here without a traceparent, once it is asked for, and is in log lines and record', async () => {
    const { fields, ...ids } = await get<Ids & { fields: Ids }>('ids');
    expect(ids).toEqual({
      traceId: expect.stringMatching(/^[0-9a-f]{32}$/),
      spanId: expect.stringMatching(/^[0-9a-f]{16}$/),
    });
    expect(fields).toMatchObject(ids);
    const [record] = await test.records(1);
    expect(record).toMatchObject(ids);
    expect(record).not.toHaveProperty('parentSpanId');
  });

  it('is not in the record when nobody asked for it', async () => {
    await fetch(`${test.url}/silent`);
    const [record] = await test.records(1);
    for (const name of ['traceId', 'spanId', 'parentSpanId']) expect(record).not.toHaveProperty(name);
  });

  it('goes on from a traceparent, below the span of the caller', async () => {
    const { traceId, spanId } = await get<Ids>('ids', { traceparent: TRACEPARENT });
    expect(traceId).toBe('0af7651916cd43dd8448eb211c80319c');
    expect(spanId).not.toBe('b7ad6b7169203331');
    const [record] = await test.records(1);
    expect(record).toMatchObject({ traceId, spanId, parentSpanId: 'b7ad6b7169203331' });
  });

  it('goes on in the work that it begins, with a span of its own', async () => {
    const { traceId, spanId, job } = await get<Ids & { job: Ids }>('job');
    expect(job.traceId).toBe(traceId);
    expect(job.spanId).not.toBe(spanId);
    const records = await test.records(2);
    expect(records.find(({ handler }) => handler === 'Mail.send')).toMatchObject({
      ...job,
      parentSpanId: spanId,
    });
  });

  it('is another one for each request', async () => {
    const all = await Promise.all(Array.from({ length: 20 }, () => get<Ids>('ids')));
    expect(new Set(all.map(({ traceId }) => traceId)).size).toBe(20);
  });
});

describe('ids of traces and spans', () => {
  it('do not repeat when the random bytes are renewed', () => {
    const ids = Array.from({ length: 1_000 }, () => [newTraceId(), newSpanId()]).flat();
    expect(new Set(ids).size).toBe(2_000);
    for (const id of ids) expect(id).toMatch(/^(?:[0-9a-f]{32}|[0-9a-f]{16})$/);
  });
});
