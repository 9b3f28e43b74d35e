/**
 * Records per second that each sink takes, and the CPU that they cost this process.
 *
 *   npm run build && node bench/sinks.mjs [--records 50000] [--sinks memory,ndjson]
 *
 * `postgres` writes to a table of its own at DATABASE_URL, else at
 * postgres://postgres@127.0.0.1:5432/postgres, and drops it; brokers are asked at their usual ports of
 * 127.0.0.1. What has no server is skipped with a line.
 *
 * A sink is one entry of SINKS: what makes it, and what clears up behind it.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { figure, table } from './table.mjs';

const load = createRequire(import.meta.url);
load('@nestjs/common').Logger.overrideLogger(false);
const { NdjsonFileSink } = load('../dist/index.js');
const { SinkQueue } = load('../dist/sinks/sink-queue.js');
const { RequestContext } = load('../dist/context/request-context.js');
const { buildCostRecord } = load('../dist/record/cost-record-builder.js');
const { statementsOf } = load('../dist/sql/describe-statement.js');
const { recordSampler } = load('../dist/sinks/record-sampler.js');

const { values } = parseArgs({
  options: { records: { type: 'string', default: '50000' }, sinks: { type: 'string' } },
});
const RECORDS = Number(values.records);
const ROUNDS = 3;
const BATCH = 512;

/** @type {Record<string, () => Promise<{ sink: object, sample?: number, clear?: () => Promise<unknown> }>>} */
const SINKS = {
  nothing: async () => ({ sink: { name: 'nothing', write: () => undefined } }),
  sampled: async () => ({
    sink: { name: 'nothing', write: () => undefined },
    sample: 0.1,
  }),
  json: async () => ({
    sink: { name: 'json', write: records => void records.map(record => JSON.stringify(record)) },
  }),
  ndjson: () => file({}),
  gzip: () => file({ maxBytes: 10_000_000, gzip: true }),
  postgres: () => postgres(),
  redis: () => broker('REDIS', { host: '127.0.0.1', port: 6379 }),
  nats: () => broker('NATS', { servers: '127.0.0.1:4222' }),
  jetstream: () => jetstream(),
  rabbitmq: () => rabbitmq(),
  mqtt: () => broker('MQTT', { url: 'mqtt://127.0.0.1:1883' }),
  prometheus: async () => {
    const { PrometheusSink } = load('../dist/sinks/prometheus/prometheus.sink.js');
    const { Registry } = load('prom-client');
    return { sink: new PrometheusSink({ registry: new Registry() }) };
  },
  opentelemetry: async () => {
    const { OpenTelemetrySink } = load('../dist/sinks/opentelemetry/opentelemetry.sink.js');
    const { MeterProvider } = load('@opentelemetry/sdk-metrics');
    return { sink: new OpenTelemetrySink({ meterProvider: new MeterProvider() }) };
  },
};

const PATTERN = `bench-sinks-${process.pid}`;

/** Nobody is subscribed: what is measured is the way to the broker. */
async function broker(transport, options, more = {}) {
  const { ClientProxyFactory, Transport } = load('@nestjs/microservices');
  const { ClientProxySink } = load('../dist/sinks/client-proxy/client-proxy.sink.js');
  const client = ClientProxyFactory.create({ transport: Transport[transport], options });
  await client.connect();
  const sink = new ClientProxySink({ client, pattern: PATTERN, ...more });
  return { sink, clear: () => client.close() };
}

/** Each message is stored and acknowledged. */
async function jetstream() {
  const { connect } = load('@nats-io/transport-node');
  const connection = await connect({ servers: '127.0.0.1:4222' });
  const ask = (action, settings) =>
    connection.request(`$JS.API.STREAM.${action}.${PATTERN}`, JSON.stringify(settings));
  await ask('CREATE', { name: PATTERN, subjects: [PATTERN], storage: 'memory', max_bytes: 2 ** 28 });
  const { sink, clear } = await broker('NATS', { servers: '127.0.0.1:4222' }, { awaitReply: true });
  return {
    sink,
    clear: async () => {
      await clear();
      await ask('DELETE', {});
      await connection.close();
    },
  };
}

/** A queue that goes with its connection. */
function rabbitmq() {
  const queueOptions = { durable: false, autoDelete: true, expires: 60_000 };
  return broker('RMQ', { urls: ['amqp://guest:guest@127.0.0.1:5672'], queue: PATTERN, queueOptions });
}

