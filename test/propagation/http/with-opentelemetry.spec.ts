import { context, propagation, ROOT_CONTEXT, type TextMapPropagator, trace } from '@opentelemetry/api';
import { CompositePropagator, W3CBaggagePropagator, W3CTraceContextPropagator } from '@opentelemetry/core';
import { HttpInstrumentation } from '@opentelemetry/instrumentation-http';
import { UndiciInstrumentation } from '@opentelemetry/instrumentation-undici';
import { NodeTracerProvider } from '@opentelemetry/sdk-trace-node';
import type Http from 'node:http';
import { createRequire } from 'node:module';
import * as undici from 'undici';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';

/** A propagator of the house, as b3 is one. */
const HOUSE: TextMapPropagator = {
  fields: () => ['x-house'],
  inject(from, carrier, setter) {
    const span = trace.getSpanContext(from);
    if (span !== undefined) setter.set(carrier, 'x-house', `${span.traceId}/${span.spanId}`);
  },
  extract(into, carrier, getter) {
    const [traceId, spanId] = String(getter.get(carrier, 'x-house')).split('/');
    if (traceId === undefined || spanId === undefined) return into;
    return trace.setSpanContext(into, { traceId, spanId, traceFlags: 1, isRemote: true });
  },
};

const provider = new NodeTracerProvider();
provider.register({
  propagator: new CompositePropagator({
    propagators: [new W3CTraceContextPropagator(), new W3CBaggagePropagator(), HOUSE],
  }),
});
const httpInstrumentation = new HttpInstrumentation();
httpInstrumentation.setTracerProvider(provider);
const http = createRequire(import.meta.url)('node:http') as typeof Http;

const { startApp } = await import('../../support/platforms');
const { startHeaderServer } = await import('../../support/header-server');
const { ContextService } = await import('nestjs-async-context');
type TestApp = Awaited<ReturnType<typeof startApp>>;

let server: Awaited<ReturnType<typeof startHeaderServer>>;
let test: TestApp;
let paths = 0;
const newPath = (): string => `/p${(paths += 1)}`;
const tracer = provider.getTracer('test');

const SENDS: Record<string, (url: string) => Promise<unknown>> = {
  fetch: async url => (await fetch(url)).text(),
  undici: async url => (await undici.request(url)).body.text(),
  'node:http': url =>
    new Promise((resolve, reject) => {
      http.get(url, response => response.resume().on('end', resolve)).on('error', reject);
    }),
};

beforeAll(async () => {
  server = await startHeaderServer();
});
afterAll(async () => {
  httpInstrumentation.disable();
  await server.close();
  await provider.shutdown();
  trace.disable();
  propagation.disable();
});
afterEach(() => test.close());

const start = async (): Promise<InstanceType<typeof ContextService>> => {
  test = await startApp({ propagate: { hosts: ['127.0.0.1'] } });
  return test.app.get(ContextService);
};

describe.each(Object.keys(SENDS))('where OpenTelemetry traces the process, %s', name => {
  const send = SENDS[name]!;

  it('sends what its propagators say of the span that is active', async () => {
    httpInstrumentation.disable();
    const service = await start();
    const path = newPath();
    const span = await service.run({ requestId: 'r-1' }, () =>
      tracer.startActiveSpan('work', async active => {
        const baggage = propagation.createBaggage({ shop: { value: 'a b' } });
        await context.with(propagation.setBaggage(context.active(), baggage), () => send(server.url + path));
        active.end();
        return active.spanContext();
      }),
    );
    const { headers, times } = server.at(path);
    expect(headers).toMatchObject({
      traceparent: `00-${span.traceId}-${span.spanId}-01`,
      'x-house': `${span.traceId}/${span.spanId}`,
      baggage: 'shop=a%20b',
      'x-request-id': 'r-1',
    });
    expect(headers).not.toHaveProperty('tracestate');
    for (const header of ['traceparent', 'x-house', 'baggage']) expect(times(header)).toBe(1);
  });

  it('sends the unit of work in the form of its propagators where no span is active', async () => {
    const service = await start();
    const path = newPath();
    const traceId = await service.run({}, async () => {
      await send(server.url + path);
      return service.traceId;
    });
    const { headers } = server.at(path);
    const callId = String(headers['traceparent']).slice(36, 52);
    expect(headers['traceparent']).toBe(`00-${traceId}-${callId}-03`);
    expect(headers['x-house']).toBe(`${traceId}/${callId}`);
    expect(headers['tracestate']).toMatch(/^nac=/);
  });

  it.each(['before', 'after'])('sends the span of its instrumentation, started %s ours, once', async when => {
    const theirs = new UndiciInstrumentation();
    const enable = (): void => {
      theirs.setTracerProvider(provider);
      theirs.enable();
      httpInstrumentation.enable();
    };
    theirs.disable();
    if (when === 'before') enable();
    const service = await start();
    if (when === 'after') enable();
    const path = newPath();
    const parent = await service.run({ requestId: 'r-1' }, () =>
      tracer.startActiveSpan('work', async active => {
        await send(server.url + path);
        active.end();
        return active.spanContext();
      }),
    );
    theirs.disable();
    httpInstrumentation.disable();
    const { headers, times } = server.at(path);
    expect(headers['traceparent']).toMatch(new RegExp(`^00-${parent.traceId}-[0-9a-f]{16}-01$`));
    // The span of the request, below the one at work.
    expect(headers['traceparent']).not.toContain(parent.spanId);
    expect(headers['x-house']).toBe(`${parent.traceId}/${String(headers['traceparent']).slice(36, 52)}`);
    expect(headers['x-request-id']).toBe('r-1');
    for (const header of ['traceparent', 'x-house', 'x-request-id']) expect(times(header)).toBe(1);
    expect(context.active()).toBe(ROOT_CONTEXT);
  });
});

