import {
  AggregationTemporality,
  type DataPoint,
  type Histogram,
  InMemoryMetricExporter,
  MeterProvider,
  type MetricData,
  PeriodicExportingMetricReader,
} from '@opentelemetry/sdk-metrics';
import { OpenTelemetrySink, type OpenTelemetrySinkOptions } from 'nestjs-async-context/opentelemetry';
import { beforeEach, describe, expect, it } from 'vitest';
import { CostlyController, makeTrouble } from '../../support/costly-app';
import { platforms, startApp, until } from '../../support/platforms';
import { recordOf } from '../../support/records';

let exporter: InMemoryMetricExporter;
let reader: PeriodicExportingMetricReader;
let meterProvider: MeterProvider;

beforeEach(() => {
  exporter = new InMemoryMetricExporter(AggregationTemporality.CUMULATIVE);
  reader = new PeriodicExportingMetricReader({ exporter, exportIntervalMillis: 3_600_000 });
  meterProvider = new MeterProvider({ readers: [reader] });
});

async function collect(): Promise<MetricData[]> {
  exporter.reset();
  await reader.forceFlush();
  return exporter.getMetrics().flatMap(({ scopeMetrics }) => scopeMetrics.flatMap(scope => scope.metrics));
}

/** The points of a metric that have these attributes, as they are now. */
async function points(
  name: string,
  attributes: Record<string, string> = {},
): Promise<DataPoint<number | Histogram>[]> {
  const found = (await collect()).find(({ descriptor }) => descriptor.name === name);
  return ((found?.dataPoints ?? []) as DataPoint<number | Histogram>[]).filter(point =>
    Object.entries(attributes).every(([key, value]) => point.attributes[key] === value),
  );
}

async function sum(name: string, attributes?: Record<string, string>): Promise<number> {
  return (await points(name, attributes)).reduce(
    (total, { value }) => total + (typeof value === 'number' ? value : (value.sum ?? 0)),
    0,
  );
}

describe.each(platforms)('OpenTelemetrySink in an application on %s', platform => {
  it('counts what the records say', async () => {
    const test = await startApp({
      platform,
      controllers: [CostlyController],
      sinks: [new OpenTelemetrySink({ meterProvider })],
      slowAfterMs: 50,
      // A record is made then: on a busy machine, what comes late is later than 20 ms.
      sinkQueue: { intervalMs: 500 },
    });
    await makeTrouble(test);
    const records = await until(() => test.sink.records.length === 12 && test.sink.records, '12 records');
    const total = (of: (record: (typeof records)[number]) => number): number =>
      records.reduce((all, record) => all + of(record), 0);

    const counts = (await points('nestjs.handler.queries')).map(({ value }) => (value as Histogram).count);
    expect(counts.reduce((a, b) => a + b)).toBe(12);
    expect(await sum('nestjs.handler.queries')).toBe(total(r => r.queries.count));
    expect(await sum('nestjs.handler.rows')).toBe(total(r => r.queries.rows));
    expect(await sum('nestjs.handler.database_time')).toBeCloseTo(total(r => r.queries.durationMs) / 1_000);
    expect(await sum('nestjs.handler.pool_wait_time')).toBeCloseTo(total(r => r.queries.waitMs) / 1_000);
    expect(await sum('nestjs.handler.blocked_time')).toBeCloseTo(total(r => r.blockedMs ?? 0) / 1_000);
    expect(await sum('nestjs.handler.time')).toBeCloseTo(total(r => r.durationMs) / 1_000, 1);
    expect(await sum('nestjs.handler.slow_requests')).toBe(total(r => (r.slow === undefined ? 0 : 1)));
    expect(await sum('nestjs.handler.repeated_queries')).toBe(total(r => r.findings?.length ?? 0));
    expect(await sum('nestjs.handler.unhandled_errors')).toBe(1);
    expect(await sum('nestjs.handler.late_queries')).toBe(1);
    expect(await sum('nestjs.handler.query_errors')).toBe(1);

    const handler = (name: string): Record<string, string> => ({
      'code.function.name': `CostlyController.${name}`,
    });
    const orders = { ...handler('orders'), 'http.route': '/costly/orders/:id', 'nestjs.kind': 'http' };
    expect(await points('nestjs.handler.queries', orders)).toHaveLength(1);
    const breaches = { ...orders, 'nestjs.budget.dimension': 'perTable.pg_class' };
    expect(await sum('nestjs.handler.breaches', breaches)).toBe(2);
    expect(
      await sum('nestjs.handler.slow_requests', { ...handler('slow'), 'nestjs.slow.cause': 'database' }),
    ).toBe(1);
    expect(await sum('nestjs.handler.calls', { ...handler('calls'), 'nestjs.call.dimension': 'http' })).toBe(
      1,
    );
    const lost = { 'nestjs.driver.name': 'pg', 'nestjs.driver.charge': 'lost' };
    expect(await sum('nestjs.driver.calls', lost)).toBeGreaterThanOrEqual(1);
    const durations = await points('nestjs.handler.duration');
    expect(durations.map(({ attributes }) => attributes)).toEqual([
      { 'nestjs.kind': 'job', 'code.function.name': 'NightlyReport.run' },
    ]);

    const text = JSON.stringify(exporter.getMetrics());
    expect(text).not.toContain('/nobody/knows');
    for (const { requestId } of records) expect(text).not.toContain(requestId);
    await test.close();
    // What is collected last, when the SDK is shut down after the application, is still the truth.
    expect(await points('nestjs.driver.calls', { 'nestjs.driver.name': 'pg' })).toHaveLength(3);
  });
});

