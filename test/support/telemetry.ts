import { metrics } from '@opentelemetry/api';
import { logs } from '@opentelemetry/api-logs';
import { registerInstrumentations } from '@opentelemetry/instrumentation';
import { HttpInstrumentation } from '@opentelemetry/instrumentation-http';
import { NestInstrumentation } from '@opentelemetry/instrumentation-nestjs-core';
import { InMemoryLogRecordExporter, LoggerProvider, SimpleLogRecordProcessor } from '@opentelemetry/sdk-logs';
import {
  AggregationTemporality,
  InMemoryMetricExporter,
  type MetricData,
  MeterProvider,
  PeriodicExportingMetricReader,
} from '@opentelemetry/sdk-metrics';
import {
  InMemorySpanExporter,
  NodeTracerProvider,
  type ReadableSpan,
  SimpleSpanProcessor,
} from '@opentelemetry/sdk-trace-node';
import { createRequire } from 'node:module';

const spanExporter = new InMemorySpanExporter();
const metricExporter = new InMemoryMetricExporter(AggregationTemporality.CUMULATIVE);
const logExporter = new InMemoryLogRecordExporter();
const reader = new PeriodicExportingMetricReader({
  exporter: metricExporter,
  exportIntervalMillis: 3_600_000,
});

/**
 * The SDKs as an application starts them, before it loads Nest. Import this first, and everything that
 * loads Nest or `node:http` by `await import()`.
 */
export function startTelemetry(): void {
  const tracerProvider = new NodeTracerProvider({ spanProcessors: [new SimpleSpanProcessor(spanExporter)] });
  const meterProvider = new MeterProvider({ readers: [reader] });
  tracerProvider.register();
  metrics.setGlobalMeterProvider(meterProvider);
  logs.setGlobalLoggerProvider(
    new LoggerProvider({ processors: [new SimpleLogRecordProcessor({ exporter: logExporter })] }),
  );
  registerInstrumentations({
    tracerProvider,
    meterProvider,
    instrumentations: [new HttpInstrumentation(), new NestInstrumentation()],
  });
  // They watch `require()`: Node's module is loaded through it before the platforms import it.
  createRequire(import.meta.url)('node:http');
}

/** The spans that have ended so far, of one kind: 1 is of servers. */
export function endedSpans(kind?: number): ReadableSpan[] {
  return spanExporter.getFinishedSpans().filter(span => kind === undefined || span.kind === kind);
}

export function logRecords() {
  return logExporter.getFinishedLogRecords();
}

/** Every metric as it is now. */
export async function collect(): Promise<MetricData[]> {
  metricExporter.reset();
  await reader.forceFlush();
  return metricExporter
    .getMetrics()
    .flatMap(({ scopeMetrics }) => scopeMetrics.flatMap(scope => scope.metrics));
}

export function forgetTelemetry(): void {
  spanExporter.reset();
  logExporter.reset();
}
