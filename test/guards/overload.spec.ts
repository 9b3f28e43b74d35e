import { Controller, Get } from '@nestjs/common';
import {
  AggregationTemporality,
  InMemoryMetricExporter,
  MeterProvider,
  PeriodicExportingMetricReader,
} from '@opentelemetry/sdk-metrics';
import { WsAdapter } from '@nestjs/platform-ws';
import { SubscribeMessage, WebSocketGateway } from '@nestjs/websockets';
import { AsyncContextModule, ProcessFigures, type RequestPriority } from 'nestjs-async-context';
import { OpenTelemetrySink } from 'nestjs-async-context/opentelemetry';
import { PrometheusSink } from 'nestjs-async-context/prometheus';
import { AsyncResource } from 'node:async_hooks';
import { describe, expect, it } from 'vitest';
import { Registry } from 'prom-client';
import { WebSocket } from 'ws';
import { Acquisition } from '../../lib/detectors/pools/acquisition';
import { WatchedPool } from '../../lib/detectors/pools/watched-pool';
import { platforms, startApp, type TestApp, until } from '../support/platforms';

@Controller()
class LightController {
  @Get('light')
  light() {
    return 'ok';
  }

  @Get('health')
  health() {
    return 'ok';
  }
}

@WebSocketGateway()
class EchoGateway {
  @SubscribeMessage('echo')
  echo() {
    return { event: 'echo', data: 'ok' };
  }
}

const outside = new AsyncResource('test.busy');

/** Keeps the loop busy: it comes around each 60 ms and never rests. */
function beBusy(): () => void {
  let isBusy = true;
  const turn = (): void => {
    const endMs = performance.now() + 60;
    while (performance.now() < endMs);
    if (isBusy) setImmediate(turn);
  };
  outside.runInAsyncScope(() => setImmediate(turn));
  return () => {
    isBusy = false;
  };
}

const priority = ({ url }: { url?: string | undefined }): RequestPriority => {
  if (url === '/throws') throw new Error('a secret');
  return url === '/health' ? 'critical' : 'sheddable';
};

const stateOf = (test: TestApp) => test.app.get(ProcessFigures).overload!;

/** Asks until one has the status. */
async function askFor(test: TestApp, path: string, status: number): Promise<Response> {
  const endMs = performance.now() + 60_000;
  for (;;) {
    const response = await fetch(`${test.url}${path}`);
    if (response.status === status) return response;
    await response.text();
    if (performance.now() > endMs) throw new Error(`no ${status} within a minute`);
  }
}