describe('a carrier where OpenTelemetry traces the process', () => {
  const spanIn = (): { traceId: string; parent: string | undefined } => {
    const span = tracer.startSpan('inside') as unknown as {
      end(): void;
      spanContext(): { traceId: string };
      parentSpanContext?: { spanId: string };
    };
    span.end();
    return { traceId: span.spanContext().traceId, parent: span.parentSpanContext?.spanId };
  };

  it('takes what the propagators say, and spans made after it have the span that sent it as parent', async () => {
    const service = await start();
    const sent = tracer.startActiveSpan('producer', span => {
      span.end();
      return { carrier: service.run({}, () => service.carry()), span: span.spanContext() };
    });
    expect(sent.carrier).toMatchObject({
      traceparent: `00-${sent.span.traceId}-${sent.span.spanId}-01`,
      'x-house': `${sent.span.traceId}/${sent.span.spanId}`,
    });
    const { inside, later, ids, carried } = await service.resume(sent.carrier, async () => {
      const first = spanIn();
      await Promise.resolve();
      const own = { traceId: service.traceId, spanId: service.spanId };
      return { inside: first, later: spanIn(), ids: own, carried: service.carry() };
    });
    expect(inside).toEqual({ traceId: sent.span.traceId, parent: sent.span.spanId });
    expect(later).toEqual(inside);
    // The unit of work has a span of its own, below the same parent: what it sends comes from there.
    expect(ids.traceId).toBe(sent.span.traceId);
    expect(ids.spanId).not.toBe(sent.span.spanId);
    expect(carried.traceparent).toBe(`00-${ids.traceId}-${ids.spanId}-01`);
    const records = await test.records(2);
    expect(records[1]).toMatchObject({ ...ids, parentSpanId: sent.span.spanId });
    expect(spanIn().parent).toBeUndefined();
  });

  it('is understood in the form of a propagator of the house alone', async () => {
    const service = await start();
    const house = { 'x-house': `${'c'.repeat(32)}/${'d'.repeat(16)}` };
    const seen = service.resume(house as never, () => ({ ...spanIn(), own: service.traceId }));
    expect(seen).toEqual({ traceId: 'c'.repeat(32), parent: 'd'.repeat(16), own: 'c'.repeat(32) });
  });

  it('leaves a span of its own trace that is at work already, and goes before one of another', async () => {
    const service = await start();
    const traceparent = `00-${'c'.repeat(32)}-${'d'.repeat(16)}-01`;
    const extracted = propagation.extract(ROOT_CONTEXT, { traceparent });
    const consumer = tracer.startSpan('consumer', {}, extracted);
    const within = context.with(trace.setSpan(ROOT_CONTEXT, consumer), () =>
      service.resume({ traceparent }, () => ({ ...spanIn(), own: service.spanId })),
    );
    expect(within).toEqual({
      traceId: 'c'.repeat(32),
      parent: consumer.spanContext().spanId,
      own: consumer.spanContext().spanId,
    });
    const other = tracer.startActiveSpan('poll', () => service.resume({ traceparent }, spanIn));
    expect(other).toEqual({ traceId: 'c'.repeat(32), parent: 'd'.repeat(16) });
  });

  it('that is nothing is survived', async () => {
    const service = await start();
    for (const nothing of [{}, { traceparent: 'x' }, { 'x-house': {} }, [], 'x', 5]) {
      const { traceId, parent } = service.resume(nothing as never, spanIn);
      expect([traceId.length, parent]).toEqual([32, undefined]);
    }
  });
});
