import { registerInstrumentations, type Instrumentation } from '@opentelemetry/instrumentation';
import { AmqplibInstrumentation } from '@opentelemetry/instrumentation-amqplib';
import { HttpInstrumentation } from '@opentelemetry/instrumentation-http';
import { IORedisInstrumentation } from '@opentelemetry/instrumentation-ioredis';
import { KafkaJsInstrumentation } from '@opentelemetry/instrumentation-kafkajs';
import { MongoDBInstrumentation } from '@opentelemetry/instrumentation-mongodb';
import { MySQL2Instrumentation } from '@opentelemetry/instrumentation-mysql2';
import { RedisInstrumentation } from '@opentelemetry/instrumentation-redis';
import { TediousInstrumentation } from '@opentelemetry/instrumentation-tedious';
import { UndiciInstrumentation } from '@opentelemetry/instrumentation-undici';
import { context, trace } from '@opentelemetry/api';
import { InMemorySpanExporter, NodeTracerProvider, SimpleSpanProcessor } from '@opentelemetry/sdk-trace-node';
import type * as Amqplib from 'amqplib';
import type { Redis as IORedis } from 'ioredis';
import type * as KafkaJs from 'kafkajs';
import type * as MongoDb from 'mongodb';
import type * as Mssql from 'mssql';
import type * as MySql from 'mysql2/promise';
import type * as NodeRedis from 'redis';
import { createRequire } from 'node:module';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { CostRecord } from 'nestjs-async-context';
import { startHttpServer } from '../support/http-server';
import { startApp, type TestApp } from '../support/platforms';
import { startTdsServer } from '../support/tds-server';
import { recordOfUnit } from '../support/units';

const exporter = new InMemorySpanExporter();
const tracerProvider = new NodeTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] });
// Before anything is loaded, as its SDK does; each client below is loaded through `require()`, which it watches.
tracerProvider.register();
const theirs: Instrumentation[] = [
  new MySQL2Instrumentation(),
  new TediousInstrumentation(),
  new MongoDBInstrumentation(),
  new IORedisInstrumentation(),
  new RedisInstrumentation(),
  new HttpInstrumentation(),
  new UndiciInstrumentation(),
  new AmqplibInstrumentation(),
  new KafkaJsInstrumentation(),
];
const stop = registerInstrumentations({ tracerProvider, instrumentations: theirs });
const load = createRequire(import.meta.url);

interface Client {
  work(): Promise<unknown>;
  close(): unknown;
}

