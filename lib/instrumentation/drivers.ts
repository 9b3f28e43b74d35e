import type { DriverInstrumentation } from './driver-instrumentation';
import { amqplibInstrumentation } from './drivers/amqplib.driver';
import { betterSqlite3Instrumentation } from './drivers/better-sqlite3.driver';
import { bullmqInstrumentation } from './drivers/bullmq.driver';
import { dataloaderInstrumentation } from './drivers/dataloader.driver';
import { dynamodbInstrumentation } from './drivers/dynamodb.driver';
import { elasticsearchInstrumentation } from './drivers/elasticsearch.driver';
import { httpInstrumentation } from './drivers/http-client.driver';
import { ioredisInstrumentation } from './drivers/ioredis.driver';
import { kafkajsInstrumentation } from './drivers/kafkajs.driver';
import { mariadbInstrumentation } from './drivers/mariadb.driver';
import { mongodbInstrumentation } from './drivers/mongodb.driver';
import { mssqlInstrumentation } from './drivers/mssql.driver';
import { mysql2Instrumentation } from './drivers/mysql2.driver';
import { natsInstrumentation } from './drivers/nats.driver';
import { nodeSqliteInstrumentation } from './drivers/node-sqlite.driver';
import { pgInstrumentation } from './drivers/pg.driver';
import { pgliteInstrumentation } from './drivers/pglite.driver';
import { postgresInstrumentation } from './drivers/postgres.driver';
import { redisInstrumentation } from './drivers/redis.driver';
import { tarnInstrumentation } from './drivers/tarn.driver';

/** What `instrumentations: 'auto'` means: every driver that is known, whether it is there or not. */
export function everyDriver(): DriverInstrumentation[] {
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
