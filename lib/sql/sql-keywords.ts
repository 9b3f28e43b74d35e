import type { StatementKind } from './statement';

// Words that carry structure wherever they stand.
const CLAUSES =
  'FROM JOIN LEFT RIGHT INNER OUTER FULL CROSS NATURAL LATERAL ONLY WHERE GROUP ORDER BY HAVING LIMIT OFFSET FETCH ' +
  'WINDOW UNION EXCEPT INTERSECT ALL DISTINCT AS ON USING AND OR NOT IN IS NULL TRUE FALSE DEFAULT LIKE ILIKE ' +
  'BETWEEN CASE WHEN THEN ELSE EXISTS IF IGNORE INTO TABLE SET RETURNING FOR RECURSIVE MATERIALIZED ARRAY ROW ' +
  'OUTFILE DUMPFILE';

const QUERIES = 'SELECT WITH VALUES INSERT UPDATE DELETE MERGE';

// Words that are verbs at the start of a statement and may name a table or a column elsewhere.
// DECLARE, PREPARE and CLOSE only prepare or end work of the session; the rows of a cursor belong to its FETCH.
// LOCK changes no data: it ends with its transaction.
const READS = 'SHOW EXPLAIN DESCRIBE DESC PRAGMA COPY';
const WRITES = 'REPLACE TRUNCATE CREATE ALTER DROP GRANT REVOKE CALL DO';
const TRANSACTIONS =
  'BEGIN START COMMIT ROLLBACK ABORT END SAVEPOINT RELEASE RESET DISCARD PREPARE DEALLOCATE LOCK UNLOCK ' +
  'DECLARE CLOSE LISTEN UNLISTEN NOTIFY USE ATTACH DETACH CHECKPOINT';

/** Verbs that may also open a sub-query or the body of a common table expression. */
export const QUERY_VERBS: ReadonlySet<string> = new Set(QUERIES.split(' '));

const KINDS: ReadonlyMap<string, StatementKind> = new Map([
  ...`SELECT WITH VALUES TABLE FETCH ${READS}`.split(' ').map(verb => [verb, 'read'] as const),
  ...`INSERT UPDATE DELETE MERGE ${WRITES}`.split(' ').map(verb => [verb, 'write'] as const),
  ...`SET ${TRANSACTIONS}`.split(' ').map(verb => [verb, 'transaction'] as const),
]);

const ANYWHERE = wordMap(`${CLAUSES} ${QUERIES}`);
const AT_START = wordMap(`${CLAUSES} ${QUERIES} ${READS} ${WRITES} ${TRANSACTIONS}`);

const LONGEST_KEYWORD = 12;

/** The keyword between `start` and `end`, in capitals, or `undefined` for any other word. */
export function keywordAt(text: string, start: number, end: number, atStart: boolean): string | undefined {
  const length = end - start;
  if (length < 2 || length > LONGEST_KEYWORD) return undefined;
  return (atStart ? AT_START : ANYWHERE).get(text.slice(start, end).toUpperCase());
}

/** The kind of statement that a leading verb makes, or `undefined` when the word is no verb. */
export function kindOfVerb(word: string): StatementKind | undefined {
  return KINDS.get(word);
}

function wordMap(words: string): ReadonlyMap<string, string> {
  return new Map(words.split(' ').map(word => [word, word]));
}