/** What the record counts of the work below: once, whoever else has wrapped the client. */
const CLIENTS: Record<string, { open: () => Promise<Client>; counted: unknown; spans: RegExp }> = {
  mysql2: {
    counted: { queries: { count: 3, rows: 3, errors: 1 } },
    spans: /SELECT/,
    async open() {
      const { createPool } = load('mysql2/promise') as typeof MySql;
      const pool = createPool(process.env['TEST_MARIADB_URL'] ?? 'mysql://root@127.0.0.1:3306/test');
      return {
        work: async () => [
          (await pool.query('SELECT ? AS n UNION SELECT 2', [1]))[0],
          (await pool.execute('SELECT ? AS n', ['a']))[0],
          await pool.query('SELECT * FROM nowhere').catch(({ code }: { code: string }) => code),
        ],
        close: () => pool.end(),
      };
    },
  },
  mssql: {
    counted: { queries: { count: 2, rows: 3, errors: 1 } },
    spans: /execSql/,
    async open() {
      const server = await startTdsServer();
      const { ConnectionPool } = load('mssql') as typeof Mssql;
      const pool = await new ConnectionPool({
        server: '127.0.0.1',
        port: server.port,
        user: 'test',
        password: 'test',
        options: { encrypt: false },
      }).connect();
      return {
        work: async () => [
          (await pool.query('SELECT TOP 3 * FROM orders')).recordset,
          await pool.query('SELECT * FROM nowhere').catch(({ code }: { code: string }) => code),
        ],
        async close() {
          await pool.close();
          await server.close();
        },
      };
    },
  },
  mongodb: {
    counted: { queries: { count: 2, rows: 3, errors: 0 } },
    spans: /find/,
    async open() {
      // It imports the driver for its BSON.
      const { startMongoServer } = await import('../support/mongo-server');
      const server = await startMongoServer();
      const { MongoClient } = load('mongodb') as typeof MongoDb;
      const client = await MongoClient.connect(server.url);
      const orders = client.db('test').collection<{ _id: number }>('orders');
      await orders.insertMany([{ _id: 1 }, { _id: 2 }]);
      return {
        work: async () => [await orders.find({}).toArray(), await orders.find({ _id: 1 }).toArray()],
        async close() {
          await client.close();
          await server.close();
        },
      };
    },
  },
  ioredis: {
    counted: { cache: { count: 4, errors: 0 } },
    spans: /^set|^get|multi|pipeline/i,
    async open() {
      const { Redis } = load('ioredis') as { Redis: typeof IORedis };
      const client = new Redis();
      return {
        work: async () => [
          await client.set('nac:otel', 'a'),
          await client.get('nac:otel'),
          await client.pipeline().get('nac:otel').del('nac:otel').exec(),
        ],
        close: () => client.quit(),
      };
    },
  },
  redis: {
    counted: { cache: { count: 4, errors: 0 } },
    spans: /^redis-/,
    async open() {
      const { createClient } = load('redis') as typeof NodeRedis;
      const client = createClient();
      await client.connect();
      return {
        work: async () => [
          await client.set('nac:otel2', 'a'),
          await client.get('nac:otel2'),
          await client.multi().get('nac:otel2').del('nac:otel2').exec(),
        ],
        close: () => client.close(),
      };
    },
  },
  http: {
    counted: { http: { count: 2, errors: 0 } },
    spans: /GET/,
    async open() {
      const server = await startHttpServer();
      const { get } = load('node:http') as typeof import('node:http');
      return {
        work: async () => [
          await (await fetch(`${server.url}/ok`)).text(),
          await new Promise((resolve, reject) => {
            get(`${server.url}/ok`, response => {
              response.toArray().then(chunks => resolve(String(chunks)), reject);
            }).on('error', reject);
          }),
        ],
        close: () => server.close(),
      };
    },
  },
  amqplib: {
    counted: { messages: { count: 2, errors: 0 } },
    spans: /publish/,
    async open() {
      const { connect } = load('amqplib') as typeof Amqplib;
      const connection = await connect('amqp://127.0.0.1');
      const channel = await connection.createConfirmChannel();
      return {
        work: async () => {
          channel.publish('amq.fanout', 'nac', Buffer.from('a'));
          await new Promise(resolve => channel.publish('amq.fanout', 'nac', Buffer.from('b'), {}, resolve));
          await channel.waitForConfirms();
        },
        close: () => connection.close(),
      };
    },
  },
  kafkajs: {
    counted: { messages: { count: 2, errors: 2 } },
    spans: /orders/,
    async open() {
      const { Kafka, logLevel } = load('kafkajs') as typeof KafkaJs;
      const kafka = new Kafka({
        brokers: ['127.0.0.1:1'],
        logLevel: logLevel.NOTHING,
        retry: { retries: 0 },
      });
      const producer = kafka.producer();
      return {
        work: () =>
          producer
            .send({ topic: 'orders', messages: [{ value: 'a' }, { value: 'b' }] })
            .catch(({ name }: Error) => name),
        close: () => producer.disconnect(),
      };
    },
  },
};

describe('with the instrumentation of OpenTelemetry', () => {
  let test: TestApp;

  beforeAll(async () => {
    ['mysql2/promise', 'mssql', 'mongodb', 'ioredis', 'redis', 'amqplib', 'kafkajs'].forEach(name =>
      load(name),
    );
    test = await startApp({ instrumentations: 'auto' });
  });
  afterAll(async () => {
    await test.close();
    stop();
    context.disable();
    trace.disable();
  });

  it.each(Object.keys(CLIENTS))('is counted once, has its span, and gives what it gives: %s', async name => {
    const { open, counted, spans } = CLIENTS[name]!;
    const client = await open();
    const bare = await client.work();
    exporter.reset();
    let result: unknown;
    const record: CostRecord = await recordOfUnit(test, () =>
      tracerProvider.getTracer('test').startActiveSpan('unit', async span => {
        result = await client.work();
        span.end();
      }),
    );
    expect(result).toEqual(bare);
    expect(record).toMatchObject(counted as object);
    const made = exporter.getFinishedSpans().filter(span => spans.test(span.name));
    expect(made.length).toBeGreaterThanOrEqual(1);
    await client.close();
  });
});