describe('the metrics of OpenTelemetrySink', () => {
  it('have names of their own, with units, and none that an instrumentation records', async () => {
    const sink = new OpenTelemetrySink({ meterProvider });
    const drivers = { pg: { charged: 7, late: 1, lost: 2 } };
    const sinkStats = [
      { sink: 'postgres', produced: 10, delivered: 5, dropped: 3, queued: 2, sampledOut: 0 },
    ];
    const application = { attribution: { ...drivers.pg, drivers }, sinkStats };
    sink.attach(application);
    sink.attach(application);
    sink.write([recordOf('1', {}, { kind: 'job' })]);
    const all = await collect();
    for (const { descriptor } of all) {
      expect(descriptor.name).toMatch(/^nestjs\.(?:handler|driver|sink)\.[a-z_]+$/);
      expect(descriptor.unit).not.toBe('');
    }
    expect(await sum('nestjs.driver.calls', { 'nestjs.driver.charge': 'lost' })).toBe(2);
    expect(await sum('nestjs.sink.records', { 'nestjs.sink.result': 'dropped' })).toBe(3);
    expect(await sum('nestjs.sink.queued_records', { 'nestjs.sink.name': 'postgres' })).toBe(2);
  });

  it('tell so many handlers apart, and not one more', async () => {
    const sink = new OpenTelemetrySink({ meterProvider, maxHandlers: 2 });
    for (const handler of ['A.a', 'B.b', 'C.c', 'D.d']) {
      sink.write([recordOf('1', {}, { handler, route: `GET /${handler}`, method: 'GET' })]);
    }
    const found = (await points('nestjs.handler.queries')).map(({ attributes, value }) => [
      attributes['code.function.name'],
      attributes['http.route'],
      (value as Histogram).count,
    ]);
    expect(found).toEqual([
      ['A.a', '/A.a', 1],
      ['B.b', '/B.b', 1],
      ['other', undefined, 2],
    ]);
  });

  it('have at most 100 routes of a handler and 200 dimensions', async () => {
    const sink = new OpenTelemetrySink({ meterProvider });
    for (let i = 0; i < 102; i++) {
      sink.write([recordOf('1', {}, { handler: 'A.a', route: `GET /${i}`, method: 'GET' })]);
    }
    const breaches = Array.from({ length: 202 }, (_, i) => ({
      dimension: `d${i}`,
      used: 2,
      limit: 1,
      from: '',
    }));
    sink.write([recordOf('1', {}, { handler: 'B.b', breaches })]);
    const routes = await points('nestjs.handler.queries', { 'code.function.name': 'A.a' });
    expect(routes).toHaveLength(101);
    expect(routes.filter(({ attributes }) => attributes['http.route'] === undefined)).toHaveLength(1);
    const dimensions = await points('nestjs.handler.breaches');
    expect(dimensions).toHaveLength(201);
    expect(dimensions.at(-1)).toMatchObject({ attributes: { 'nestjs.budget.dimension': 'other' }, value: 2 });
  });

  it('are none where they are switched off, or where no SDK runs', async () => {
    const sink = new OpenTelemetrySink({ meterProvider, metrics: false });
    sink.write([recordOf('1')]);
    new OpenTelemetrySink().write([recordOf('1')]);
    expect(await collect()).toEqual([]);
  });
});

describe('the options of OpenTelemetrySink', () => {
  const refused: [string, unknown][] = [
    ['({ metrics }) is 1', { metrics: 1 }],
    ['({ spans }) is "yes"', { spans: 'yes' }],
    ['({ logs }) is null', { logs: null }],
    ['({ maxHandlers }) is 0', { maxHandlers: 0 }],
    ['({ maxHandlers }) is 100001', { maxHandlers: 100_001 }],
    ['({ meterProvider }) is an empty object', { meterProvider: {} }],
    ['({ loggerProvider }) is an empty object', { loggerProvider: {} }],
    ['({ exporter }) is an empty object', { exporter: {} }],
  ];

  it.each(refused)('are refused: %s', (text, options) => {
    expect(() => new OpenTelemetrySink(options as OpenTelemetrySinkOptions)).toThrow(
      `ASYNC_CONTEXT_INVALID_OPTION: new OpenTelemetrySink${text}`,
    );
  });

  it.each([{ maxHandlers: 1 }, { maxHandlers: 100_000 }, { metrics: false, spans: false, logs: false }])(
    'are taken: %j',
    options => {
      expect(() => new OpenTelemetrySink(options)).not.toThrow();
    },
  );
});
