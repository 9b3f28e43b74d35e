import type { DriverInstrumentation } from './driver-instrumentation';
import { betterSqlite3Instrumentation } from './drivers/better-sqlite3.driver';
import { dataloaderInstrumentation } from './drivers/dataloader.driver';
import { dynamodbInstrumentation } from './drivers/dynamodb.driver';
import { elasticsearchInstrumentation } from './drivers/elasticsearch.driver';
import { httpInstrumentation } from './drivers/http-client.driver';
import { ioredisInstrumentation } from './drivers/ioredis.driver';
import { mongodbInstrumentation } from './drivers/mongodb.driver';
import { mysql2Instrumentation } from './drivers/mysql2.driver';
import { nodeSqliteInstrumentation } from './drivers/node-sqlite.driver';
import { pgInstrumentation } from './drivers/pg.driver';
import { postgresInstrumentation } from './drivers/postgres.driver';
import { redisInstrumentation } from './drivers/redis.driver';

/** What `instrumentations: 'auto'` means: every driver that is known, whether it is there or not. */
export function everyDriver(): DriverInstrumentation[] {
  return [
    pgInstrumentation(),
    postgresInstrumentation(),
    mysql2Instrumentation(),
    betterSqlite3Instrumentation(),
    nodeSqliteInstrumentation(),
    mongodbInstrumentation(),
    elasticsearchInstrumentation(),
    dynamodbInstrumentation(),
    ioredisInstrumentation(),
    redisInstrumentation(),
    httpInstrumentation(),
    dataloaderInstrumentation(),
  ];
}
