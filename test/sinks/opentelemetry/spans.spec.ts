import { SpanKind, trace } from '@opentelemetry/api';
import type { ReadableSpan } from '@opentelemetry/sdk-trace-node';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { collect, endedSpans, forgetTelemetry, logRecords, startTelemetry } from '../../support/telemetry';

startTelemetry();

const { Controller, Get, Param, Res } = await import('@nestjs/common');
const { get } = await import('node:http');
const { Pool } = await import('pg');
const { ContextService, ProcessFigures, QueryBudget } = await import('nestjs-async-context');
const { OpenTelemetrySink } = await import('nestjs-async-context/opentelemetry');
const { databaseUrl } = await import('../../support/database');
const { platforms, startApp, until } = await import('../../support/platforms');
type TestApp = Awaited<ReturnType<typeof startApp>>;

const pool = new Pool({ connectionString: databaseUrl() });
let test: TestApp;

@Controller('traced')
class TracedController {
  @Get('orders/:id')
  @QueryBudget(1)
  async orders(@Param('id') id: string) {
    await pool.query('SELECT generate_series(1, 7)');
    await pool.query('SELECT $1::text', [id]);
    return trace.getActiveSpan()?.spanContext();
  }

  @Get('slow')
  async slow() {
    await pool.query('SELECT pg_sleep(0.06)');
  }

  @Get('fails')
  fails() {
    throw new TypeError('as it should');
  }

  @Get('never')
  async never(@Res({ passthrough: false }) _response: unknown) {
    await pool.query('SELECT 1');
  }

  @Get('nested')
  async nested() {
    const context = test.app.get(ContextService);
    await pool.query('SELECT 1');
    await context.run({ handler: 'Inner.run' }, () => fetch(`${test.url}/no/such/route`));
    return trace.getTracer('test').startActiveSpan('own span', async span => {
      await context.run({ handler: 'Spanned.run' }, () => pool.query('SELECT generate_series(1, 9)'));
      span.end();
    });
  }
}

/** The span of the server for a path that was asked for, once it has ended. */
async function spanFor(path: string): Promise<ReadableSpan> {
  return until(
    () =>
      endedSpans(SpanKind.SERVER).find(
        ({ attributes }) => attributes['url.path'] === path || String(attributes['http.target']) === path,
      ),
    `span for ${path}`,
  );
}

async function ask(path: string): Promise<ReadableSpan> {
  await (await fetch(`${test.url}${path}`)).text();
  return spanFor(path);
}

afterAll(() => pool.end());

describe.each(platforms)('the span of a request, on %s', platform => {
  beforeAll(async () => {
    test = await startApp({
      platform,
      controllers: [TracedController],
      sinks: [new OpenTelemetrySink()],
      slowAfterMs: 50,
    });
  });
  beforeEach(forgetTelemetry);
  afterAll(() => test.close());

  it('says what the request has cost', async () => {
    const { attributes } = await ask('/traced/orders/5');
    const [record] = await test.records(1);
    expect(attributes).toMatchObject({
      'code.function.name': 'TracedController.orders',
      'http.route': '/traced/orders/:id',
      'nestjs.kind': 'http',
      'nestjs.request.id': record!.requestId,
      'nestjs.cost.queries': 2,
      'nestjs.cost.rows': 8,
      'nestjs.budget.breaches': ['queries'],
    });
    expect(attributes['nestjs.cost.database_ms']).toBeCloseTo(record!.queries.durationMs, 2);
  });

  it('has its breaches as events, and the logs of its trace have them as errors', async () => {
    const span = await ask('/traced/orders/6');
    const breach = {
      'nestjs.budget.dimension': 'queries',
      'nestjs.budget.used': 2,
      'nestjs.budget.limit': 1,
      'nestjs.budget.from': '@QueryBudget on TracedController.orders',
    };
    expect(span.events.filter(({ name }) => name === 'nestjs.budget.breach')).toMatchObject([
      { attributes: breach },
    ]);
    const logs = logRecords();
    expect(logs).toHaveLength(1);
    expect(logs[0]).toMatchObject({
      eventName: 'nestjs.budget.breach',
      severityText: 'ERROR',
      severityNumber: 17,
      body: 'TracedController.orders exceeded its queries budget: 2 of 1',
      attributes: { ...breach, 'code.function.name': 'TracedController.orders' },
    });
    expect(logs[0]!.spanContext).toMatchObject({
      traceId: span.spanContext().traceId,
      spanId: span.spanContext().spanId,
      traceFlags: 1,
    });
  });

  it('says why the request was slow', async () => {
    const { attributes } = await ask('/traced/slow');
    // On a machine that is too busy the processor is what was waited for longest.
    expect(['database', 'starved']).toContain(attributes['nestjs.slow.cause']);
  });

  it('has the cost of a request that failed, and of one that nothing answers', async () => {
    expect((await ask('/traced/fails')).attributes).toMatchObject({
      'code.function.name': 'TracedController.fails',
    });
    const { attributes } = await ask('/no/such/route');
    expect(attributes['nestjs.cost.queries']).toBe(0);
    expect(attributes).not.toHaveProperty('code.function.name');
    expect(attributes).not.toHaveProperty('http.route');
  });

  it('has the cost of a request whose client has left', async () => {
    const request = get(`${test.url}/traced/never`).on('error', () => undefined);
    const figures = test.app.get(ProcessFigures);
    const charged = figures.attribution.charged;
    await until(() => figures.attribution.charged > charged, 'query of the request');
    await pool.query('SELECT 1');
    request.destroy();
    expect((await spanFor('/traced/never')).attributes).toMatchObject({
      'code.function.name': 'TracedController.never',
      'nestjs.cost.queries': 1,
    });
  });

  it('has none of the cost of work inside of it, which says it on a span of its own', async () => {
    const { attributes } = await ask('/traced/nested');
    expect(attributes).toMatchObject({
      'code.function.name': 'TracedController.nested',
      'nestjs.cost.queries': 1,
    });
    expect(attributes).not.toHaveProperty('nestjs.cost.http');
    const own = endedSpans().find(({ name }) => name === 'own span');
    expect(own?.attributes).toMatchObject({
      'code.function.name': 'Spanned.run',
      'nestjs.kind': 'job',
      'nestjs.cost.rows': 9,
    });
  });

  it('gives its route to http.server.request.duration, which stays the only one of its name', async () => {
    await ask('/traced/orders/7');
    const found = (await collect()).filter(
      ({ descriptor }) => descriptor.name === 'http.server.request.duration',
    );
    expect(found).toHaveLength(1);
    const routes = found[0]!.dataPoints.map(({ attributes }) => attributes['http.route']);
    expect(routes).toContain('/traced/orders/:id');
  });
});

describe('a sink that is to leave spans and logs alone', () => {
  beforeEach(forgetTelemetry);

  it('does', async () => {
    const sinks = [new OpenTelemetrySink({ spans: false, logs: false })];
    test = await startApp({ controllers: [TracedController], sinks });
    const { attributes, events } = await ask('/traced/orders/8');
    expect(attributes).not.toHaveProperty('nestjs.cost.queries');
    expect(events).toEqual([]);
    expect(logRecords()).toEqual([]);
    await test.close();
  });
});
