import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { describe, expect, it } from 'vitest';
import {
  bullmqInstrumentation,
  type DriverInstrumentation,
  dataloaderInstrumentation,
  dynamodbInstrumentation,
  elasticsearchInstrumentation,
  ioredisInstrumentation,
  kafkajsInstrumentation,
  mssqlInstrumentation,
  mysql2Instrumentation,
  pgInstrumentation,
  postgresInstrumentation,
  redisInstrumentation,
  tarnInstrumentation,
} from 'nestjs-async-context';
import { givenCopies } from '../../lib/kernel/given-modules';

const load = createRequire(import.meta.url);

/** What a file of a package exports, past its `exports` map. */
function exportsOf(packageName: string, file: string): unknown {
  const [entry] = load.resolve.paths(packageName)!.flatMap(folder => {
    try {
      return [dirname(load.resolve(join(folder, packageName, 'package.json')))];
    } catch {
      return [];
    }
  });
  return load(join(entry!, file));
}

type Pick = (exports: never) => unknown;

// In a bundle these files are not to be found, so what is given must be what they export.
const cases: readonly [
  string,
  (...modules: object[]) => DriverInstrumentation,
  readonly [string, string, Pick?][],
][] = [
  [
    'pg',
    pgInstrumentation,
    [
      ['pg', 'lib/client.js'],
      ['pg-pool', 'index.js'],
    ],
  ],
  [
    'postgres',
    postgresInstrumentation,
    [['postgres', 'cjs/src/query.js', ({ Query }: { Query: unknown }) => Query]],
  ],
  [
    'mysql2',
    mysql2Instrumentation,
    [
      ['mysql2', 'lib/base/connection.js'],
      ['mysql2', 'lib/base/pool.js'],
      ['mysql2', 'lib/pool_connection.js'],
    ],
  ],
  [
    'mssql',
    mssqlInstrumentation,
    [
      ['mssql', 'lib/base/connection-pool.js'],
      ['mssql', 'lib/base/transaction.js'],
      ['mssql', 'lib/base/prepared-statement.js'],
      ['mssql', 'lib/tedious/request.js'],
    ],
  ],
  ['tedious', mssqlInstrumentation, [['tedious', 'lib/connection.js']]],
  ['tarn', tarnInstrumentation, [['tarn', 'dist/Pool.js', ({ Pool }: { Pool: unknown }) => Pool]]],
  [
    'ioredis',
    ioredisInstrumentation,
    [
      ['ioredis', 'built/Redis.js', defaultOf],
      ['ioredis', 'built/cluster/index.js', defaultOf],
      ['ioredis', 'built/Pipeline.js', defaultOf],
    ],
  ],
  [
    'redis',
    redisInstrumentation,
    [
      ['@redis/client', 'dist/lib/client/index.js', defaultOf],
      [
        '@redis/client',
        'dist/lib/client/pool.js',
        ({ RedisClientPool }: { RedisClientPool: unknown }) => RedisClientPool,
      ],
    ],
  ],
  [
    'bullmq',
    bullmqInstrumentation,
    [
      ['bullmq', 'dist/cjs/classes/queue.js', ({ Queue }: { Queue: unknown }) => Queue],
      ['bullmq', 'dist/cjs/classes/worker.js', ({ Worker }: { Worker: unknown }) => Worker],
      ['bullmq', 'dist/cjs/classes/job.js', ({ Job }: { Job: unknown }) => Job],
      [
        'bullmq',
        'dist/cjs/classes/flow-producer.js',
        ({ FlowProducer }: { FlowProducer: unknown }) => FlowProducer,
      ],
    ],
  ],
  ['kafkajs', kafkajsInstrumentation, [['kafkajs', 'src/index.js']]],
  ['dataloader', dataloaderInstrumentation, [['dataloader', 'index.js']]],
  [
    '@elastic/elasticsearch',
    elasticsearchInstrumentation,
    [['@elastic/transport', 'lib/Transport.js', defaultOf]],
  ],
  [
    '@aws-sdk/client-dynamodb',
    dynamodbInstrumentation,
    [['@smithy/core', 'dist-cjs/submodules/client/index.js', ({ Client }: { Client: unknown }) => Client]],
  ],
];

function defaultOf(exports: { default: unknown }): unknown {
  return exports.default;
}

describe.each(cases)('the module of %s', (name, instrumentation, files) => {
  it('stands for the files that are looked for, required or imported', async () => {
    // As an ES module has it, and as a bundler hands a CommonJS package to one.
    const required = load(name) as object;
    for (const module of [required, { ...required, default: required }]) {
      instrumentation(module);
      for (const [packageName, file, pick = (exports: never): unknown => exports] of files) {
        const given = givenCopies(packageName, file).map(copy => pick(copy as never));
        expect(given).toContain(pick(exportsOf(packageName, file) as never));
        expect(new Set(given).size).toBe(1);
      }
    }
  });
});
