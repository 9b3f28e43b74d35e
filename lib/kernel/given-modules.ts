import { AsyncContextError } from './errors';
import { oncePerProcess } from './once-per-process';

/** What a package exports, by name. */
type Exports = Readonly<Record<string, unknown>>;
/** A file of a package that a driver is covered in, and what it exports. */
type GivenFile = readonly [packageName: string, file: string, exports: unknown];

/** Where the public exports of a driver have what its files export. */
const FILES: Readonly<Record<string, (exports: Exports, main: unknown) => readonly GivenFile[]>> = {
  pg: ({ Client, Pool }) => [
    ['pg', 'lib/client.js', Client],
    ['pg-pool', 'index.js', parentOf(Pool)],
  ],
  postgres: (_exports, main) => [['postgres', 'cjs/src/query.js', queriesOf(main)]],
  '@electric-sql/pglite': exports => [
    ['@electric-sql/pglite', 'dist/index.cjs', exports['PGlite'] && exports],
  ],
  mysql2: ({ Connection, Pool, PoolConnection }) => [
    ['mysql2', 'lib/base/connection.js', parentOf(Connection)],
    ['mysql2', 'lib/base/pool.js', parentOf(Pool)],
    ['mysql2', 'lib/pool_connection.js', PoolConnection],
  ],
  mariadb: exports => [['mariadb', 'dist/promise.cjs', exports['createPool'] && exports]],
  // `tedious`, which `mssql` is built on, is a module of its own.
  mssql: ({ Connection, ConnectionPool, Transaction, PreparedStatement, Request }) =>
    ConnectionPool === undefined
      ? [['tedious', 'lib/connection.js', Connection]]
      : [
          ['mssql', 'lib/base/connection-pool.js', parentOf(ConnectionPool)],
          ['mssql', 'lib/base/transaction.js', parentOf(Transaction)],
          ['mssql', 'lib/base/prepared-statement.js', PreparedStatement],
          ['mssql', 'lib/tedious/request.js', Request],
        ],
  tarn: ({ Pool }) => [['tarn', 'dist/Pool.js', Pool && { Pool }]],
  'better-sqlite3': (_exports, main) => [['better-sqlite3', 'lib/index.js', main]],
  '@elastic/elasticsearch': ({ Transport }) => [
    ['@elastic/transport', 'lib/Transport.js', Transport && { default: Transport }],
  ],
  '@aws-sdk/client-dynamodb': ({ DynamoDBClient }) => [
    [
      '@smithy/core',
      'dist-cjs/submodules/client/index.js',
      DynamoDBClient && { Client: parentOf(DynamoDBClient) },
    ],
  ],
  ioredis: ({ Redis, Cluster, Pipeline }) => [
    ['ioredis', 'built/Redis.js', Redis && { default: Redis }],
    ['ioredis', 'built/cluster/index.js', Cluster && { default: Cluster }],
    ['ioredis', 'built/Pipeline.js', Pipeline && { default: Pipeline }],
  ],
  redis: ({ RedisClient, RedisClientPool }) => [
    ['@redis/client', 'dist/lib/client/index.js', RedisClient && { default: RedisClient }],
    ['@redis/client', 'dist/lib/client/pool.js', RedisClientPool && { RedisClientPool }],
  ],
  bullmq: ({ Queue, FlowProducer, Worker, Job }) => [
    ['bullmq', 'dist/cjs/classes/queue.js', Queue && { Queue }],
    ['bullmq', 'dist/cjs/classes/flow-producer.js', FlowProducer && { FlowProducer }],
    ['bullmq', 'dist/cjs/classes/worker.js', Worker && { Worker }],
    ['bullmq', 'dist/cjs/classes/job.js', Job && { Job }],
  ],
  kafkajs: ({ Kafka }) => [['kafkajs', 'src/index.js', Kafka]],
  dataloader: (_exports, main) => [['dataloader', 'index.js', main]],
};

const given = oncePerProcess('given modules', () => new Map<string, Set<unknown>>());

/**
 * Takes the modules of a driver as the application has imported them: in a bundle they are found in no
 * other way.
 *
 * @throws AsyncContextError `ASYNC_CONTEXT_INVALID_OPTION` for what is not that module
 */
export function giveModules(driver: string, modules: readonly unknown[]): void {
  for (const module of modules) {
    const files = filesOf(driver, module);
    if (files === undefined) {
      throw new AsyncContextError(
        'ASYNC_CONTEXT_INVALID_OPTION',
        `the instrumentation of ${driver} was given something other than the module of that package. Import the ` +
          'package itself, not one of its files or an object created with it, and pass that.',
      );
    }
    for (const [name, file, exports] of files) {
      const key = `${name}/${file}`;
      given.set(key, (given.get(key) ?? new Set()).add(exports));
    }
  }
}

/** What was given of a file of a package. */
export function givenCopies(packageName: string, file: string): readonly unknown[] {
  return [...(given.get(`${packageName}/${file}`) ?? [])];
}

/** Whether anything was given of a package. */
export function isGiven(packageName: string): boolean {
  return [...given.keys()].some(key => key.startsWith(`${packageName}/`));
}

function filesOf(driver: string, module: unknown): readonly GivenFile[] | undefined {
  if ((typeof module !== 'object' && typeof module !== 'function') || module === null) return undefined;
  // Of a CommonJS package that is imported as an ES module, `default` is the whole.
  const { default: main = module } = module as { default?: unknown };
  const exports = { ...(module as Exports), ...(main as Exports) };
  const files = FILES[driver]?.(exports, main) ?? [];
  const isComplete = files.every(([, , part]) => typeof part === 'function' || typeof part === 'object');
  return files.length > 0 && isComplete ? files : undefined;
}

function parentOf(type: unknown): unknown {
  return typeof type === 'function' ? (Object.getPrototypeOf(type) as unknown) : undefined;
}

/** The class of queries of Postgres.js, which it does not export. Nothing is connected to. */
function queriesOf(postgres: unknown): unknown {
  if (typeof postgres !== 'function') return undefined;
  const sql = (postgres as (options: object) => unknown)({ max: 1 });
  if (typeof sql !== 'function') return undefined;
  const query = (sql as (strings: readonly string[]) => object)(Object.assign([''], { raw: [''] }));
  return { Query: query.constructor };
}
