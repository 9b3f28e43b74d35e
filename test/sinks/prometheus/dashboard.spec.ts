import { Controller, Get } from '@nestjs/common';
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Registry } from 'prom-client';
import { PrometheusSink } from 'nestjs-async-context/prometheus';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { CostlyController, makeTrouble } from '../../support/costly-app';
import { startApp, type TestApp } from '../../support/platforms';
import {
  hasPrometheus,
  type PrometheusServer,
  type Sample,
  startPrometheus,
} from '../../support/prometheus-server';

interface Panel {
  readonly id: number;
  readonly title: string;
  readonly type: string;
  readonly datasource?: { readonly uid: string };
  readonly gridPos: { readonly x: number; readonly y: number; readonly w: number; readonly h: number };
  readonly targets?: readonly { readonly expr: string; readonly legendFormat: string }[];
}

interface Dashboard {
  readonly panels: readonly Panel[];
  readonly templating: {
    readonly list: readonly { readonly name: string; readonly query: string | { query: string } }[];
  };
}

const docs = join(import.meta.dirname, '../../../docs/grafana');
const alerts = join(docs, 'alerts.yml');
const dashboard = JSON.parse(readFileSync(join(docs, 'dashboard.json'), 'utf8')) as Dashboard;
const targets = dashboard.panels.flatMap(({ title, targets = [] }) =>
  targets.map(({ expr, legendFormat }) => ({ name: `${title}, ${legendFormat}`, expr, legendFormat })),
);
const ROUNDS = 20;

/** What Grafana puts in place of its variables. */
function filledIn(expression: string): string {
  return expression
    .replaceAll('$__rate_interval', '10s')
    .replaceAll('$__range', '1m')
    .replaceAll(/\$(?:job|handler)\b/g, '.*');
}

function isData(samples: readonly Sample[]): boolean {
  return samples.some(({ value: [, value] }) => Number(value) > 0);
}

describe.skipIf(!hasPrometheus)(
  'the dashboard and the alerts, on a Prometheus that scrapes an application',
  () => {
    let test: TestApp;
    let prometheus: PrometheusServer;
    let release = (): void => undefined;
    const registry = new Registry();
    const found = new Map<string, readonly Sample[]>();

    @Controller()
    class Metrics {
      @Get('metrics')
      metrics(): Promise<string> {
        return registry.metrics();
      }
    }

    beforeAll(async () => {
      const full = {
        name: 'warehouse',
        write(): void {
          throw Object.assign(new Error('the warehouse is full'), { retryable: false });
        },
      };
      const slow = {
        name: 'lake',
        write: () =>
          new Promise<void>(resolve => {
            release = resolve;
          }),
      };
      test = await startApp({
        controllers: [CostlyController, Metrics],
        sinks: [new PrometheusSink({ registry }), full, slow],
        slowAfterMs: 50,
      });
      prometheus = await startPrometheus(new URL(test.url).host, alerts);
      // A rate takes two scrapes between which something has happened.
      for (let round = 0; round < ROUNDS && found.size < targets.length; round++) {
        await makeTrouble(test);
        await new Promise(resolve => setTimeout(resolve, 300));
        for (const { name, expr } of targets.filter(target => !found.has(target.name))) {
          const samples = await prometheus.query(filledIn(expr));
          if (isData(samples)) found.set(name, samples);
        }
      }
    });

    afterAll(async () => {
      await prometheus?.stop();
      const closed = test?.close();
      release();
      await closed;
    });

    it('has many panels', () => {
      expect(targets.length).toBeGreaterThan(25);
    });

    it.each(targets)('shows data in the panel $name', ({ name, legendFormat }) => {
      const samples = found.get(name) ?? [];
      expect(samples.length).toBeGreaterThan(0);
      const names = [...legendFormat.matchAll(/\{\{(\w+)\}\}/g)].map(([, label]) => label!);
      for (const { metric } of samples) expect(Object.keys(metric).sort()).toEqual(names.sort());
    });

    it('offers the jobs and the handlers that there are', async () => {
      for (const { name, query } of dashboard.templating.list) {
        if (typeof query === 'string') continue;
        const [, selector, label] = /^label_values\((.+), (\w+)\)$/.exec(query.query) ?? [];
        expect(label).toBe(name);
        const samples = await prometheus.query(filledIn(selector!));
        const values = new Set(samples.map(({ metric }) => metric[name]));
        expect(values).toContain(name === 'job' ? 'shop' : 'CostlyController.orders');
      }
    });

    it('evaluates every rule, and fires for what goes wrong in the application', async () => {
      const wanted = ['NestBudgetBreachesRising', 'NestCallsLost', 'NestErrorsLost', 'NestSinkDropsRecords'];
      let rules = await prometheus.rules();
      const firing = (): string[] =>
        rules.filter(rule => rule.alerts?.some(({ state }) => state === 'firing')).map(({ name }) => name);
      for (let tries = 0; tries < 50 && !wanted.every(name => firing().includes(name)); tries++) {
        await new Promise(resolve => setTimeout(resolve, 100));
        rules = await prometheus.rules();
      }
      expect(rules.length).toBeGreaterThan(8);
      for (const { name, health, lastError } of rules) {
        expect({ name, health, lastError }).toMatchObject({ health: 'ok' });
      }
      expect(firing()).toEqual(expect.arrayContaining(wanted));
      const recorded = rules.map(({ name }) => name).filter(name => name.startsWith('job_'));
      for (const name of recorded) expect(isData(await prometheus.query(name)), name).toBe(true);
    });

    it('names in panels and rules only metrics that the sink exposes', async () => {
      const exposed = await registry.metrics();
      const text = targets.map(({ expr }) => expr).join('\n') + readFileSync(alerts, 'utf8');
      const names = new Set(
        text.match(/(?<!:)\bnestjs_\w+/g)?.map(name => name.replace(/_(?:bucket|sum|count)$/, '')),
      );
      expect(names.size).toBeGreaterThan(15);
      for (const name of names) expect(exposed).toContain(`# TYPE ${name} `);
    });

    it('passes promtool, and its alerts fire and stay silent as they should', () => {
      const tests = ['alerts.test.yml', 'alerts-growth.test.yml'].map(file =>
        join(import.meta.dirname, file),
      );
      const options = { encoding: 'utf8', stdio: 'pipe' } as const;
      expect(execFileSync('promtool', ['check', 'rules', '--lint-fatal', alerts], options)).toContain(
        'SUCCESS',
      );
      expect(execFileSync('promtool', ['test', 'rules', ...tests], options)).toContain('SUCCESS');
    });
  },
);

describe('the dashboard, as Grafana imports it', () => {
  it('asks only the data source that its reader has chosen', () => {
    const sources = dashboard.panels
      .filter(({ type }) => type !== 'row')
      .map(({ datasource }) => datasource?.uid);
    expect(new Set(sources)).toEqual(new Set(['${datasource}']));
    expect(dashboard.templating.list.map(({ name }) => name)).toEqual(['datasource', 'job', 'handler']);
  });

  it('has no two panels in one place or with one id', () => {
    const ids = dashboard.panels.map(({ id }) => id);
    expect(new Set(ids).size).toBe(ids.length);
    const cells = dashboard.panels.flatMap(({ gridPos: { x, y, w, h } }) =>
      Array.from({ length: w * h }, (_, i) => `${x + (i % w)} ${y + Math.floor(i / w)}`),
    );
    expect(new Set(cells).size).toBe(cells.length);
    expect(Math.max(...dashboard.panels.map(({ gridPos: { x, w } }) => x + w))).toBe(24);
  });
});
