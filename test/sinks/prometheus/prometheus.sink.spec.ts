import { register, Registry } from 'prom-client';
import type { SinkApplication } from 'nestjs-async-context';
import { PrometheusSink, type PrometheusSinkOptions } from 'nestjs-async-context/prometheus';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { CostlyController, makeTrouble } from '../../support/costly-app';
import { platforms, startApp, until } from '../../support/platforms';
import { recordOf } from '../../support/records';

interface Series {
  readonly metricName?: string;
  readonly labels: Record<string, string | number>;
  readonly value: number;
}

let registry: Registry;

beforeEach(() => {
  registry = new Registry();
});

/** The series of a metric that has these labels. */
async function series(name: string, labels: Record<string, string | number> = {}): Promise<Series[]> {
  const { values = [] } = (await registry.getSingleMetric(name.replace(/_(count|sum)$/, ''))?.get()) ?? {};
  return (values as Series[]).filter(
    one =>
      (one.metricName ?? name) === name &&
      Object.entries(labels).every(([label, value]) => one.labels[label] === value),
  );
}

async function sum(name: string, labels?: Record<string, string | number>): Promise<number> {
  return (await series(name, labels)).reduce((total, { value }) => total + value, 0);
}

describe.each(platforms)('PrometheusSink in an application on %s', platform => {
  it('counts what the records say', async () => {
    const test = await startApp({
      platform,
      controllers: [CostlyController],
      sinks: [new PrometheusSink({ registry })],
      slowAfterMs: 50,
      // A record is made then: on a busy machine, what comes late is later than 20 ms.
      sinkQueue: { intervalMs: 500 },
    });
    await makeTrouble(test);
    const records = await test.records(12);
    await until(() => test.sink.records.length === 12, 'no more records');
    const total = (of: (record: (typeof records)[number]) => number): number =>
      records.reduce((all, record) => all + of(record), 0);

    expect(await sum('nestjs_request_duration_seconds_count')).toBe(12);
    expect(await sum('nestjs_request_duration_seconds_sum')).toBeCloseTo(total(r => r.durationMs) / 1_000);
    expect(await sum('nestjs_request_queries_sum')).toBe(total(r => r.queries.count));
    expect(await sum('nestjs_request_rows_sum')).toBe(total(r => r.queries.rows));
    expect(await sum('nestjs_request_database_seconds_sum')).toBeCloseTo(
      total(r => r.queries.durationMs) / 1_000,
    );
    expect(await sum('nestjs_pool_wait_seconds_total')).toBeCloseTo(total(r => r.queries.waitMs) / 1_000);
    expect(await sum('nestjs_request_time_seconds_total')).toBeCloseTo(total(r => r.durationMs) / 1_000, 1);
    expect(await sum('nestjs_blocked_seconds_total')).toBeCloseTo(total(r => r.blockedMs ?? 0) / 1_000);
    expect(await sum('nestjs_slow_requests_total')).toBe(total(r => (r.slow === undefined ? 0 : 1)));
    expect(await sum('nestjs_repeated_queries_total')).toBe(total(r => r.findings?.length ?? 0));

    const handler = (name: string): { handler: string } => ({ handler: `CostlyController.${name}` });
    const orders = { kind: 'http', ...handler('orders'), route: '/costly/orders/:id', method: 'GET' };
    expect(await sum('nestjs_request_duration_seconds_count', { ...orders, outcome: '2xx' })).toBe(2);
    expect(await sum('nestjs_budget_breaches_total', { ...handler('orders'), dimension: 'queries' })).toBe(2);
    const perTable = { ...handler('orders'), dimension: 'perTable.pg_class' };
    expect(await sum('nestjs_budget_breaches_total', perTable)).toBe(2);
    expect(await sum('nestjs_slow_requests_total', { ...handler('slow'), cause: 'database' })).toBe(1);
    expect(await sum('nestjs_blocking_requests_total')).toBe(total(r => (r.blockedMs === undefined ? 0 : 1)));
    expect(await sum('nestjs_blocking_requests_total', handler('blocks'))).toBeGreaterThanOrEqual(1);
    expect(await sum('nestjs_query_errors_total', handler('fails'))).toBe(1);
    expect(await sum('nestjs_late_queries_total', handler('late'))).toBe(1);
    expect(await sum('nestjs_unhandled_errors_total', handler('forgets'))).toBe(1);
    expect(await sum('nestjs_calls_total', { ...handler('calls'), dimension: 'http' })).toBe(1);
    expect(
      await sum('nestjs_request_time_seconds_total', { ...handler('slow'), part: 'database' }),
    ).toBeGreaterThan(0.05);
    expect(await sum('nestjs_driver_calls_total', { driver: 'pg', charge: 'lost' })).toBeGreaterThanOrEqual(
      1,
    );
    expect(await series('nestjs_event_loop_delay_seconds', { stat: 'p99' })).toHaveLength(1);
    const job = { kind: 'job', handler: 'NightlyReport.run', route: 'none', method: 'none', outcome: 'ok' };
    expect(await sum('nestjs_request_duration_seconds_count', job)).toBe(1);
    const unknown = { kind: 'http', handler: 'none', route: 'unmatched', method: 'GET', outcome: '4xx' };
    expect(await sum('nestjs_request_duration_seconds_count', unknown)).toBe(1);

    const text = await registry.metrics();
    expect(text).not.toContain('/nobody/knows');
    for (const { requestId } of records) expect(text).not.toContain(requestId);
    await test.close();
  });
});

