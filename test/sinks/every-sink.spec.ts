import { InMemoryLogRecordExporter, LoggerProvider, SimpleLogRecordProcessor } from '@opentelemetry/sdk-logs';
import {
  AggregationTemporality,
  InMemoryMetricExporter,
  MeterProvider,
  PeriodicExportingMetricReader,
} from '@opentelemetry/sdk-metrics';
import { ClientProxyFactory, Transport } from '@nestjs/microservices';
import { Redis } from 'ioredis';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Pool } from 'pg';
import { Registry } from 'prom-client';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ContextService, type CostRecord, NdjsonFileSink, ProcessFigures } from 'nestjs-async-context';
import { ClientProxySink } from 'nestjs-async-context/microservices';
import { OpenTelemetrySink } from 'nestjs-async-context/opentelemetry';
import { migratePostgres, PostgresSink } from 'nestjs-async-context/postgres';
import { PrometheusSink } from 'nestjs-async-context/prometheus';
import { databaseUrl, isEmbedded } from '../support/database';
import { hostileStrings } from '../support/hostile-strings';
import { startApp, type TestApp, until } from '../support/platforms';
import { hasRedis, redisKey, redisUrl } from '../support/redis-server';
import { SECRETS, secretStatements } from '../support/secret-statements';

const table = `every_sink_${process.pid}`;
const channel = redisKey('every-sink');
const COUNT = hostileStrings.length + secretStatements.length;

/** All names and texts in a value. */
function textsIn(value: unknown): string[] {
  if (typeof value === 'string') return [value];
  if (typeof value !== 'object' || value === null) return [];
  return Object.entries(value).flatMap(([name, member]) => [name, ...textsIn(member)]);
}

function withoutUnstorable(value: unknown): unknown {
  if (typeof value === 'string') return value.replace(/\0|\p{Cs}/gu, '\ufffd');
  if (typeof value !== 'object' || value === null) return value;
  if (Array.isArray(value)) return value.map(withoutUnstorable);
  return Object.fromEntries(
    Object.entries(value).map(([name, member]) => [withoutUnstorable(name), withoutUnstorable(member)]),
  );
}

describe.runIf(hasRedis && !isEmbedded)('what is hostile or secret, in every sink', () => {
  const folder = mkdtempSync(join(tmpdir(), 'every-sink-'));
  const path = join(folder, 'cost.ndjson');
  const registry = new Registry();
  const exporter = new InMemoryMetricExporter(AggregationTemporality.CUMULATIVE);
  const reader = new PeriodicExportingMetricReader({ exporter, exportIntervalMillis: 3_600_000 });
  const logExporter = new InMemoryLogRecordExporter();
  const messages: string[] = [];
  /** What each sink has written, as its reader gets it. */
  let written: Record<string, string[]>;
  let records: readonly CostRecord[];
  let pool: Pool;
  let subscriber: Redis;
  let test: TestApp;

  beforeAll(async () => {
    pool = new Pool({ connectionString: databaseUrl(), max: 1 });
    await migratePostgres(pool, { table });
    subscriber = new Redis(redisUrl);
    await subscriber.subscribe(channel);
    subscriber.on('message', (_channel, message: string) => messages.push(message));
    const { hostname: host, port } = new URL(redisUrl);
    const options = { host, port: Number(port || 6_379) };
    const client = () => ClientProxyFactory.create({ transport: Transport.REDIS, options });
    const loggerProvider = new LoggerProvider({
      processors: [new SimpleLogRecordProcessor({ exporter: logExporter })],
    });
    test = await startApp({
      budget: { queries: 1, perTable: { users: 1 } },
      breachWindowMs: 0,
      sinkQueue: { intervalMs: 20 },
      sinks: [
        new NdjsonFileSink({ path }),
        new PostgresSink({ connection: databaseUrl(), table }),
        new ClientProxySink({ client, pattern: channel }),
        new PrometheusSink({ registry }),
        new OpenTelemetrySink({ meterProvider: new MeterProvider({ readers: [reader] }), loggerProvider }),
      ],
    });
    const context = test.app.get(ContextService);
    const figures = test.app.get(ProcessFigures);
    for (const text of hostileStrings) {
      context.run({ handler: text, requestId: text, user: { id: text } as never }, () => {
        for (let i = 0; i < 2; i++) context.record({ system: 'x', collection: text, durationMs: 1 });
      });
    }
    for (const { system, text } of secretStatements) {
      context.run({ kind: 'http', handler: 'Orders.list' }, () => {
        for (let i = 0; i < 6; i++) context.record({ system, statement: text, durationMs: 1 });
      });
    }
    records = await test.records(COUNT);
    await until(
      () => figures.sinkStats.every(({ delivered, queued }) => delivered === COUNT && queued === 0),
      'records in every sink',
    );
    await until(() => received().length === COUNT, 'records from the broker');
    await reader.forceFlush();
    const { rows } = await pool.query<{ row: string; record: string }>(
      `SELECT to_json(t)::text AS row, record::text AS record FROM ${table} AS t`,
    );
    written = {
      ndjson: readFileSync(path, 'utf8').trimEnd().split('\n'),
      postgres: rows.flatMap(({ row, record }) => [row, record]),
      redis: messages,
      prometheus: (await registry.metrics()).trimEnd().split('\n'),
      // As they are, without the escapes of a format; the text of a log record has lines.
      opentelemetry: [
        ...exporter.getMetrics().flatMap(({ scopeMetrics }) => textsIn(scopeMetrics)),
        ...logExporter.getFinishedLogRecords().flatMap(({ attributes }) => textsIn(attributes)),
      ],
    };
  });
  afterAll(async () => {
    await test.close();
    await pool.query(
      `DROP TABLE ${table}, ${table}_versions; DROP FUNCTION ${table}_partition(date), ${table}_retain(integer)`,
    );
    await pool.end();
    subscriber.disconnect();
    rmSync(folder, { recursive: true });
  });

  function received(): CostRecord[] {
    return messages.flatMap(message => (JSON.parse(message) as { data: CostRecord[] }).data);
  }

  it.each(['ndjson', 'postgres', 'redis', 'prometheus', 'opentelemetry'])(
    'has no control character and no secret in %s',
    sink => {
      const texts = written[sink]!;
      expect(texts.length).toBeGreaterThan(0);
      // oxlint-disable-next-line no-control-regex -- it is what is looked for
      expect(texts.filter(text => /[\u0000-\u001f]/.test(text))).toEqual([]);
      expect(texts.filter(text => SECRETS.test(text))).toEqual([]);
    },
  );

  it('is one and the same record in files, in PostgreSQL and from a broker', () => {
    const byStart = (list: CostRecord[]): CostRecord[] =>
      list.toSorted((a, b) => a.requestId.localeCompare(b.requestId));
    const expected = byStart(JSON.parse(JSON.stringify(records)) as CostRecord[]);
    expect(byStart(written['ndjson']!.map(line => JSON.parse(line) as CostRecord))).toEqual(expected);
    expect(byStart(received())).toEqual(expected);
    const stored = written['postgres']!.filter((_, i) => i % 2 === 1).map(
      text => JSON.parse(text) as CostRecord,
    );
    // PostgreSQL has no text with NUL or half of a pair of surrogates.
    const storable = expected.map(record => withoutUnstorable(record)) as CostRecord[];
    expect(byStart(stored)).toEqual(storable);
  });
});
