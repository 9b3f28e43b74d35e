import { context as otel } from '@opentelemetry/api';
import { suppressTracing } from '@opentelemetry/core';
import { NodeTracerProvider } from '@opentelemetry/sdk-trace-node';
import { Registry } from 'prom-client';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { contextStorage } from '../../lib/context/context-storage';
import { PoolQuery, type takeFromPool as take } from '../../lib/drivers/pg/pg-hand-over';
import { PrometheusSink } from 'nestjs-async-context/prometheus';
import { startHttpServer } from '../support/http-server';
import { type PackageCopy, PackageCopies } from '../support/package-copies';
import { startApp, type TestApp } from '../support/platforms';
import { ContextService } from 'nestjs-async-context';

describe('two copies of the package in one process', () => {
  let copies: PackageCopies;
  let second: PackageCopy;
  let apps: TestApp[];
  beforeAll(async () => {
    copies = new PackageCopies();
    second = copies.load();
    apps = [await startApp({}), await startApp({ module: second.AsyncContextModule.forRoot() })];
  }, 300_000);
  afterAll(async () => {
    for (const app of apps) await app.close();
    copies.remove();
  });

  const services = (): ContextService[] =>
    [ContextService, second.ContextService].map((type, i) => apps[i]!.app.get<ContextService>(type));

  it('number units of work and handlers as one: the event loop tells them apart by that', () => {
    const numbers = services().map(context =>
      context.run({ handler: 'job' }, () => {
        const { time, handler } = contextStorage.getStore()!;
        return [time.number, handler!.number];
      }),
    );
    expect(numbers[1]![0]).toBe(numbers[0]![0]! + 1);
    expect(numbers[1]![1]).toBe(numbers[0]![1]! + 1);
  });

  it('count the calls of a unit of work that is not to be traced, whichever has opened it', async () => {
    const server = await startHttpServer();
    new NodeTracerProvider().register();
    try {
      const counts = services().map(context =>
        otel.with(suppressTracing(otel.active()), () =>
          context.run({}, async () => {
            await (await fetch(`${server.url}/ok`)).text();
            return context.cost?.http;
          }),
        ),
      );
      expect(await Promise.all(counts)).toEqual([1, 1]);
    } finally {
      otel.disable();
      await server.close();
    }
  });

  it('know which query a client was given that sends it later, whichever covers pool and client', () => {
    const client = {};
    const config = { text: 'SELECT 1' };
    const query = new PoolQuery({}, config, undefined, () => undefined, false);
    query.waitFor(() => undefined)(undefined, client, () => undefined);
    const { takeFromPool } = copies.load<{ takeFromPool: typeof take }>(
      undefined,
      'drivers/pg/pg-hand-over.js',
    );
    expect(takeFromPool(client, config, undefined)).toBe(query);
    expect(takeFromPool(client, config, undefined)).toBeUndefined();
  });

  it('register the metrics of Prometheus once in a registry', () => {
    const registry = new Registry();
    const other = copies.load<{ PrometheusSink: typeof PrometheusSink }>(
      undefined,
      'sinks/prometheus/prometheus.sink.js',
    );
    const [one, two] = [PrometheusSink, other.PrometheusSink].map(Sink => {
      const sink = new Sink({ registry });
      expect(sink.name).toBe('prometheus');
      return registry.getMetricsAsArray().length;
    });
    expect(two).toBe(one);
  });
});