describe('the labels of PrometheusSink', () => {
  it('give so many handlers series of their own, and none to one more', async () => {
    const sink = new PrometheusSink({ registry, maxHandlers: 2 });
    for (const handler of ['A.a', 'B.b', 'C.c', 'D.d', 'A.a']) {
      sink.write([recordOf('1', {}, { handler, route: `GET /${handler}`, method: 'GET', status: 200 })]);
    }
    const handlers = (await series('nestjs_request_queries_count')).map(({ labels, value }) => [
      labels['handler'],
      value,
    ]);
    expect(handlers).toEqual([
      ['A.a', 2],
      ['B.b', 1],
      ['other', 2],
    ]);
    const routes = (await series('nestjs_request_duration_seconds_count')).map(
      ({ labels }) => labels['route'],
    );
    expect(routes).toEqual(['/A.a', '/B.b', 'other']);
  });

  it('have 500 handlers where nothing else is said', async () => {
    const sink = new PrometheusSink({ registry });
    for (let i = 0; i <= 501; i++) sink.write([recordOf('1', {}, { handler: `A.a${i}` })]);
    const all = await series('nestjs_request_queries_count');
    expect(all).toHaveLength(501);
    expect(all.at(-1)).toMatchObject({ labels: { handler: 'other' }, value: 2 });
  });

  it('have at most 200 dimensions, 100 routes of a handler and eight methods', async () => {
    const sink = new PrometheusSink({ registry });
    const methods = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'QUERY', 'PURGE', 'LINK'];
    for (const method of methods) sink.write([recordOf('1', {}, { handler: 'M.m', method, status: 200 })]);
    for (let i = 0; i < 300; i++) {
      const breach = { dimension: `perTable.t${i}`, used: 2, limit: 1, from: '' };
      const route = `GET /${i}`;
      sink.write([recordOf('1', {}, { handler: 'R.r', route, method: 'GET', breaches: [breach] })]);
    }
    const dimensions = await series('nestjs_budget_breaches_total');
    expect(dimensions).toHaveLength(201);
    expect(dimensions.at(-1)).toMatchObject({ labels: { dimension: 'other' }, value: 100 });
    const routes = await series('nestjs_request_duration_seconds_count', { handler: 'R.r' });
    expect(routes).toHaveLength(101);
    expect(routes.at(-1)).toMatchObject({ labels: { route: 'other', method: 'other' }, value: 200 });
    const ofMethods = await series('nestjs_request_duration_seconds_count', { handler: 'M.m' });
    expect(ofMethods.map(({ labels }) => labels['method'])).toEqual([...methods.slice(0, 8), 'other']);
  });

  it('cut names of the application at 200 characters', async () => {
    const sink = new PrometheusSink({ registry });
    sink.write([
      recordOf('1', {}, { handler: 'x'.repeat(200) }),
      recordOf('2', {}, { handler: 'x'.repeat(201) }),
    ]);
    expect(await series('nestjs_request_queries_count')).toMatchObject([
      { labels: { handler: 'x'.repeat(200) }, value: 2 },
    ]);
  });

  it('tell how a unit of work ended', async () => {
    const sink = new PrometheusSink({ registry });
    const ends = [
      { status: 204 },
      { status: 302 },
      { status: 404 },
      { status: 503 },
      { status: 200, aborted: true },
    ];
    for (const end of [...ends, { error: 'TypeError' }, {}]) sink.write([recordOf('1', {}, end)]);
    const outcomes = (await series('nestjs_request_duration_seconds_count')).map(
      ({ labels }) => labels['outcome'],
    );
    expect(outcomes).toEqual(['2xx', '3xx', '4xx', '5xx', 'aborted', 'error', 'ok']);
  });
});

