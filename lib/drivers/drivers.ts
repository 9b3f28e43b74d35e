import type { DriverInstrumentation } from '../instrumentation/driver-instrumentation';
import { giveModules } from '../kernel/given-modules';
import { lazyDriver } from '../instrumentation/lazy-driver';

/**
 * Counts the queries of `pg` (`Client` and `Pool`), and so of everything built on it: TypeORM, Drizzle, Knex,
 * MikroORM, Prisma's `adapter-pg`, …
 *
 * A query is counted where the application makes it, even if it then waits for the pool.
 *
 * @param modules the package as imported by the application; only needed in a bundle
 * @throws AsyncContextError `ASYNC_CONTEXT_INVALID_OPTION` for a module of another package
 *
 * @example
 * AsyncContextModule.forRoot({ instrumentations: [pgInstrumentation()] });
 */
export function pgInstrumentation(...modules: readonly object[]): DriverInstrumentation {
  giveModules('pg', modules);
  return lazyDriver({
    name: 'pg',
    packages: ['pg', 'pg-pool'],
    load: () => (require('./pg/pg.driver') as typeof import('./pg/pg.driver')).pgInstrumentation(),
  });
}

/**
 * Counts the queries of `postgres` (Postgres.js), and so of Drizzle on it. Its queries are lazy: they are charged to
 * the unit of work that awaits them, which is when they are sent.
 *
 * @param modules the package as imported by the application; only needed in a bundle
 * @throws AsyncContextError `ASYNC_CONTEXT_INVALID_OPTION` for a module of another package
 *
 * @example
 * AsyncContextModule.forRoot({ instrumentations: [postgresInstrumentation()] });
 */
export function postgresInstrumentation(...modules: readonly object[]): DriverInstrumentation {
  giveModules('postgres', modules);
  return lazyDriver({
    name: 'postgres',
    packages: ['postgres'],
    hasModuleBuild: true,
    load: () =>
      (
        require('./postgres/postgres.driver') as typeof import('./postgres/postgres.driver')
      ).postgresInstrumentation(),
  });
}

/**
 * Counts the queries of PGlite, and so of Drizzle on it. Its engine runs one query at a time: waiting for it is part
 * of the query.
 *
 * @param modules the package as imported by the application; only needed in a bundle
 * @throws AsyncContextError `ASYNC_CONTEXT_INVALID_OPTION` for a module of another package
 *
 * @example
 * AsyncContextModule.forRoot({ instrumentations: [pgliteInstrumentation()] });
 */
export function pgliteInstrumentation(...modules: readonly object[]): DriverInstrumentation {
  giveModules('@electric-sql/pglite', modules);
  return lazyDriver({
    name: '@electric-sql/pglite',
    packages: ['@electric-sql/pglite'],
    hasModuleBuild: true,
    load: () => (require('./pglite.driver') as typeof import('./pglite.driver')).pgliteInstrumentation(),
  });
}

/**
 * Counts the queries of `mysql2`, and so of TypeORM, Sequelize, Knex, Kysely, Drizzle and Prisma on it.
 *
 * It listens to the diagnostics channels of the driver. They lack the text before the values were inserted, the rows
 * of a stream, the result of `prepare()`, and a way to reject a query: for these, `query`, `execute` and `addCommand`
 * of its connections are replaced.
 *
 * @param modules the package as imported by the application; only needed in a bundle
 * @throws AsyncContextError `ASYNC_CONTEXT_INVALID_OPTION` for a module of another package
 *
 * @example
 * AsyncContextModule.forRoot({ instrumentations: [mysql2Instrumentation()] });
 */
export function mysql2Instrumentation(...modules: readonly object[]): DriverInstrumentation {
  giveModules('mysql2', modules);
  return lazyDriver({
    name: 'mysql2',
    // Always: it listens to the channels of the driver, which need no class of it.
    load: () =>
      (require('./mysql2/mysql2.driver') as typeof import('./mysql2/mysql2.driver')).mysql2Instrumentation(),
  });
}

/**
 * Counts the queries of `mariadb`, with promises and with callbacks, and so of Sequelize on it. Queries that a
 * connection makes for itself, its pings, and imported files are not counted.
 *
 * @param modules the package as imported by the application; only needed in a bundle
 * @throws AsyncContextError `ASYNC_CONTEXT_INVALID_OPTION` for a module of another package
 *
 * @example
 * AsyncContextModule.forRoot({ instrumentations: [mariadbInstrumentation()] });
 */
