export type { PostgresClient, PostgresPool } from './postgres-client';
export {
  migratePostgres,
  type PostgresMigration,
  postgresMigrations,
  type PostgresSchemaOptions,
} from './postgres-migrations';
export type { PostgresSinkOptions } from './postgres-options';
export { PostgresSink } from './postgres.sink';

export {
  type PostgresCostLimitOptions,
  PostgresCostLimitStore,
  type PostgresQueries,
} from '../../guards/cost-limit/postgres-cost-limit.store';
