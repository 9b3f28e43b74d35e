import type { MeterProvider } from '@opentelemetry/api';
import type { LoggerProvider } from '@opentelemetry/api-logs';
import { invalidOption } from '../../kernel/errors';

const CALL = 'new OpenTelemetrySink';
const OPTIONS = ['metrics', 'spans', 'logs', 'meterProvider', 'loggerProvider', 'maxHandlers'];
const MAX_HANDLERS = 100_000;

/** Options of `OpenTelemetrySink`. */
export interface OpenTelemetrySinkOptions {
  /**
   * Whether records are counted in metrics.
   * @default true
   */
  readonly metrics?: boolean;
  /**
   * Whether the span of a unit of work gets its cost as attributes, and its breaches as events.
   * @default true
   */
  readonly spans?: boolean;
  /**
   * Whether each breach is a log record.
   * @default true
   */
  readonly logs?: boolean;
  /**
   * Where the metrics go.
   * @default the global one, as it is when the application starts
   */
  readonly meterProvider?: MeterProvider;
  /**
   * Where the log records go.
   * @default the global one
   */
  readonly loggerProvider?: LoggerProvider;
  /**
   * The most handlers that are told apart in metrics, from 1 to 100,000; the rest is `other`.
   * @default 500
   */
  readonly maxHandlers?: number;
}

/** The options, checked and filled in. */
export interface OpenTelemetrySettings {
  readonly metrics: boolean;
  readonly spans: boolean;
  readonly logs: boolean;
  readonly meterProvider: MeterProvider | undefined;
  readonly loggerProvider: LoggerProvider | undefined;
  readonly maxHandlers: number;
}

/** @throws AsyncContextError `ASYNC_CONTEXT_INVALID_OPTION` */
export function readOpenTelemetryOptions(options: OpenTelemetrySinkOptions): OpenTelemetrySettings {
  if (typeof options !== 'object' || options === null) {
    throw invalidOption('', options, 'Use an object.', CALL);
  }
  for (const [name, value] of Object.entries(options)) {
    if (OPTIONS.includes(name)) continue;
    throw invalidOption(name, value, `There is no such option: use ${OPTIONS.join(', ')}.`, CALL);
  }
  const { maxHandlers = 500, meterProvider, loggerProvider } = options;
  if (!Number.isInteger(maxHandlers) || maxHandlers < 1 || maxHandlers > MAX_HANDLERS) {
    throw invalidOption('maxHandlers', maxHandlers, 'Use a whole number from 1 to 100,000.', CALL);
  }
  if (meterProvider !== undefined && typeof meterProvider.getMeter !== 'function') {
    throw invalidOption('meterProvider', meterProvider, 'Use a MeterProvider of OpenTelemetry.', CALL);
  }
  if (loggerProvider !== undefined && typeof loggerProvider.getLogger !== 'function') {
    throw invalidOption('loggerProvider', loggerProvider, 'Use a LoggerProvider of OpenTelemetry.', CALL);
  }
  return {
    metrics: readSwitch('metrics', options.metrics),
    spans: readSwitch('spans', options.spans),
    logs: readSwitch('logs', options.logs),
    meterProvider,
    loggerProvider,
    maxHandlers,
  };
}

function readSwitch(name: string, value: boolean = true): boolean {
  if (typeof value === 'boolean') return value;
  throw invalidOption(name, value, 'Use true or false.', CALL);
}