export function mariadbInstrumentation(...modules: readonly object[]): DriverInstrumentation {
  giveModules('mariadb', modules);
  return lazyDriver({
    name: 'mariadb',
    packages: ['mariadb'],
    hasModuleBuild: true,
    load: () =>
      (
        require('./mariadb/mariadb.driver') as typeof import('./mariadb/mariadb.driver')
      ).mariadbInstrumentation(),
  });
}

/**
 * Counts the queries of `mssql`, and of `tedious` below it, and so of TypeORM, Knex and Kysely on them.
 *
 * The channels that `mssql` publishes lack the values that distinguish duplicates from other repeats, streams, and a
 * way to reject a query; `tedious` publishes none. So a query begins where `mssql`, or `tedious` on its own, is
 * called, and ends where `tedious` calls back.
 *
 * @param modules the package as imported by the application; only needed in a bundle
 * @throws AsyncContextError `ASYNC_CONTEXT_INVALID_OPTION` for a module of another package
 *
 * @example
 * AsyncContextModule.forRoot({ instrumentations: [mssqlInstrumentation()] });
 */
export function mssqlInstrumentation(...modules: readonly object[]): DriverInstrumentation {
  giveModules('mssql', modules);
  return lazyDriver({
    name: 'mssql',
    packages: ['tedious'],
    load: () =>
      (require('./mssql/mssql.driver') as typeof import('./mssql/mssql.driver')).mssqlInstrumentation(),
  });
}

/**
 * Watches the pools of `tarn`, and so of Knex: who waits for a connection, and who holds one. Queries on these
 * connections are counted by the instrumentation of their driver.
 *
 * @param modules the package as imported by the application; only needed in a bundle
 * @throws AsyncContextError `ASYNC_CONTEXT_INVALID_OPTION` for a module of another package
 *
 * @example
 * AsyncContextModule.forRoot({ instrumentations: [pgInstrumentation(), tarnInstrumentation()] });
 */
export function tarnInstrumentation(...modules: readonly object[]): DriverInstrumentation {
  giveModules('tarn', modules);
  return lazyDriver({
    name: 'tarn',
    packages: ['tarn'],
    load: () =>
      (require('./mssql/tarn.driver') as typeof import('./mssql/tarn.driver')).tarnInstrumentation(),
  });
}

/**
 * Counts the queries of `better-sqlite3`, and so of TypeORM, Knex, Kysely and Drizzle on it.
 *
 * @param modules the package as imported by the application; only needed in a bundle
 * @throws AsyncContextError `ASYNC_CONTEXT_INVALID_OPTION` for a module of another package
 *
 * @example
 * AsyncContextModule.forRoot({ instrumentations: [betterSqlite3Instrumentation()] });
 */
export function betterSqlite3Instrumentation(...modules: readonly object[]): DriverInstrumentation {
  giveModules('better-sqlite3', modules);
  return lazyDriver({
    name: 'better-sqlite3',
    packages: ['better-sqlite3'],
    load: () =>
      (
        require('./sqlite/better-sqlite3.driver') as typeof import('./sqlite/better-sqlite3.driver')
      ).betterSqlite3Instrumentation(),
  });
}

/**
 * Counts the queries of `node:sqlite`. The diagnostics channel of Node 26 is not used: it costs ten times as much, and
 * its texts contain the values.
 *
 * @example
 * AsyncContextModule.forRoot({ instrumentations: [nodeSqliteInstrumentation()] });
 */
export function nodeSqliteInstrumentation(): DriverInstrumentation {
  return lazyDriver({
    name: 'node:sqlite',
    packages: ['node:sqlite'],
    load: () =>
      (
        require('./sqlite/node-sqlite.driver') as typeof import('./sqlite/node-sqlite.driver')
      ).nodeSqliteInstrumentation(),
  });
}

/**
 * Counts the commands of `mongodb`, and so of Mongoose: each batch of a cursor is one query, with its documents; the
 * collection stands for the table.
 *
 * @example
 * AsyncContextModule.forRoot({ instrumentations: [mongodbInstrumentation()] });
 */
export function mongodbInstrumentation(): DriverInstrumentation {
  return lazyDriver({
    name: 'mongodb',
    packages: ['mongodb'],
    load: () =>
      (
        require('./mongodb/mongodb.driver') as typeof import('./mongodb/mongodb.driver')
      ).mongodbInstrumentation(),
  });
}

/**
 * Counts the requests of `@elastic/elasticsearch` as queries, such as `search orders`, by index, with the documents
 * that they return or write. A request and its retries count once, and not as outbound HTTP.
 *
 * @param modules the package as imported by the application; only needed in a bundle
 * @throws AsyncContextError `ASYNC_CONTEXT_INVALID_OPTION` for a module of another package
 *
 * @example
 * AsyncContextModule.forRoot({ instrumentations: [elasticsearchInstrumentation()] });
 */
