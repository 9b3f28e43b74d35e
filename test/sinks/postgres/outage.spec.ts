import { Controller, Get } from '@nestjs/common';
import { Client } from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ProcessFigures } from 'nestjs-async-context';
import { PostgresSink } from 'nestjs-async-context/postgres';
import { platforms, startApp } from '../../support/platforms';
import { hasPostgresBinary, PostgresServer } from '../../support/postgres-server';
import { OUTAGE_TEST_MS, runOutage } from '../../support/sink-outage';

describe.skipIf(!hasPostgresBinary)('PostgresSink in an application', () => {
  let server: PostgresServer;

  beforeAll(async () => {
    server = await PostgresServer.start();
  });
  afterAll(() => server.remove());

  it(
    'outlives a crash of its server: each record is in the table once, or counted as dropped',
    async () => {
      const records = Number(process.env['SINK_RECORDS'] ?? 3_000);
      const sink = new PostgresSink({ connection: server.url, migrate: true });
      const result = await runOutage({
        sink,
        stop: () => server.stop('SIGQUIT'),
        start: () => server.start(),
      });
      if (process.env['SINK_RECORDS'] !== undefined) console.log(JSON.stringify(result, undefined, 1));
      const { stats, inOutage, answers, heapMb, warnings } = result;
      expect(stats).toMatchObject({ produced: records, queued: 0 });
      expect(stats.produced).toBe(stats.delivered + stats.dropped);
      expect(inOutage.delivered).toBe(Math.floor(records / 3));
      expect(inOutage.queued).toBeGreaterThan(500);
      const [rows] = await server.query(
        'SELECT count(*)::int AS count, count(DISTINCT request_id)::int AS ids FROM cost_records',
      );
      expect(rows).toEqual({ count: stats.delivered, ids: stats.delivered });
      for (const { failed } of Object.values(answers)) expect(failed).toBe(0);
      expect(heapMb.during - heapMb.before).toBeLessThan(20);
      expect(warnings.join()).toContain('sink postgres "public"."cost_records" failed and was ignored');
    },
    OUTAGE_TEST_MS,
  );

  describe.each(platforms)('on %s', platform => {
    it('is counted for no request, and is no lost query', async () => {
      const client = new Client({ connectionString: server.url });
      await client.connect();

      @Controller()
      class Items {
        @Get()
        async list(): Promise<unknown> {
          const { rows } = await client.query('SELECT 1 AS one');
          return rows;
        }
      }
      const table = `records_${platform}`;
      const test = await startApp({
        platform,
        controllers: [Items],
        sinks: [new PostgresSink({ connection: server.url, table, migrate: true })],
        sinkQueue: { intervalMs: 5 },
      });
      const figures = test.app.get(ProcessFigures);
      // They count from the start of the process.
      const { charged = 0, lost = 0 } = figures.attribution.drivers['pg'] ?? {};
      for (let i = 0; i < 20; i++) await (await fetch(test.url)).text();
      await test.close();
      await client.end();
      expect(figures.sinkStats[1]).toMatchObject({ produced: 20, delivered: 20, dropped: 0 });
      expect(figures.attribution.drivers['pg']).toEqual({ charged: charged + 20, late: 0, lost });
      expect(test.sink.records.map(({ queries }) => queries.count)).toEqual(Array(20).fill(1));
      expect(test.logs.lines.filter(({ level }) => level === 'warn' || level === 'error')).toEqual([]);
      expect(await server.query(`SELECT queries::int, count(*)::int FROM ${table} GROUP BY 1`)).toEqual([
        { queries: 1, count: 20 },
      ]);
    });
  });
});
