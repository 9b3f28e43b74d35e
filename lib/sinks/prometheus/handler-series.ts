import type { CostRecord } from '../../cost/cost-record';
import { type BoundedNames, OTHER } from '../bounded-names';
import { methodOf, outcomeOf, routeOf } from '../record-labels';
import type { PrometheusMetrics } from './prometheus-metrics';

type Count = ReturnType<PrometheusMetrics['slow']['labels']>;
type Observe = ReturnType<PrometheusMetrics['rows']['labels']>;

const MS_PER_SECOND = 1_000;
const DIMENSIONS = ['cache', 'http', 'messages'] as const;
/** Routes, methods and outcomes of one handler; most have one route and two outcomes. */
const MAX_ROUTES = 100;

/** The series of one handler: their labels are looked up once, which takes as long as counting does. */
export class HandlerSeries {
  readonly #metrics: PrometheusMetrics;
  readonly #handler: string;
  readonly #dimensions: BoundedNames;
  readonly #owners: BoundedNames;
  readonly #durations = new Map<string, Observe>();
  readonly #counts = new Map<keyof PrometheusMetrics, Map<string, Count>>();
  readonly #queries: Observe;
  readonly #rows: Observe;
  readonly #database: Observe;
  readonly #queryErrors: Count;
  readonly #lateQueries: Count;
  readonly #unhandledErrors: Count;
  readonly #poolWait: Count;
  readonly #blocked: Count;
  readonly #blocking: Count;

  constructor(metrics: PrometheusMetrics, handler: string, dimensions: BoundedNames, owners: BoundedNames) {
    this.#metrics = metrics;
    this.#handler = handler;
    this.#dimensions = dimensions;
    this.#owners = owners;
    this.#queries = metrics.queries.labels(handler);
    this.#rows = metrics.rows.labels(handler);
    this.#database = metrics.database.labels(handler);
    this.#queryErrors = fromZero(metrics.queryErrors, handler);
    this.#lateQueries = fromZero(metrics.lateQueries, handler);
    this.#unhandledErrors = fromZero(metrics.unhandledErrors, handler);
    this.#poolWait = fromZero(metrics.poolWait, handler);
    this.#blocked = fromZero(metrics.blocked, handler);
    this.#blocking = fromZero(metrics.blocking, handler);
  }

  add(record: CostRecord): void {
    for (const { dimension } of record.breaches) {
      this.#breach(this.#dimensions.of(dimension), record.owner).inc(1);
    }
    // A part of a request is in the record of the request: sums over all handlers count it once.
    if (record.within !== undefined) return;
    const { queries, time, slow, findings, unhandledErrors = 0, blockedMs = 0 } = record;
    this.#durationOf(record).observe(record.durationMs / MS_PER_SECOND);
    this.#queries.observe(queries.count);
    this.#rows.observe(queries.rows);
    this.#database.observe(queries.durationMs / MS_PER_SECOND);
    if (queries.errors > 0) this.#queryErrors.inc(queries.errors);
    if (queries.late > 0) this.#lateQueries.inc(queries.late);
    if (queries.waitMs > 0) this.#poolWait.inc(queries.waitMs / MS_PER_SECOND);
    if (unhandledErrors > 0) this.#unhandledErrors.inc(unhandledErrors);
    if (blockedMs > 0) {
      this.#blocked.inc(blockedMs / MS_PER_SECOND);
      this.#blocking.inc(1);
    }
    this.#spend('database', time.databaseMs);
    this.#spend('pool', time.poolMs);
    this.#spend('http', time.httpMs);
    this.#spend('cache', time.cacheMs);
    this.#spend('messages', time.messagesMs);
    this.#spend('slot', time.slotMs);
    this.#spend('own', time.ownMs);
    this.#spend('stalled', time.stalledMs);
    this.#spend('unknown', time.unknownMs);
    this.#spend('starved', time.starvedMs);
    this.#spend('other', time.otherMs);
    for (const dimension of DIMENSIONS) {
      const calls = record[dimension];
      if (calls !== undefined) this.#count('calls', dimension).inc(calls.count);
    }
    if (slow !== undefined) this.#count('slow', slow.because).inc(1);
    for (const { kind, confidence } of findings ?? []) {
      if (confidence !== 'suspected') this.#count('findings', kind).inc(1);
    }
  }

  #spend(part: string, ms: number): void {
    if (ms > 0) this.#count('time', part).inc(ms / MS_PER_SECOND);
  }

  #breach(dimension: string, owner: string | undefined): Count {
    const name = owner === undefined ? 'none' : this.#owners.of(owner);
    return this.#metrics.breaches.labels(this.#handler, dimension, name);
  }

  #count(metric: 'time' | 'calls' | 'slow' | 'findings', label: string): Count {
    let ofMetric = this.#counts.get(metric);
    if (ofMetric === undefined) this.#counts.set(metric, (ofMetric = new Map<string, Count>()));
    let count = ofMetric.get(label);
    if (count === undefined) {
      ofMetric.set(label, (count = this.#metrics[metric].labels(this.#handler, label)));
    }
    return count;
  }

  #durationOf(record: CostRecord): Observe {
    const { kind } = record;
    const outcome = outcomeOf(record);
    const method = methodOf(record) ?? 'none';
    const known = this.#durations.get(`${kind} ${outcome} ${method} ${record.route}`);
    if (known !== undefined) return known;
    // `other` is many handlers, so it has no routes.
    const isNamed = this.#handler !== OTHER && this.#durations.size < MAX_ROUTES;
    if (!isNamed) return this.#metrics.duration.labels(kind, this.#handler, OTHER, OTHER, outcome);
    const route = routeOf(record) ?? (kind === 'http' ? 'unmatched' : 'none');
    const made = this.#metrics.duration.labels(kind, this.#handler, route, method, outcome);
    this.#durations.set(`${kind} ${outcome} ${method} ${record.route}`, made);
    return made;
  }
}

/** A series that begins with its first event would show no increase for it. */
function fromZero(counter: PrometheusMetrics['slow'], handler: string): Count {
  const count = counter.labels(handler);
  count.inc(0);
  return count;
}