export function elasticsearchInstrumentation(...modules: readonly object[]): DriverInstrumentation {
  giveModules('@elastic/elasticsearch', modules);
  return lazyDriver({
    name: '@elastic/elasticsearch',
    // `hpagent`: the ES module build is loaded where what it imports has been.
    packages: ['@elastic/transport', '@elastic/elasticsearch', 'hpagent'],
    load: () =>
      (
        require('./elasticsearch/elasticsearch.driver') as typeof import('./elasticsearch/elasticsearch.driver')
      ).elasticsearchInstrumentation(),
  });
}

/**
 * Counts the commands of `@aws-sdk/client-dynamodb` as queries, such as `Query orders`, by table, with the items that
 * they return or write; those of `@aws-sdk/lib-dynamodb` as well. A command and its retries count once, and not as
 * outbound HTTP. The other clients of the SDK count as outbound HTTP.
 *
 * @param modules the package as imported by the application; only needed in a bundle
 * @throws AsyncContextError `ASYNC_CONTEXT_INVALID_OPTION` for a module of another package
 *
 * @example
 * AsyncContextModule.forRoot({ instrumentations: [dynamodbInstrumentation()] });
 */
export function dynamodbInstrumentation(...modules: readonly object[]): DriverInstrumentation {
  giveModules('@aws-sdk/client-dynamodb', modules);
  return lazyDriver({
    name: '@aws-sdk/client-dynamodb',
    packages: ['@smithy/core', '@smithy/smithy-client'],
    load: () =>
      (
        require('./dynamodb/dynamodb.driver') as typeof import('./dynamodb/dynamodb.driver')
      ).dynamodbInstrumentation(),
  });
}

/**
 * Counts the commands of `ioredis` 5 and newer, in `record.cache`, by name: those of pipelines and transactions one
 * by one, and those that wait for a connection where the application made them.
 *
 * @param modules the package as imported by the application; only needed in a bundle
 * @throws AsyncContextError `ASYNC_CONTEXT_INVALID_OPTION` for a module of another package
 *
 * @example
 * AsyncContextModule.forRoot({ instrumentations: [ioredisInstrumentation()] });
 */
export function ioredisInstrumentation(...modules: readonly object[]): DriverInstrumentation {
  giveModules('ioredis', modules);
  return lazyDriver({
    name: 'ioredis',
    packages: ['ioredis'],
    load: () =>
      (
        require('./ioredis/ioredis.driver') as typeof import('./ioredis/ioredis.driver')
      ).ioredisInstrumentation(),
  });
}

/**
 * Counts the commands of `redis` (node-redis 5 and newer: clients, pools, clusters, sentinels), in `record.cache`, by
 * name; the client of a pool is attributed to the request that asked for it.
 *
 * @param modules the package as imported by the application; only needed in a bundle
 * @throws AsyncContextError `ASYNC_CONTEXT_INVALID_OPTION` for a module of another package
 *
 * @example
 * AsyncContextModule.forRoot({ instrumentations: [redisInstrumentation()] });
 */
export function redisInstrumentation(...modules: readonly object[]): DriverInstrumentation {
  giveModules('redis', modules);
  return lazyDriver({
    name: 'redis',
    packages: ['@redis/client'],
    load: () =>
      (require('./redis/redis.driver') as typeof import('./redis/redis.driver')).redisInstrumentation(),
  });
}

/**
 * Counts the jobs added to queues of `bullmq`, in `record.messages`, by queue. The Redis commands of adding a job are
 * part of it.
 *
 * @param modules the package as imported by the application; only needed in a bundle
 * @throws AsyncContextError `ASYNC_CONTEXT_INVALID_OPTION` for a module of another package
 *
 * @example
 * AsyncContextModule.forRoot({ instrumentations: [bullmqInstrumentation()] });
 */
export function bullmqInstrumentation(...modules: readonly object[]): DriverInstrumentation {
  giveModules('bullmq', modules);
  return lazyDriver({
    name: 'bullmq',
    packages: ['bullmq'],
    load: () => (require('./bullmq.driver') as typeof import('./bullmq.driver')).bullmqInstrumentation(),
  });
}

/**
 * Counts the messages published with `amqplib`, in `record.messages`, by exchange, or by queue for the default
 * exchange. A message has ended when its channel has accepted it.
 *
 * @example
 * AsyncContextModule.forRoot({ instrumentations: [amqplibInstrumentation()] });
 */