async function file(options) {
  const folder = await mkdtemp(join(tmpdir(), 'bench-sinks-'));
  return {
    sink: new NdjsonFileSink({ path: join(folder, 'cost.ndjson'), ...options }),
    clear: () => rm(folder, { recursive: true }),
  };
}

async function postgres() {
  const { PostgresSink } = load('../dist/postgres.js');
  const { Client } = load('pg');
  const connectionString = process.env.DATABASE_URL ?? 'postgres://postgres@127.0.0.1:5432/postgres';
  const client = new Client({ connectionString });
  await client.connect();
  const name = `bench_sinks_${process.pid}`;
  const drop = `DROP TABLE IF EXISTS ${name}, ${name}_versions;
    DROP FUNCTION IF EXISTS ${name}_partition(date), ${name}_retain(integer)`;
  const sink = new PostgresSink({ connection: connectionString, table: name, migrate: true });
  await sink.write([]);
  return {
    sink,
    clear: async () => {
      await client.query(drop);
      await client.end();
    },
  };
}

const application = { userOf: () => undefined, routeOf: () => undefined, noteLate: () => undefined };
const statements = Array.from({ length: 3 }, (_, i) =>
  statementsOf('postgresql').describe(`SELECT id, name, total FROM orders_${i} WHERE customer_id = $1`),
);

/** A request of three queries, as it is when it has closed. */
function closedRequest(i) {
  const context = new RequestContext(application, 'http', `${i}-5cbb1d5e-5a4c-4f6e-9b6c-8b1b1d0c8f0e`);
  Object.assign(context, { route: 'GET /orders/:id', method: 'GET', status: 200 });
  for (const statement of statements) context.cost.begin(statement, closedRequest)?.end(1, false);
  context.endMs = performance.now();
  context.time.close(context.endMs);
  context.cost.isClosed = true;
  return context;
}

async function measure({ sink, sample = 1 }) {
  const report = (where, reason) => console.error(where, reason);
  const hookErrors = { report, say: report };
  const queue = new SinkQueue({
    sinks: [sink],
    capacity: BATCH,
    batchSize: BATCH,
    toRecord: buildCostRecord,
    weigh: recordSampler(sample),
    hookErrors,
  });
  let offerNanos = 0;
  let cpuMicros = 0;
  let ms = 0;
  for (let from = 0; from < RECORDS; from += BATCH) {
    // Made anew for each batch: in a server, too, a request that has just ended is in the caches.
    const requests = Array.from({ length: Math.min(BATCH, RECORDS - from) }, (_, i) =>
      closedRequest(from + i),
    );
    const cpu = process.cpuUsage();
    const begin = process.hrtime.bigint();
    for (const request of requests) queue.offer(request);
    offerNanos += Number(process.hrtime.bigint() - begin);
    await queue.flush();
    ms += Number(process.hrtime.bigint() - begin) / 1e6;
    const { user, system } = process.cpuUsage(cpu);
    cpuMicros += user + system;
  }
  await queue.close();
  const [{ delivered, dropped }] = queue.stats();
  if (dropped > 0) throw new Error(`${dropped} records were dropped`);
  return {
    perSecond: (RECORDS / ms) * 1_000,
    cpuMicros: cpuMicros / RECORDS,
    offerNanos: offerNanos / RECORDS,
    delivered,
  };
}

const bytes = Buffer.byteLength(JSON.stringify(buildCostRecord(closedRequest(0))));
console.log(
  `${RECORDS} requests, ${bytes} bytes a record, Node ${process.versions.node}, best of ${ROUNDS}\n`,
);
const wanted = values.sinks?.split(',') ?? Object.keys(SINKS);
const rows = [];
for (const name of wanted) {
  const results = [];
  try {
    for (let round = 0; round < ROUNDS; round++) {
      const subject = await SINKS[name]();
      results.push(await measure(subject));
      await subject.clear?.();
    }
  } catch (error) {
    console.log(`skipped ${name}: ${error.message || error.code}`);
    continue;
  }
  // Others may use this machine: the least disturbed round says most.
  const best = results.reduce((a, b) => (b.perSecond > a.perSecond ? b : a));
  const { perSecond, cpuMicros, offerNanos, delivered } = best;
  rows.push([name, figure(perSecond, 0), figure(cpuMicros, 1), figure(offerNanos, 0), figure(delivered, 0)]);
}
console.log(table(['sink', 'requests/s', 'CPU µs each', 'offer() ns', 'written'], rows));
