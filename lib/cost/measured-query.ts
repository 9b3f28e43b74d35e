import type { MeasuredQuery } from '../context/context.service';
import { describeStatement } from './describe-statement';
import type { SqlDialect, Statement } from './statement';

const DIALECTS: Readonly<Record<string, SqlDialect>> = {
  postgresql: 'postgresql',
  mysql: 'mysql',
  mariadb: 'mysql',
  sqlite: 'sqlite',
  'microsoft.sql_server': 'mssql',
  mssql: 'mssql',
};

/** What is kept of a query that the application measured itself. */
export function describeQuery(query: MeasuredQuery): Statement {
  const scanned =
    query.statement === undefined
      ? describeCollection(query)
      : describeStatement(query.statement, DIALECTS[query.system] ?? 'generic');
  const kind = query.write === undefined ? scanned.kind : query.write ? 'write' : 'read';
  const table = query.collection ?? scanned.table;
  return kind === scanned.kind && table === scanned.table ? scanned : { ...scanned, kind, table };
}

function describeCollection({ system, collection = '?' }: MeasuredQuery): Statement {
  return {
    shape: `${system} ${collection}`.slice(0, 2_048),
    table: collection,
    operation: '?',
    kind: 'read',
  };
}
