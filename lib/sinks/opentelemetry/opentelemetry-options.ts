import type { MeterProvider } from '@opentelemetry/api';
import type { LoggerProvider } from '@opentelemetry/api-logs';
import { invalidOption } from '../../kernel/errors';

const CALL = 'new OpenTelemetrySink';
const OPTIONS = ['metrics', 'spans', 'logs', 'meterProvider', 'loggerProvider', 'maxHandlers'];
const MAX_HANDLERS = 100_000;

/** Options of `OpenTelemetrySink`. */
export interface OpenTelemetrySinkOptions {
  /**
   * Whether records are exported as metrics.
   * @default true
   */
  readonly metrics?: boolean;
  /**
   * Whether the span of a unit of work gets its cost as attributes, and its breaches as events.
   * @default true
   */
  readonly spans?: boolean;
  /**
   * Whether each breach is exported as a log record.
   * @default true
   */
  readonly logs?: boolean;
  /**
   * Provider for the metrics.
   * @default the global provider at the start of the application
   */
  readonly meterProvider?: MeterProvider;
  /**
   * Provider for the log records.
   * @default the global provider
   */
  readonly loggerProvider?: LoggerProvider;
  /**
   * Maximum number of handlers with metrics of their own, from 1 to 100,000; the others are combined as `other`.
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
    throw invalidOption('meterProvider', meterProvider, 'Use an OpenTelemetry MeterProvider.', CALL);
  }
  if (loggerProvider !== undefined && typeof loggerProvider.getLogger !== 'function') {
    throw invalidOption('loggerProvider', loggerProvider, 'Use an OpenTelemetry LoggerProvider.', CALL);
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
