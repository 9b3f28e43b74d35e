export type { PostgresClient, PostgresPool } from './postgres-client';
export {
  migratePostgres,
  type PostgresMigration,
  postgresMigrations,
  type PostgresSchemaOptions,
} from './postgres-migrations';
export type { PostgresSinkOptions } from './postgres-options';
export { PostgresSink } from './postgres.sink';
