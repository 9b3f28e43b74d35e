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

const { startApp } = await import('../support/platforms');
const { startHeaderServer } = await import('../support/header-server');
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
