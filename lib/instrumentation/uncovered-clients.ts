import { loadedFiles } from '../kernel/loaded-files';

/** Clients that nothing here counts, and what to do about it; empty where nothing is known. */
const UNCOVERED: ReadonlyMap<string, string> = new Map([
  ['mysql', 'use mysql2'],
  ['sqlite3', 'use better-sqlite3 or node:sqlite'],
  ['pg-native', 'use the JavaScript client of pg'],
  ['@neondatabase/serverless', 'use pg'],
  ['@libsql/client', ''],
  ['@planetscale/database', 'use mysql2'],
  ['oracledb', ''],
  ['cassandra-driver', ''],
  ['neo4j-driver', ''],
  ['@clickhouse/client', 'its HTTP requests are counted as http'],
  ['@google-cloud/firestore', ''],
  ['@google-cloud/spanner', ''],
  ['couchbase', ''],
  ['memcached', ''],
]);

/** Those that the process has loaded, with what to do about it: `mysql (use mysql2)`. */
export function uncoveredClients(): string[] {
  return [...UNCOVERED]
    .filter(([name]) => loadedFiles(name).length > 0)
    .map(([name, remedy]) => (remedy === '' ? name : `${name} (${remedy})`));
}
