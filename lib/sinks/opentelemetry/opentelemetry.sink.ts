import { type Meter, metrics, type Span } from '@opentelemetry/api';
import { type Logger, logs } from '@opentelemetry/api-logs';
import type { CostRecord } from '../../cost/cost-record';
import { AttachedApplications } from '../attached-applications';
import type { AttachedSink, SinkApplication } from '../attached-sink';
import { BoundedNames } from '../bounded-names';
import type { ObservedUnit, ObservingSink } from '../observing-sink';
import { SCOPE } from './attribute-names';
import { logBreaches } from './breach-logs';
import { HandlerCounts } from './handler-counts';
import { createInstruments, type Instruments } from './instruments';
import {
  type OpenTelemetrySettings,
  type OpenTelemetrySinkOptions,
  readOpenTelemetryOptions,
} from './opentelemetry-options';
import { observeProcess } from './process-instruments';
import { describeCost, type FoundSpan, spanOf } from './server-span';

export type { OpenTelemetrySinkOptions } from './opentelemetry-options';

/** Dimensions are declared in code; `perTable.…` makes them more than the ten that have names. */
const MAX_DIMENSIONS = 200;
const MAX_OWNERS = 200;

/**
 * Exports the cost of units of work to OpenTelemetry: metrics per handler, attributes on request spans, and breaches
 * as span events and log records.
 *
 * It uses the SDK of the application; without an SDK it does nothing.
 *
 * @example
 * AsyncContextModule.forRoot({ sinks: [new OpenTelemetrySink()] });
 */
export class OpenTelemetrySink implements AttachedSink, ObservingSink {
  readonly name = 'opentelemetry';
  readonly everyRecord = true;
  readonly #settings: OpenTelemetrySettings;
  readonly #applications = new AttachedApplications();
  readonly #handlers: BoundedNames;
  readonly #dimensions = new BoundedNames(MAX_DIMENSIONS);
  readonly #owners = new BoundedNames(MAX_OWNERS);
  readonly #counts = new Map<string | undefined, HandlerCounts>();
  readonly #spans = new WeakMap<ObservedUnit, FoundSpan>();
  readonly #taken = new WeakSet<Span>();
  #meter: Meter | undefined;
  #instruments: Instruments | undefined;
  #logger: Logger | undefined;
  #observesProcess = false;

  /** @throws AsyncContextError `ASYNC_CONTEXT_INVALID_OPTION` for an invalid option */
  constructor(options: OpenTelemetrySinkOptions = {}) {
    this.#settings = readOpenTelemetryOptions(options);
    this.#handlers = new BoundedNames(this.#settings.maxHandlers);
  }

  attach(application: SinkApplication): void {
    this.#applications.add(application);
    if (!this.#settings.metrics || this.#observesProcess) return;
    this.#observesProcess = true;
    observeProcess(this.#meterOf(), this.#applications);
  }

  begins(unit: ObservedUnit): void {
    if (!this.#settings.spans) return;
    const found = spanOf(unit);
    // Work inside of other work finds the span of that around it, which describes the outer one.
    if (found === undefined || this.#taken.has(found.span)) return;
    this.#taken.add(found.span);
    this.#spans.set(unit, found);
  }

  ends(unit: ObservedUnit, record: () => CostRecord): void {
    const found = this.#spans.get(unit);
    if (found !== undefined) describeCost(found, unit, record);
    if (!this.#settings.logs || unit.breaches.length === 0) return;
    const { traceId, spanId, flags: traceFlags } = unit.trace;
    const span = found?.span.spanContext() ?? { traceId, spanId, traceFlags };
    logBreaches(this.#loggerOf(), unit, span, record().owner);
  }

  write(records: readonly CostRecord[]): void {
    if (!this.#settings.metrics) return;
    const counted = new Set<HandlerCounts>();
    for (const record of records) {
      const counts = this.#countsOf(record.handler);
      counts.add(record);
      counted.add(counts);
    }
    for (const counts of counted) counts.endBatch();
  }

  // Not in the constructor: the API keeps no meter for an SDK that starts later.
  #meterOf(): Meter {
    return (this.#meter ??= (this.#settings.meterProvider ?? metrics).getMeter(SCOPE));
  }

  #loggerOf(): Logger {
    return (this.#logger ??= (this.#settings.loggerProvider ?? logs).getLogger(SCOPE));
  }

  #countsOf(handler: string | undefined): HandlerCounts {
    const name = handler === undefined ? undefined : this.#handlers.of(handler);
    let counts = this.#counts.get(name);
    if (counts === undefined) {
      this.#instruments ??= createInstruments(this.#meterOf());
      this.#counts.set(
        name,
        (counts = new HandlerCounts(this.#instruments, name, this.#dimensions, this.#owners)),
      );
    }
    return counts;
  }
}
