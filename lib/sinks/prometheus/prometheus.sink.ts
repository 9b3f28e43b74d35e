import { register } from 'prom-client';
import type { CostRecord } from '../../cost/cost-record';
import type { AttachedSink, SinkApplication } from '../attached-sink';
import { BoundedNames } from '../bounded-names';
import { HandlerSeries } from './handler-series';
import { metricsOf, type PrometheusMetrics } from './prometheus-metrics';
import { type PrometheusSinkOptions, readPrometheusOptions } from './prometheus-options';

export type { PrometheusBuckets, PrometheusSinkOptions } from './prometheus-options';

/** Dimensions are declared in code; `perTable.…` makes them more than the ten that have names. */
const MAX_DIMENSIONS = 200;
const MAX_OWNERS = 200;

/**
 * Counts cost records in `prom-client` metrics for Prometheus to scrape.
 *
 * Labels contain only names from the code (handlers, routes, dimensions, drivers, sinks), never an id, a user or a URL.
 * All records are counted, including those that `sinkQueue.sample` omits for other sinks.
 *
 * @example
 * AsyncContextModule.forRoot({ sinks: [new PrometheusSink({ prefix: 'shop_' })] });
 */
export class PrometheusSink implements AttachedSink {
  readonly name = 'prometheus';
  readonly everyRecord = true;
  readonly #metrics: PrometheusMetrics;
  readonly #handlers: BoundedNames;
  readonly #dimensions = new BoundedNames(MAX_DIMENSIONS);
  readonly #owners = new BoundedNames(MAX_OWNERS);
  readonly #series = new Map<string, HandlerSeries>();

  /**
   * Registers the metrics. Sinks with the same registry and prefix share them, with the buckets of the first sink.
   *
   * @throws AsyncContextError `ASYNC_CONTEXT_INVALID_OPTION` for an invalid option
   * @throws Error of `prom-client` if one of the names is already registered by something else
   */
  constructor(options: PrometheusSinkOptions = {}) {
    const settings = readPrometheusOptions(options);
    this.#metrics = metricsOf(options.registry ?? register, settings);
    this.#handlers = new BoundedNames(settings.maxHandlers);
  }

  attach(application: SinkApplication): void {
    this.#metrics.applications.add(application);
  }

  write(records: readonly CostRecord[]): void {
    for (const record of records) this.#seriesOf(record.handler).add(record);
  }

  #seriesOf(handler: string | undefined): HandlerSeries {
    const name = handler === undefined ? 'none' : this.#handlers.of(handler);
    let series = this.#series.get(name);
    if (series === undefined) {
      this.#series.set(
        name,
        (series = new HandlerSeries(this.#metrics, name, this.#dimensions, this.#owners)),
      );
    }
    return series;
  }
}
