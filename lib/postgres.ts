export type { PostgresClient, PostgresPool } from './sinks/postgres/postgres-client';
export {
  migratePostgres,
  type PostgresMigration,
  postgresMigrations,
  type PostgresSchemaOptions,
} from './sinks/postgres/postgres-migrations';
export type { PostgresSinkOptions } from './sinks/postgres/postgres-options';
export { PostgresSink } from './sinks/postgres/postgres.sink';

export {
  type PostgresCostLimitOptions,
  PostgresCostLimitStore,
  type PostgresQueries,
} from './guards/cost-limit/postgres-cost-limit.store';