describe.each(platforms)('overload on %s', platform => {
  it('sheds requests in front of the framework while the loop is late, and none before and after', async () => {
    const test = await startApp({
      platform,
      controllers: [LightController],
      providers: [EchoGateway],
      configure: app => void app.useWebSocketAdapter(new WsAdapter(app)),
      overload: { targetDelayMs: 20, priority },
    });
    expect((await fetch(`${test.url}/light`)).status).toBe(200);
    expect(stateOf(test)).toMatchObject({ isOverloaded: false, shedShare: 0, shed: 0, dryRun: false });
    const rest = beBusy();
    await until(() => stateOf(test).isOverloaded, 'overload');
    const shed = await askFor(test, '/light', 503);
    expect(Number(shed.headers.get('retry-after'))).toBeGreaterThanOrEqual(1);
    expect(shed.headers.get('x-request-id')).toBeNull();
    expect(await shed.text()).toBe('');
    const background = { goesOn: true };
    const others = (async () => {
      while (background.goesOn) await (await fetch(`${test.url}/throws`)).text();
    })();
    expect((await askFor(test, '/health', 200)).status).toBe(200);
    // An upgrade is no request.
    const socket = new WebSocket(test.url.replace('http', 'ws'));
    const answer = new Promise(resolve => socket.on('message', data => resolve(String(data))));
    socket.on('open', () => socket.send(JSON.stringify({ event: 'echo' })));
    expect(await answer).toContain('ok');
    socket.close();
    expect(stateOf(test).shedShare).toBeGreaterThan(0);
    background.goesOn = false;
    await others;
    rest();
    await until(() => !stateOf(test).isOverloaded, 'recovery');
    const before = stateOf(test).shed;
    expect(before).toBeGreaterThan(0);
    for (let i = 0; i < 20; i += 1) expect((await fetch(`${test.url}/light`)).status).toBe(200);
    expect(stateOf(test).shed).toBe(before);
    expect(test.app.get(ProcessFigures).refusals).toEqual([
      { by: 'overload', reason: 'loop-delay', handler: 'none', dryRun: false, count: before },
    ]);
    for (const { status } of test.sink.records) expect(status).not.toBe(503);
    const lines = test.logs.of('warn', 'Overload');
    expect(lines).toHaveLength(2);
    expect(lines[0]).toContain('The process is overloaded: the event loop is');
    expect(lines[1]).toContain(`${before} requests were shed`);
    const hookErrors = test.logs.of('warn', 'AsyncContext').join('\n');
    expect(hookErrors).toContain('overload.priority');
    expect(hookErrors).not.toContain('a secret');
    const server = test.app.getHttpServer() as { emit: unknown };
    const { emit } = server;
    await test.close();
    expect(server.emit).not.toBe(emit);
  });

  it('refuses nobody in a dry run', async () => {
    const test = await startApp({
      platform,
      controllers: [LightController],
      overload: { targetDelayMs: 20, dryRun: true },
    });
    const rest = beBusy();
    while (!test.app.get(ProcessFigures).refusals.some(({ by, dryRun }) => by === 'overload' && dryRun))
      expect((await fetch(`${test.url}/light`)).status).toBe(200);
    rest();
    expect(test.logs.of('warn', 'Overload')[0]).toContain('Requests would be shed (dry run)');
    await test.close();
  });

  it('is in the metrics', async () => {
    const registry = new Registry();
    const exporter = new InMemoryMetricExporter(AggregationTemporality.CUMULATIVE);
    const reader = new PeriodicExportingMetricReader({ exporter, exportIntervalMillis: 3_600_000 });
    const meterProvider = new MeterProvider({ readers: [reader] });
    const test = await startApp({
      platform,
      controllers: [LightController],
      overload: {},
      sinks: [new PrometheusSink({ registry }), new OpenTelemetrySink({ meterProvider })],
    });
    await (await fetch(`${test.url}/light`)).text();
    await test.records(1);
    expect(await registry.metrics()).toContain('nestjs_overload_shed_share 0');
    await reader.forceFlush();
    const [share] = exporter
      .getMetrics()
      .flatMap(({ scopeMetrics }) => scopeMetrics.flatMap(({ metrics }) => metrics))
      .filter(({ descriptor }) => descriptor.name === 'nestjs.overload.shed_share');
    expect(share?.dataPoints.map(({ value }) => value)).toEqual([0]);
    await test.close();
  });

  it('leaves the server alone where it is not asked for', async () => {
    const test = await startApp({ platform, controllers: [LightController] });
    expect(test.app.get(ProcessFigures).overload).toBeUndefined();
    await test.close();
  });
});

describe('the wait for a pool', () => {
  it('is that of who waits first', () => {
    const pool = new WatchedPool('pg', {
      activate: () => undefined,
      outside: fn => fn(),
      hookError: () => undefined,
      reportWait: () => undefined,
      hearsOfShares: false,
      tellShares: () => undefined,
      isInUse: true,
    });
    const checkouts = [1, 2].map(
      () => new Acquisition(pool, undefined, undefined, undefined as never, undefined),
    );
    expect(pool.longestWaitMs(performance.now())).toBe(0);
    for (const checkout of checkouts) checkout.queued();
    const nowMs = checkouts[0]!.askedMs + 500;
    expect(pool.longestWaitMs(nowMs)).toBeCloseTo(500);
    checkouts[0]!.failed();
    expect(pool.longestWaitMs(nowMs)).toBeLessThanOrEqual(500);
    checkouts[1]!.acquired({});
    expect(pool.longestWaitMs(nowMs)).toBe(0);
    pool.forget();
  });
});

describe('forRoot({ overload })', () => {
  it('says at the start what it cannot take', () => {
    const start = (overload: unknown) => () => AsyncContextModule.forRoot({ overload: overload as never });
    expect(start(true)).toThrow('AsyncContextModule.forRoot({ overload }) is true.');
    expect(start({ targetDelayMs: 9 })).toThrow(
      '({ overload.targetDelayMs }) is 9. Use a whole number from 10',
    );
    expect(start({ poolWaitMs: -1 })).toThrow('({ overload.poolWaitMs }) is -1.');
    expect(start({ priority: 'critical' })).toThrow('({ overload.priority }) is "critical". Use a function');
    expect(start({ target: 1 })).toThrow('There is no such option');
    expect(start({ targetDelayMs: 10, poolWaitMs: 0 })).not.toThrow();
  });
});
