import type { ColumnName } from './key-names';
import type { Word } from './words';

/** What the tables and the columns of a statement are called in it. */
export interface StatementNames {
  /** The first table that it names. */
  readonly main: string | undefined;
  /** By alias and by name, in small letters. */
  readonly tables: ReadonlyMap<string, string>;
  /** What stands behind the columns of its result that have a name of their own. */
  readonly outputs: ReadonlyMap<string, ColumnName>;
  /** The columns of its result that count or add up, and so have values of no row. */
  readonly counts: ReadonlySet<string>;
}

const BEFORE_TABLE = new Set(['FROM', 'JOIN', 'INTO', 'UPDATE', 'TABLE']);
/** What follows a table and is no alias of it. */
const AFTER_TABLE = new Set(
  `WHERE ON USING SET VALUES JOIN LEFT RIGHT INNER OUTER FULL CROSS NATURAL ORDER GROUP LIMIT OFFSET HAVING UNION
  EXCEPT INTERSECT RETURNING FOR WINDOW FETCH SELECT DEFAULT WITH OUTPUT AND OR ONLY LATERAL SKIP`.split(
    /\s+/,
  ),
);

/** What makes a number of many rows; `MAX(id)` is the id of one of them. */
const COUNTS = new Set('COUNT SUM AVG ROW_NUMBER RANK DENSE_RANK NTILE'.split(' '));
/** What such a column is called where it has no alias: `count` of PostgreSQL, `COUNT(*)` of MySQL. */
const COUNT_BY_NAME = /^(?:(?:count|sum|avg)$|(?:count|sum|avg|row_number|rank|dense_rank|ntile)\()/i;

/** Whether a column of a result counts or adds up. */
export function isCount(name: string, statement: StatementNames | undefined): boolean {
  return statement?.counts.has(name) === true || (COUNT_BY_NAME.test(name) && !statement?.outputs.has(name));
}

export function namesOf(words: readonly Word[]): StatementNames {
  const tables = new Map<string, string>();
  let main: string | undefined;
  let inFrom = false;
  for (let i = 0; i < words.length; i++) {
    const { upper, text } = words[i] as Word;
    if (text === '(' || AFTER_TABLE.has(upper)) inFrom = false;
    const isBefore = BEFORE_TABLE.has(upper) || (inFrom && text === ',');
    if (!isBefore) continue;
    const end = endOfName(words, i + 1);
    const name = end === undefined ? undefined : words[end];
    if (end === undefined || name === undefined) continue;
    inFrom = upper === 'FROM' || inFrom;
    main ??= name.text;
    tables.set(name.text.toLowerCase(), name.text);
    const alias = words[words[end + 1]?.upper === 'AS' ? end + 2 : end + 1];
    if (isName(alias) && !AFTER_TABLE.has(alias.upper)) tables.set(alias.text.toLowerCase(), name.text);
  }
  return { main, tables, ...outputsOf(words, tables) };
}

/** `t.col AS name` and `t.col`, between the first SELECT and its FROM. */
function outputsOf(
  words: readonly Word[],
  tables: ReadonlyMap<string, string>,
): Pick<StatementNames, 'outputs' | 'counts'> {
  const outputs = new Map<string, ColumnName>();
  const counts = new Set<string>();
  let depth = 0;
  const first = words.findIndex(({ upper }) => upper === 'SELECT');
  if (first < 0) return { outputs, counts };
  let isOfCount = false;
  for (let i = first + 1; i < words.length; i++) {
    const { text, upper } = words[i] as Word;
    if (text === '(') depth += 1;
    else if (text === ')') depth -= 1;
    if (depth < 0 || (depth === 0 && upper === 'FROM')) break;
    if (depth > 0 || !isName(words[i])) continue;
    const before = words[i - 1] as Word;
    const isStart = i === first + 1 || before.text === ',' || before.upper === 'DISTINCT';
    if (isStart) isOfCount = COUNTS.has(upper) && words[i + 1]?.text === '(';
    // `COUNT(*) AS n`, `(…)::int n`
    if (isOfCount && isAliasAt(words, i)) counts.add(text);
    if (!isStart) continue;
    const end = endOfName(words, i) ?? i;
    const column = (words[end] as Word).text;
    const table = end > i ? (words[end - 2] as Word).text : undefined;
    const after = words[end + 1];
    const alias = after?.upper === 'AS' ? words[end + 2] : isName(after) ? after : undefined;
    const isEnd = alias !== undefined || after === undefined || after.text === ',' || after.upper === 'FROM';
    if (!isEnd) continue;
    const known = table === undefined ? undefined : (tables.get(table.toLowerCase()) ?? table);
    outputs.set(isName(alias) && alias.upper !== 'FROM' ? alias.text : column, { table: known, column });
  }
  return { outputs, counts };
}

/** Whether a name is what the column before it is called. */
function isAliasAt(words: readonly Word[], at: number): boolean {
  const before = words[at - 1];
  const after = words[at + 1];
  const isEnd = after === undefined || after.text === ',' || after.upper === 'FROM';
  return isEnd && (before?.upper === 'AS' || before?.text === ')' || isName(before));
}

/** Where a name ends that may have several parts: `public.orders`. */
function endOfName(words: readonly Word[], start: number): number | undefined {
  let at = words[start]?.upper === 'ONLY' || words[start]?.upper === 'LATERAL' ? start + 1 : start;
  if (!isName(words[at])) return undefined;
  while (words[at + 1]?.text === '.' && isName(words[at + 2])) at += 2;
  return at;
}

function isName(word: Word | undefined): word is Word {
  return word?.kind === 'word' || word?.kind === 'name';
}
