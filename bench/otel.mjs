import { register } from 'node:module';

// Nest 12 is ESM: without the loader hook only CommonJS packages would be instrumented.
register('@opentelemetry/instrumentation/hook.mjs', import.meta.url);

const { isWrapped, registerInstrumentations } = await import('@opentelemetry/instrumentation');
const { HttpInstrumentation } = await import('@opentelemetry/instrumentation-http');
const { NestInstrumentation } = await import('@opentelemetry/instrumentation-nestjs-core');
const { PgInstrumentation } = await import('@opentelemetry/instrumentation-pg');
const { BatchSpanProcessor, NodeTracerProvider } = await import('@opentelemetry/sdk-trace-node');
const { trace } = await import('@opentelemetry/api');

/** Takes every span and sends nothing: encoding and network would come on top of what is measured. */
const discard = {
  export: (_spans, done) => done({ code: 0 }),
  shutdown: () => Promise.resolve(),
  forceFlush: () => Promise.resolve(),
};

new NodeTracerProvider({ spanProcessors: [new BatchSpanProcessor(discard)] }).register();
registerInstrumentations({
  instrumentations: [new HttpInstrumentation(), new NestInstrumentation(), new PgInstrumentation()],
});

/** One more, by the name of its package; what it hooks must not have been imported yet. */
export async function instrument(packageName) {
  const exported = await import(packageName);
  const [, Instrumentation] = Object.entries(exported).find(([name]) => name.endsWith('Instrumentation'));
  registerInstrumentations({ instrumentations: [new Instrumentation()] });
}

export async function evidence() {
  const { default: pg } = await import('pg');
  // The innermost span is the handler's own, which only the Nest instrumentation makes.
  return { span: trace.getActiveSpan()?.name, pgWrapped: isWrapped(pg.Client.prototype.query) };
}
