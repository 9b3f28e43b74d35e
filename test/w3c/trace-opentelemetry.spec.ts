import { trace } from '@opentelemetry/api';
import { registerInstrumentations } from '@opentelemetry/instrumentation';
import { HttpInstrumentation } from '@opentelemetry/instrumentation-http';
import { NodeTracerProvider } from '@opentelemetry/sdk-trace-node';
import { createRequire } from 'node:module';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

const provider = new NodeTracerProvider();
provider.register();
const stop = registerInstrumentations({
  tracerProvider: provider,
  instrumentations: [new HttpInstrumentation()],
});
// It watches `require()`: Node's module is loaded through it before the platforms import it.
createRequire(import.meta.url)('node:http');

const { Controller, Get } = await import('@nestjs/common');
const { ContextService, contextLogFields } = await import('nestjs-async-context');
const { platforms, startApp } = await import('../support/platforms');
type TestApp = Awaited<ReturnType<typeof startApp>>;

@Controller()
class TraceController {
  @Get()
  ids() {
    const service = test.app.get(ContextService);
    const active = trace.getActiveSpan()?.spanContext();
    const inSpan = trace.getTracer('test').startActiveSpan('work', span => {
      const fields = contextLogFields();
      const job = service.run({ handler: 'Mail.send' }, () => service.spanId);
      span.end();
      return { fields, job, spanId: span.spanContext().spanId };
    });
    return { active, traceId: service.traceId, spanId: service.spanId, fields: contextLogFields(), inSpan };
  }
}

interface Ids {
  readonly traceId: string;
  readonly spanId: string;
}
interface Seen extends Ids {
  readonly active: Ids;
  readonly fields: Ids;
  readonly inSpan: { fields: Ids; job: string; spanId: string };
}

let test: TestApp;

describe.each(platforms)('a process that OpenTelemetry traces, on %s', platform => {
  beforeAll(async () => {
    test = await startApp({ platform, controllers: [TraceController] });
  });
  afterAll(() => test.close());

  it('has the trace and the spans of OpenTelemetry', async () => {
    const traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';
    const response = await fetch(test.url, { headers: { traceparent } });
    const { active, inSpan, fields, ...ids } = (await response.json()) as Seen;

    expect(active.traceId).toBe('0af7651916cd43dd8448eb211c80319c');
    expect(ids).toEqual({ traceId: active.traceId, spanId: active.spanId });
    expect(fields).toMatchObject(ids);
    // A log line belongs to the span that is at work, as the lines of OpenTelemetry's own bridges do.
    expect(inSpan.fields).toMatchObject({ traceId: active.traceId, spanId: inSpan.spanId });

    const records = await test.records(2);
    expect(records.find(({ kind }) => kind === 'http')).toMatchObject(ids);
    // What it begins is no span of OpenTelemetry: it has one of its own, below the one at work.
    expect(inSpan.job).not.toBe(inSpan.spanId);
    expect(records.find(({ kind }) => kind === 'job')).toMatchObject({
      traceId: active.traceId,
      spanId: inSpan.job,
      parentSpanId: inSpan.spanId,
    });
  });
});

afterAll(async () => {
  stop();
  await provider.shutdown();
  trace.disable();
});