describe('a part of a request', () => {
  it('is counted with its request alone, but for the budget that it broke', async () => {
    const sink = new PrometheusSink({ registry });
    const breach = { dimension: 'queries', used: 3, limit: 2, from: '@QueryBudget on PayHandler' };
    sink.write([
      recordOf('1', { count: 3, rows: 3 }, { handler: 'Orders.pay' }),
      recordOf(
        '1',
        { count: 3, rows: 3 },
        { handler: 'PayHandler.execute', within: 'Orders.pay', breaches: [breach] },
      ),
    ]);
    expect(await sum('nestjs_request_queries_sum')).toBe(3);
    expect(await sum('nestjs_request_rows_sum')).toBe(3);
    expect(await sum('nestjs_request_duration_seconds_count')).toBe(1);
    expect(await sum('nestjs_budget_breaches_total', { handler: 'PayHandler.execute' })).toBe(1);
  });
});

describe('the registry of PrometheusSink', () => {
  afterEach(() => register.clear());

  it('is that of prom-client by default', async () => {
    new PrometheusSink({ prefix: 'by_default_' }).write([recordOf('1')]);
    expect(await register.metrics()).toContain('by_default_request_queries_count{handler="none"} 1');
  });

  it('has the metrics of two sinks once, also after it was cleared', async () => {
    for (const id of ['1', '2']) new PrometheusSink({ registry }).write([recordOf(id)]);
    expect(await sum('nestjs_request_queries_count')).toBe(2);
    registry.clear();
    new PrometheusSink({ registry }).write([recordOf('3')]);
    expect(await sum('nestjs_request_queries_count')).toBe(1);
  });

  it('shows what became of the records of all sinks of an application', async () => {
    const sink = new PrometheusSink({ registry });
    const stats = { sink: 'postgres', produced: 10, delivered: 5, dropped: 3, queued: 2, sampledOut: 0 };
    const drivers = { pg: { charged: 7, late: 1, lost: 2 } };
    const application: SinkApplication = {
      attribution: { ...drivers.pg, drivers },
      sinkStats: [stats],
    };
    sink.attach(application);
    new PrometheusSink({ registry }).attach(application);
    const results = ['produced', 'delivered', 'dropped'].map(result =>
      sum('nestjs_sink_records_total', { sink: 'postgres', result }),
    );
    expect(await Promise.all(results)).toEqual([10, 5, 3]);
    expect(await sum('nestjs_sink_queued_records', { sink: 'postgres' })).toBe(2);
    const charges = ['charged', 'late', 'lost'].map(charge =>
      sum('nestjs_driver_calls_total', { driver: 'pg', charge }),
    );
    expect(await Promise.all(charges)).toEqual([7, 1, 2]);
    // Asked for again at each scrape, and not added up.
    expect(await sum('nestjs_sink_records_total', { result: 'produced' })).toBe(10);
  });

  it('shows nothing of the process while no application runs', async () => {
    const sink = new PrometheusSink({ registry });
    sink.write([]);
    expect(await series('nestjs_driver_calls_total')).toEqual([]);
    expect(await series('nestjs_event_loop_delay_seconds')).toEqual([]);
  });
});

describe('the options of PrometheusSink', () => {
  const refused: [string, unknown][] = [
    ['({ prefix }) is "1shop"', { prefix: '1shop' }],
    ['({ prefix }) is "shop-"', { prefix: 'shop-' }],
    ['({ maxHandlers }) is 0', { maxHandlers: 0 }],
    ['({ maxHandlers }) is 100001', { maxHandlers: 100_001 }],
    ['({ maxHandlers }) is 1.5', { maxHandlers: 1.5 }],
    ['({ buckets.rows }) is an array', { buckets: { rows: [] } }],
    ['({ buckets.queries }) is an array', { buckets: { queries: [1, 1] } }],
    ['({ buckets.duration }) is an array', { buckets: { duration: [1, Infinity] } }],
    ['({ buckets.bytes }) is an array', { buckets: { bytes: [1] } }],
    ['({ buckets }) is null', { buckets: null }],
    ['({ labels }) is an array', { labels: [] }],
  ];

  it.each(refused)('are refused: %s', (text, options) => {
    expect(() => new PrometheusSink(options as PrometheusSinkOptions)).toThrow(
      `ASYNC_CONTEXT_INVALID_OPTION: new PrometheusSink${text}`,
    );
  });

  it.each([{ maxHandlers: 1 }, { maxHandlers: 100_000 }, { prefix: 'a:b_' }, { buckets: { rows: [1] } }])(
    'are taken: %j',
    options => {
      expect(() => new PrometheusSink({ registry, ...options })).not.toThrow();
    },
  );

  it('set the bounds of the buckets', async () => {
    const sink = new PrometheusSink({ registry, buckets: { queries: [3, 30] } });
    sink.write([recordOf('1', { count: 3 }), recordOf('2', { count: 4 }), recordOf('3', { count: 31 })]);
    expect(await registry.metrics()).toMatch(
      /queries_bucket\{le="3",handler="none"\} 1\n.*le="30",handler="none"\} 2\n.*le="\+Inf",handler="none"\} 3/,
    );
  });
});
