import { Counter, Histogram, type Registry } from 'prom-client';
import { oncePerProcess } from '../../kernel/once-per-process';
import { AttachedApplications } from '../attached-applications';
import type { PrometheusSettings } from './prometheus-options';
import { processMetrics } from './process-metrics';

/** The metrics of one registry, without those that are asked for at each scrape. */
export interface PrometheusMetrics {
  readonly duration: Histogram;
  readonly queries: Histogram;
  readonly rows: Histogram;
  readonly database: Histogram;
  readonly time: Counter;
  readonly calls: Counter;
  readonly breaches: Counter;
  readonly slow: Counter;
  readonly findings: Counter;
  readonly queryErrors: Counter;
  readonly lateQueries: Counter;
  readonly unhandledErrors: Counter;
  readonly poolWait: Counter;
  readonly blocked: Counter;
  readonly blocking: Counter;
  /** Whose figures are asked for at each scrape. */
  readonly applications: AttachedApplications;
}

/** A registry takes each name once, from whichever copy of the package. */
const made = oncePerProcess('prometheus', () => new WeakMap<Registry, Map<string, PrometheusMetrics>>());

/**
 * Registers the metrics, or gives those that another sink has registered there under this prefix.
 *
 * @throws Error of `prom-client`, when a name is taken
 */
export function metricsOf(
  registry: Registry,
  { prefix, buckets }: Pick<PrometheusSettings, 'prefix' | 'buckets'>,
): PrometheusMetrics {
  const ofRegistry = made.get(registry) ?? new Map<string, PrometheusMetrics>();
  made.set(registry, ofRegistry);
  const known = ofRegistry.get(prefix);
  // `registry.clear()` may have taken them off, between two tests.
  if (known !== undefined && registry.getSingleMetric(`${prefix}request_rows`) === known.rows) return known;

  const registers = [registry];
  const counter = (name: string, help: string, ...labelNames: string[]): Counter =>
    new Counter({ name: prefix + name, help, labelNames, registers });
  const histogram = (name: string, help: string, bounds: number[], ...labelNames: string[]): Histogram =>
    new Histogram({ name: prefix + name, help, buckets: bounds, labelNames, registers });
  const labels = ['kind', 'handler', 'route', 'method', 'outcome'];
  const applications = new AttachedApplications();
  const metrics: PrometheusMetrics = {
    duration: histogram(
      'request_duration_seconds',
      'Duration of units of work.',
      buckets.duration,
      ...labels,
    ),
    queries: histogram('request_queries', 'Queries per unit of work.', buckets.queries, 'handler'),
    rows: histogram('request_rows', 'Rows read or changed per unit of work.', buckets.rows, 'handler'),
    database: histogram(
      'request_database_seconds',
      'Sum of query durations per unit of work.',
      buckets.database,
      'handler',
    ),
    time: counter('request_time_seconds_total', 'Time spent by units of work, by part.', 'handler', 'part'),
    calls: counter(
      'calls_total',
      'Cache commands, outbound HTTP requests and published messages.',
      'handler',
      'dimension',
    ),
    breaches: counter('budget_breaches_total', 'Exceeded budgets.', 'handler', 'dimension', 'owner'),
    slow: counter(
      'slow_requests_total',
      'Slow units of work, by the largest part of their time.',
      'handler',
      'cause',
    ),
    findings: counter(
      'repeated_queries_total',
      'Statement shapes that repeat within one unit of work.',
      'handler',
      'kind',
    ),
    queryErrors: counter('query_errors_total', 'Failed queries.', 'handler'),
    lateQueries: counter('late_queries_total', 'Queries made after their unit of work closed.', 'handler'),
    unhandledErrors: counter('unhandled_errors_total', 'Unhandled errors and rejections.', 'handler'),
    poolWait: counter('pool_wait_seconds_total', 'Time that queries waited for a connection.', 'handler'),
    blocked: counter(
      'blocked_seconds_total',
      'Time that units of work blocked the event loop, in blocks of 50 ms or longer.',
      'handler',
    ),
    blocking: counter(
      'blocking_requests_total',
      'Units of work that blocked the event loop for 50 ms or longer.',
      'handler',
    ),
    applications,
  };
  processMetrics(registry, prefix, applications);
  ofRegistry.set(prefix, metrics);
  return metrics;
}
