import { describeStatement } from '../sql/describe-statement';
import type { SqlDialect, Statement } from '../sql/statement';

// A map: the name of a system is the application's, and may be `constructor`.
const DIALECTS: ReadonlyMap<string, SqlDialect> = new Map([
  ['postgresql', 'postgresql'],
  ['mysql', 'mysql'],
  ['mariadb', 'mysql'],
  ['sqlite', 'sqlite'],
  ['microsoft.sql_server', 'mssql'],
  ['mssql', 'mssql'],
]);
const MAX_COLLECTION = 200;

/** A query that the application has measured itself. */
export interface MeasuredQuery {
  /** The database: `postgresql`, `cassandra`, … */
  readonly system: string;
  /** The statement; only its shape is kept. */
  readonly statement?: string;
  /** The collection, if there is no statement. */
  readonly collection?: string;
  /**
   * Rows or documents returned or affected.
   * @default 0
   */
  readonly rows?: number;
  /** Duration in milliseconds. */
  readonly durationMs: number;
  /**
   * Whether it changes data.
   * @default derived from the statement, otherwise false
   */
  readonly write?: boolean;
}

/** What is kept of a query that the application measured itself. */
export function describeQuery(query: MeasuredQuery): Statement {
  const scanned =
    query.statement === undefined
      ? describeCollection(query)
      : describeStatement(query.statement, DIALECTS.get(query.system) ?? 'generic');
  const kind = query.write === undefined ? scanned.kind : query.write ? 'write' : 'read';
  const table = query.collection?.slice(0, MAX_COLLECTION) ?? scanned.table;
  return kind === scanned.kind && table === scanned.table ? scanned : { ...scanned, kind, table };
}

function describeCollection({ system, collection = '?' }: MeasuredQuery): Statement {
  return {
    shape: `${system} ${collection}`.slice(0, 2_048),
    table: collection.slice(0, MAX_COLLECTION),
    operation: '?',
    kind: 'read',
  };
}
