import type { Registry } from 'prom-client';
import { invalidOption } from '../../kernel/errors';

const CALL = 'new PrometheusSink';
const OPTIONS = ['registry', 'prefix', 'buckets', 'maxHandlers'];
const PREFIX = /^[a-zA-Z_:][a-zA-Z0-9_:]*$/;
const MAX_HANDLERS = 100_000;

/** Upper bounds of the buckets of each histogram, in ascending order. */
export interface PrometheusBuckets {
  /**
   * Duration of a unit of work in seconds.
   * @default 0.005 to 10: those of `http.server.request.duration` in OpenTelemetry
   */
  readonly duration?: readonly number[];
  /**
   * Queries per unit of work.
   * @default 0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1,000, 10,000
   */
  readonly queries?: readonly number[];
  /**
   * Rows per unit of work.
   * @default 0, 1, 10, 100, 1,000, 10,000, 100,000
   */
  readonly rows?: readonly number[];
  /**
   * Sum of query durations per unit of work, in seconds.
   * @default 0.001 to 10
   */
  readonly database?: readonly number[];
}

/** Options of `PrometheusSink`. */
export interface PrometheusSinkOptions {
  /**
   * Registry for the metrics.
   * @default the `register` export of `prom-client`
   */
  readonly registry?: Registry;
  /**
   * Prefix of the metric names.
   * @default 'nestjs_'
   */
  readonly prefix?: string;
  readonly buckets?: PrometheusBuckets;
  /**
   * Maximum number of handlers with series of their own, from 1 to 100,000; the others are combined as `other`.
   * @default 500
   */
  readonly maxHandlers?: number;
}

/** All options but the registry, checked and filled in. */
export interface PrometheusSettings {
  readonly prefix: string;
  readonly buckets: { readonly [K in keyof PrometheusBuckets]-?: number[] };
  readonly maxHandlers: number;
}

const BUCKETS: PrometheusSettings['buckets'] = {
  duration: [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10],
  queries: [0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 10_000],
  rows: [0, 1, 10, 100, 1_000, 10_000, 100_000],
  database: [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10],
};

/** @throws AsyncContextError `ASYNC_CONTEXT_INVALID_OPTION` */
export function readPrometheusOptions(options: PrometheusSinkOptions): PrometheusSettings {
  checkNames('', options, OPTIONS);
  const { prefix = 'nestjs_', buckets = {}, maxHandlers = 500 } = options;
  if (!PREFIX.test(prefix)) {
    throw invalidOption('prefix', prefix, 'Use letters, digits and _, such as shop_.', CALL);
  }
  if (!Number.isInteger(maxHandlers) || maxHandlers < 1 || maxHandlers > MAX_HANDLERS) {
    throw invalidOption('maxHandlers', maxHandlers, 'Use a whole number from 1 to 100,000.', CALL);
  }
  checkNames('buckets.', buckets, Object.keys(BUCKETS));
  return {
    prefix,
    maxHandlers,
    buckets: {
      duration: readBuckets('duration', buckets),
      queries: readBuckets('queries', buckets),
      rows: readBuckets('rows', buckets),
      database: readBuckets('database', buckets),
    },
  };
}

function readBuckets(name: keyof PrometheusBuckets, given: PrometheusBuckets): number[] {
  const bounds = given[name];
  if (bounds === undefined) return BUCKETS[name];
  const rises = (bound: unknown, i: number): boolean =>
    Number.isFinite(bound) && (i === 0 || bounds[i - 1]! < (bound as number));
  if (Array.isArray(bounds) && bounds.length > 0 && bounds.every(rises)) return [...bounds];
  throw invalidOption(`buckets.${name}`, bounds, 'Use a list of rising numbers, such as [1, 10, 100].', CALL);
}

function checkNames(path: string, value: object, names: readonly string[]): void {
  if (typeof value !== 'object' || value === null) {
    throw invalidOption(path.slice(0, -1), value, 'Use an object.', CALL);
  }
  for (const [name, one] of Object.entries(value)) {
    if (names.includes(name)) continue;
    const remedy = `There is no such option: use ${names.map(known => path + known).join(', ')}.`;
    throw invalidOption(path + name, one, remedy, CALL);
  }
}
