import type { Counter, Histogram, Meter } from '@opentelemetry/api';

/** What records are counted in. */
export interface Instruments {
  readonly duration: Histogram;
  readonly queries: Histogram;
  readonly rows: Histogram;
  readonly database: Histogram;
  readonly poolWait: Histogram;
  readonly blocked: Histogram;
  readonly time: Counter;
  readonly calls: Counter;
  readonly breaches: Counter;
  readonly slow: Counter;
  readonly repeated: Counter;
  readonly queryErrors: Counter;
  readonly lateQueries: Counter;
  readonly unhandledErrors: Counter;
}

/** Those of `http.server.request.duration`, https://opentelemetry.io/docs/specs/semconv/http/http-metrics/ */
const SECONDS = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10];
/** Those of `db.client.operation.duration`, https://opentelemetry.io/docs/specs/semconv/database/database-metrics/ */
const DATABASE_SECONDS = [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10];
/** Those of `db.client.response.returned_rows`, of the same page, and none. */
const ROWS = [0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000];
const QUERIES = [0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 10_000];

/**
 * Names of our own: what is there in the conventions is of one call (`db.client.operation.duration`) or
 * is recorded by the instrumentations of OpenTelemetry (`http.server.request.duration`,
 * `nodejs.eventloop.delay.*`), and would be counted twice.
 */
export function createInstruments(meter: Meter): Instruments {
  const histogram = (name: string, unit: string, bounds: number[], description: string): Histogram =>
    meter.createHistogram(`nestjs.handler.${name}`, {
      unit,
      description,
      advice: { explicitBucketBoundaries: bounds },
    });
  const counter = (name: string, unit: string, description: string): Counter =>
    meter.createCounter(`nestjs.handler.${name}`, { unit, description });
  return {
    duration: histogram('duration', 's', SECONDS, 'Duration of messages and jobs.'),
    queries: histogram('queries', '{query}', QUERIES, 'Queries per unit of work.'),
    rows: histogram('rows', '{row}', ROWS, 'Rows read or changed per unit of work.'),
    database: histogram('database_time', 's', DATABASE_SECONDS, 'Sum of query durations per unit of work.'),
    poolWait: histogram(
      'pool_wait_time',
      's',
      DATABASE_SECONDS,
      'Time that queries waited for a connection.',
    ),
    blocked: histogram('blocked_time', 's', SECONDS, 'Time that a unit of work blocked the event loop.'),
    time: counter('time', 's', 'Time spent by units of work, by part.'),
    calls: counter('calls', '{call}', 'Cache commands, outbound HTTP requests and published messages.'),
    breaches: counter('breaches', '{breach}', 'Exceeded budgets.'),
    slow: counter('slow_requests', '{request}', 'Slow units of work, by the largest part of their time.'),
    repeated: counter('repeated_queries', '{shape}', 'Statement shapes that repeat within one unit of work.'),
    queryErrors: counter('query_errors', '{query}', 'Failed queries.'),
    lateQueries: counter('late_queries', '{query}', 'Queries made after their unit of work closed.'),
    unhandledErrors: counter('unhandled_errors', '{error}', 'Unhandled errors and rejections.'),
  };
}
