import { invalidOption } from '../../kernel/errors';
import type { PostgresPool } from './postgres-client';
import type { PostgresSchemaOptions } from './postgres-migrations';
import { type PostgresTable, readTable } from './postgres-table';

/** Options of `PostgresSink`. */
export interface PostgresSinkOptions extends PostgresSchemaOptions {
  /**
   * The database: a URL, or the options of a `pg` `Client`. The sink opens one connection of its own.
   * @default the environment variables PGHOST, PGUSER, …, as for psql
   */
  readonly connection?: string | object;
  /**
   * A `pg` pool to take a connection from for each batch, instead of opening one.
   * @default none
   */
  readonly pool?: PostgresPool;
  /**
   * Whether the sink brings the schema up to date when it connects.
   * @default false
   */
  readonly migrate?: boolean;
  /**
   * Whole months to keep in addition to the current one; older partitions are dropped once a day.
   * @default all are kept
   */
  readonly retainMonths?: number;
  /**
   * Maximum time in milliseconds for opening a connection.
   * @default 5000
   */
  readonly connectTimeoutMs?: number;
  /**
   * Maximum time in milliseconds for a statement, such as the COPY of a batch.
   * @default 10000
   */
  readonly statementTimeoutMs?: number;
}

/** The options as they are in force. */
export interface ResolvedPostgresOptions {
  readonly connection: object;
  readonly pool: PostgresPool | undefined;
  readonly schema: Required<PostgresSchemaOptions>;
  readonly table: PostgresTable;
  readonly migrate: boolean;
  readonly retainMonths: number | undefined;
  readonly connectTimeoutMs: number;
  readonly statementTimeoutMs: number;
  readonly setsTimeout: boolean;
}

const CALL = 'new PostgresSink';
const NAMES = [
  'connection',
  'pool',
  'table',
  'partitions',
  'migrate',
  'retainMonths',
  'connectTimeoutMs',
  'statementTimeoutMs',
];
/** A hundred years. */
const MAX_MONTHS = 1_200;
/** `setTimeout` takes no longer delay, and a server no longer `statement_timeout`; less what the sink adds. */
const MAX_TIMEOUT_MS = 2_147_000_000;

/** @throws AsyncContextError `ASYNC_CONTEXT_INVALID_OPTION` */
export function readPostgresOptions(options: PostgresSinkOptions): ResolvedPostgresOptions {
  for (const [name, value] of Object.entries(options)) {
    if (NAMES.includes(name)) continue;
    throw invalidOption(name, value, `There is no such option: use ${NAMES.join(', ')}.`, CALL);
  }
  const { connection = {}, pool, retainMonths, table = 'cost_records', partitions = true } = options;
  if (typeof connection !== 'string' && (typeof connection !== 'object' || connection === null)) {
    throw invalidOption('connection', undefined, 'Use a URL or the options of a pg Client.', CALL);
  }
  if (pool !== undefined && typeof (pool as Partial<PostgresPool> | null)?.connect !== 'function') {
    throw invalidOption('pool', pool, 'Use a pg Pool.', CALL);
  }
  checkBoolean('partitions', partitions);
  checkBoolean('migrate', options.migrate ?? false);
  if (retainMonths !== undefined) readWhole('retainMonths', retainMonths, MAX_MONTHS);
  return {
    connection: typeof connection === 'string' ? { connectionString: connection } : connection,
    pool,
    schema: { table, partitions },
    table: readTable(table, CALL),
    migrate: options.migrate ?? false,
    retainMonths,
    // Several statements in one message are of PostgreSQL; not all that speak its protocol take them.
    setsTimeout: partitions,
    connectTimeoutMs: readWhole('connectTimeoutMs', options.connectTimeoutMs ?? 5_000, MAX_TIMEOUT_MS),
    statementTimeoutMs: readWhole('statementTimeoutMs', options.statementTimeoutMs ?? 10_000, MAX_TIMEOUT_MS),
  };
}

function checkBoolean(path: string, value: unknown): void {
  if (typeof value !== 'boolean') throw invalidOption(path, value, 'Use true or false.', CALL);
}

function readWhole(path: string, value: number, most: number): number {
  if (Number.isInteger(value) && value >= 1 && value <= most) return value;
  throw invalidOption(path, value, `Use a whole number from 1 to ${most}.`, CALL);
}