export function amqplibInstrumentation(): DriverInstrumentation {
  return lazyDriver({
    name: 'amqplib',
    packages: ['amqplib'],
    load: () => (require('./amqplib.driver') as typeof import('./amqplib.driver')).amqplibInstrumentation(),
  });
}

/**
 * Counts the messages published with `nats` and `@nats-io/transport-node`, in `record.messages`, by subject; a part of
 * the subject that contains a digit becomes `*`. A request is one message; it has ended when it is handed to the
 * connection.
 *
 * @example
 * AsyncContextModule.forRoot({ instrumentations: [natsInstrumentation()] });
 */
export function natsInstrumentation(): DriverInstrumentation {
  return lazyDriver({
    name: 'nats',
    packages: ['nats', '@nats-io/nats-core'],
    load: () => (require('./nats.driver') as typeof import('./nats.driver')).natsInstrumentation(),
  });
}

/**
 * Counts the messages that producers of `kafkajs` send, in `record.messages`, by topic. Producers created before the
 * application are not covered.
 *
 * @param modules the package as imported by the application; only needed in a bundle
 * @throws AsyncContextError `ASYNC_CONTEXT_INVALID_OPTION` for a module of another package
 *
 * @example
 * AsyncContextModule.forRoot({ instrumentations: [kafkajsInstrumentation()] });
 */
export function kafkajsInstrumentation(...modules: readonly object[]): DriverInstrumentation {
  giveModules('kafkajs', modules);
  return lazyDriver({
    name: 'kafkajs',
    packages: ['kafkajs'],
    load: () => (require('./kafkajs.driver') as typeof import('./kafkajs.driver')).kafkajsInstrumentation(),
  });
}

/**
 * Counts outbound HTTP requests, in `record.http`, by host: `fetch`, `undici`, `node:http`, `node:https` and so
 * `axios`, `got` and everything built on them, and `node:http2` from Node 22 on.
 *
 * Each redirect and each retry is a separate request. A call lasts until its response has been read; it has failed if
 * there was no response, if the response broke off, or if its status is 500 or more. Requests that an agent, such as
 * an OpenTelemetry exporter, sends for itself are not charged to any unit of work.
 *
 * @example
 * AsyncContextModule.forRoot({ instrumentations: [httpInstrumentation()] });
 */
export function httpInstrumentation(): DriverInstrumentation {
  return lazyDriver({
    name: 'http',
    load: () =>
      (
        require('./http/http-client.driver') as typeof import('./http/http-client.driver')
      ).httpInstrumentation(),
  });
}

/**
 * Counts nothing: the queries of a batch are charged to the unit of work that scheduled it. Warns if a `DataLoader` is
 * shared, so that one unit of work pays for the rows of another, and sees them.
 *
 * @param modules the package as imported by the application; only needed in a bundle
 * @throws AsyncContextError `ASYNC_CONTEXT_INVALID_OPTION` for a module of another package
 *
 * @example
 * AsyncContextModule.forRoot({ instrumentations: [pgInstrumentation(), dataloaderInstrumentation()] });
 */
export function dataloaderInstrumentation(...modules: readonly object[]): DriverInstrumentation {
  giveModules('dataloader', modules);
  return lazyDriver({
    name: 'dataloader',
    packages: ['dataloader'],
    load: () =>
      (require('./dataloader.driver') as typeof import('./dataloader.driver')).dataloaderInstrumentation(),
  });
}

/**
 * Value of `instrumentations: 'auto'`: the instrumentation of every supported client, whether or not it is installed.
 * Use it to build a list with an instrumentation of your own.
 *
 * @example
 * declare const myInstrumentation: DriverInstrumentation;
 *
 * AsyncContextModule.forRoot({ instrumentations: [...defaultInstrumentations(), myInstrumentation] });
 */
export function defaultInstrumentations(): DriverInstrumentation[] {
  return [
    pgInstrumentation(),
    postgresInstrumentation(),
    pgliteInstrumentation(),
    mysql2Instrumentation(),
    mariadbInstrumentation(),
    mssqlInstrumentation(),
    tarnInstrumentation(),
    betterSqlite3Instrumentation(),
    nodeSqliteInstrumentation(),
    mongodbInstrumentation(),
    elasticsearchInstrumentation(),
    dynamodbInstrumentation(),
    ioredisInstrumentation(),
    redisInstrumentation(),
    bullmqInstrumentation(),
    amqplibInstrumentation(),
    natsInstrumentation(),
    kafkajsInstrumentation(),
    httpInstrumentation(),
    dataloaderInstrumentation(),
  ];
}
