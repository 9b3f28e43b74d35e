import { RecentMap } from '../../kernel/recent-map';
import type { ColumnName } from './key-names';
import { type LiteralPattern, patternOf } from './literal-pattern';
import { namesOf, type StatementNames } from './statement-names';
import { NAMED, type Word, wordsOf } from './words';

/** Where a statement compares a column with one value, writes one into it, or gives one to a function. */
export interface Place extends ColumnName {
  /** Which parameter: its index, or its name. `undefined` for a literal. */
  readonly parameter: number | string | undefined;
  /** Which literal of the text. */
  readonly literal: number;
  /** Whether an array of several values makes the run a batch: `= ANY ($1)`. */
  readonly mayBeList: boolean;
  readonly isArgument: boolean;
}

/** What a text says of its values. */
export interface StatementPlaces extends StatementNames {
  /** Whether the text could be read, and is not too long. */
  readonly isRead: boolean;
  readonly places: readonly Place[];
  /** Whether it asks for several at once by its text: such a run takes no part. */
  readonly isBatch: boolean;
  /** The columns that it compares with a list of several values. */
  readonly lists: readonly ColumnName[];
  /** Whether it only calls functions that set up a session or take a lock. */
  readonly isOfSession: boolean;
  /** Finds the literals of another text that differs from this one in them alone; absent where there are none. */
  readonly pattern: LiteralPattern | undefined;
}

/** Of longer texts only the names are read: TypeORM writes so many characters for a dozen of relations. */
const MAX_LENGTH = 10_000;
const MAX_LENGTH_OF_NAMES = 32_000;
const MAX_PLACES = 32;
/** Words between brackets: of thousands that are open, or closed, each would be read to the end of the text. */
const MAX_IN_BRACKETS = 200;
const NOTHING: StatementPlaces = Object.freeze({
  isRead: false,
  places: [],
  isBatch: false,
  lists: [],
  isOfSession: false,
  pattern: undefined,
  main: undefined,
  tables: new Map<string, string>(),
  outputs: new Map<string, ColumnName>(),
  counts: new Set<string>(),
});

const known = new RecentMap<StatementPlaces>(1_000);
const knownLong = new RecentMap<StatementPlaces>(32);

/** Words that are no columns. */
const RESERVED =
  `AND OR NOT IN ANY SOME ALL EXISTS VALUES INTO FROM JOIN ON USING AS SELECT WHERE CASE WHEN THEN ELSE
  END SET BY LIMIT OFFSET HAVING DISTINCT RETURNING UNION EXCEPT INTERSECT BETWEEN LIKE ILIKE IS NULL TRUE FALSE`.split(
    /\s+/,
  );
const NO_COLUMNS = new Set(RESERVED);
/** Words that brackets follow and that are no functions either. */
const NO_FUNCTIONS = new Set(
  RESERVED.concat(
    `VALUE FETCH OVER PARTITION FILTER ARRAY ROW KEY CONFLICT LATERAL WITH INTERVAL NUMERIC DECIMAL VARCHAR CHAR TOP
    WITHIN`.split(/\s+/),
  ),
);
/** What a value is brought into another form by: it is still that of the column. */
const WRAPPERS = new Set([
  'LOWER',
  'UPPER',
  'TRIM',
  'CAST',
  'CONVERT',
  'UUID_TO_BIN',
  'UNHEX',
  'TO_UUID',
  'DATE',
]);
/** What sets up a session, or takes a lock. */
const OF_SESSION = /^(?:set_config|current_setting|pg_\w+|nextval|setval|get_lock|release_lock|sp_\w+)$/i;
const LISTS = new Set([
  'UNNEST',
  'JSON_TO_RECORDSET',
  'JSONB_TO_RECORDSET',
  'JSON_TABLE',
  'OPENJSON',
  'STRING_SPLIT',
]);
const ARITHMETIC = new Set(['+', '-', '*', '/', '%', '||', '^']);

/** The places of a text; known again by the text, unless that has literals: it hardly ever comes back. */
export function placesOf(text: string): StatementPlaces {
  if (text.length > MAX_LENGTH) return namesOfLong(text);
  const found = known.get(text);
  if (found !== undefined) return found;
  const words = wordsOf(text);
  if (words === undefined) return NOTHING;
  const places = new PlaceReader(words).read();
  const pattern = patternOf(text, words);
  const names = namesOf(words);
  const isOfSession = names.main === undefined && places.isOfSession;
  const result = {
    ...names,
    isRead: true,
    places: places.found,
    isBatch: places.isBatch,
    lists: places.lists,
    isOfSession,
    pattern,
  };
  const qualified = {
    ...result,
    places: result.places.map(place => qualify(place, result)),
    lists: result.lists.map(column => qualify(column, result)),
  };
  if (pattern === undefined) known.set(text, qualified);
  return qualified;
}

/** What the tables and columns of a long text are called, with no places: 0.7 ms for 10,000 characters. */
function namesOfLong(text: string): StatementPlaces {
  if (text.length > MAX_LENGTH_OF_NAMES) return NOTHING;
  const found = knownLong.get(text);
  if (found !== undefined) return found;
  const words = wordsOf(text);
  const result = words === undefined ? NOTHING : { ...NOTHING, ...namesOf(words) };
  knownLong.set(text, result);
  return result;
}

/** Puts the table in the place of its alias. */
function qualify<T extends ColumnName>(place: T, { main, tables }: StatementNames): T {
  const table = place.table === undefined ? main : (tables.get(place.table.toLowerCase()) ?? place.table);
  return { ...place, table };
}

/** Reads the places off the words of a statement. */
class PlaceReader {
  readonly found: Place[] = [];
  readonly lists: ColumnName[] = [];
  isBatch = false;
  isOfSession = false;
  readonly #words: readonly Word[];
  readonly #literals: readonly number[];
  /** Whether `=` assigns. */
  #isSetting = false;
  #hasOr = false;

  constructor(words: readonly Word[]) {
    this.#words = words;
    let literals = 0;
    this.#literals = words.map(({ kind }) => (kind === 'literal' ? literals++ : -1));
  }

  read(): this {
    const isInsert = this.#words.some(({ upper }) => upper === 'INSERT' || upper === 'REPLACE');
    for (let i = 0; i < this.#words.length && this.found.length < MAX_PLACES; i++) {
      const { kind, text, upper } = this.#words[i] as Word;
      if (text === '=' && kind === 'mark') this.#equals(i);
      else if (upper === 'IN') this.#in(i);
      else if (upper === 'VALUES') this.#values(i);
      else if (upper === 'UPDATE') this.#isSetting = this.#words[i - 1]?.upper !== 'FOR';
      // MySQL's `INSERT INTO notes SET order_id = ?` is no `DO UPDATE SET`.
      else if (upper === 'SET') this.#isSetting = !isInsert || this.#words[i - 1]?.upper === 'UPDATE';
      else if (upper === 'WHERE' || upper === 'FROM' || upper === 'SELECT') this.#isSetting = false;
      else if (upper === 'OR') this.#hasOr = true;
      else if (kind === 'word' && this.#at(i + 1) === '(') this.#function(i);
    }
    this.isBatch ||= this.#hasOr && this.#hasTwice();
    return this;
  }

  #equals(i: number): void {
    if (this.#isSetting) return;
    if (this.#at(i - 1) === ')' && this.#at(i + 1) === '(' && this.#rowEquals(i)) return;
    const value = this.#valueAfter(i);
    const left = this.#columnBefore(i);
    if (value !== undefined && left !== undefined) {
      this.#add(left, value.at, value.isList, false);
    } else if (value === undefined && this.#isValue(i - 1) && !this.#isArithmetic(i - 2)) {
      const right = this.#columnAfter(i);
      if (right !== undefined) this.#add(right, i - 1, false, false);
    }
  }

  /** `(a, b) = (v, w)`; whether it is one. */
  #rowEquals(i: number): boolean {
    const columns = this.#columnsBefore(i);
    if (columns.length < 2) return false;
    let column = 0;
    for (let at = i + 2; this.#isValue(at); column++) {
      const end = this.#afterCast(at + 1);
      const name = columns[column];
      if (name === undefined || (this.#at(end) !== ',' && this.#at(end) !== ')')) return false;
      this.#add({ table: undefined, column: name }, at, false, false);
      if (this.#at(end) === ')') return true;
      at = end + 1;
    }
    return false;
  }

  /** `col IN (v)`; two and more are a batch, a query in brackets is neither. */
  #in(i: number): void {
    if (this.#at(i + 1) !== '(') {
      // mysql's `IN ?`, postgres.js's `IN ${sql([…])}`
      const column = this.#columnBefore(i);
      if (column !== undefined && this.#isValue(i + 1)) this.#add(column, i + 1, true, false);
      return;
    }
    if (this.#at(i + 2) === '(') {
      this.isBatch = true;
      return;
    }
    if (!this.#isValue(i + 2)) return;
    const end = this.#afterCast(i + 3);
    if (this.#at(end) === ',') this.isBatch = true;
    if (this.#words[i - 1]?.upper === 'NOT') return;
    const column = this.#columnBefore(i);
    if (column === undefined) return;
    if (this.#at(end) === ')') this.#add(column, i + 2, true, false);
    else if (this.#at(end) === ',') this.lists.push(column);
  }

  /** `(a, b) VALUES (v, w)`; two rows and more are a batch. */
  #values(i: number): void {
    if (this.#at(i + 1) !== '(') return;
    const columns = this.#columnsBefore(i);
    let column = 0;
    let end = i + 1;
    let depth = 0;
    for (; end < this.#words.length; end++) {
      const mark = this.#at(end);
      if (mark === '(') depth += 1;
      else if (mark === ')') depth -= 1;
      if (depth === 0) break;
      if (mark === ',' && depth === 1) column += 1;
      const isAlone = depth === 1 && (this.#at(end - 1) === ',' || end === i + 2);
      const name = columns[column];
      if (!isAlone || name === undefined || !this.#isValue(end)) continue;
      const after = this.#at(this.#afterCast(end + 1));
      if (after === ',' || after === ')') this.#add({ table: undefined, column: name }, end, false, false);
    }
    if (this.#at(end + 1) === ',' || columns.length === 0) this.isBatch ||= this.#at(end + 1) === ',';
  }

  #columnsBefore(i: number): string[] {
    const columns: string[] = [];
    let at = i - 1;
    // `OVERRIDING SYSTEM VALUE`, `OUTPUT INSERTED.id`
    while (at > 0 && this.#at(at) !== ')' && i - at < 6) at -= 1;
    if (this.#at(at) !== ')') return columns;
    for (at -= 1; at >= 0 && this.#at(at) !== '('; at--) {
      const word = this.#words[at] as Word;
      if (word.kind === 'word' || word.kind === 'name') columns.unshift(word.text);
    }
    return columns;
  }

  /** What a function is given, unless it stands where a column is compared. */
  #function(i: number): void {
    const { text, upper } = this.#words[i] as Word;
    if (LISTS.has(upper)) {
      if (this.#isValue(i + 2)) this.#add({ table: undefined, column: text }, i + 2, true, true);
      return;
    }
    this.isOfSession ||= OF_SESSION.test(text);
    if (NO_FUNCTIONS.has(upper) || WRAPPERS.has(upper) || OF_SESSION.test(text)) return;
    const before = this.#words[i - 1];
    // A type (`numeric(10, 2)`), or the columns of a table.
    if (before?.text === '::' || before?.upper === 'INTO' || before?.upper === 'AS') return;
    let depth = 0;
    const last = Math.min(this.#words.length, i + MAX_IN_BRACKETS);
    for (let at = i + 1; at < last; at++) {
      const mark = this.#at(at);
      if (mark === '(') depth += 1;
      else if (mark === ')') depth -= 1;
      if (depth === 0) break;
      if (depth !== 1 || this.#words[at]?.kind !== 'parameter') continue;
      const after = this.#at(this.#afterCast(at + 1));
      if (after === ',' || after === ')') this.#add({ table: undefined, column: text }, at, true, true);
    }
  }

  #add({ table, column }: ColumnName, at: number, mayBeList: boolean, isArgument: boolean): void {
    const { kind, text, upper } = this.#words[at] as Word;
    const isLiteral = kind === 'literal';
    const number = Number(text);
    this.found.push({
      table,
      column,
      parameter: isLiteral ? undefined : upper !== NAMED && Number.isInteger(number) ? number - 1 : text,
      literal: this.#literals[at] as number,
      mayBeList,
      isArgument,
    });
  }

  /** The one value that stands after a mark: itself, in a cast, in `ANY (…)` or in a function that keeps it. */
  #valueAfter(i: number): { at: number; isList: boolean } | undefined {
    let at = i + 1;
    let isList = false;
    let depth = 0;
    for (; at < this.#words.length; at++) {
      const { kind, text, upper } = this.#words[at] as Word;
      const isList_ = upper === 'ANY' || upper === 'SOME' || upper === 'ARRAY';
      isList ||= isList_;
      if (isList_ || (kind === 'word' && WRAPPERS.has(upper))) continue;
      if (text !== '(' && !(text === '[' && isList)) break;
      depth += 1;
    }
    if (!this.#isValue(at)) return undefined;
    let end = this.#afterCast(at + 1);
    if (isList && this.#at(end) === ',') this.isBatch = true;
    for (; depth > 0; depth--) {
      while (this.#words[end]?.upper === 'AS' || this.#words[end]?.kind === 'word') end += 1;
      if (this.#at(end) !== ')' && this.#at(end) !== ']') return undefined;
      end = this.#afterCast(end + 1);
    }
    return this.#isArithmetic(end) ? undefined : { at, isList };
  }

  /** The column that stands before a mark: `col`, `t.col`, `col::text`, `lower(col)`, `data ->> 'col'`. */
  #columnBefore(i: number): ColumnName | undefined {
    let at = i - 1;
    while (this.#words[at - 1]?.text === '::') at -= 2;
    if (this.#at(at) === ')') return this.#columnInBrackets(at);
    const word = this.#words[at];
    if (word?.kind === 'literal' && this.#at(at - 1).startsWith('->')) {
      return { table: undefined, column: word.text };
    }
    return this.#columnEndingAt(at);
  }

  #columnInBrackets(close: number): ColumnName | undefined {
    let depth = 0;
    let open = close;
    for (; open >= 0 && close - open < MAX_IN_BRACKETS; open--) {
      if (this.#at(open) === ')') depth += 1;
      else if (this.#at(open) === '(' && (depth -= 1) === 0) break;
    }
    if (depth > 0) return undefined;
    for (let at = open + 1; at < close; at++) {
      const json = this.#words[at + 1];
      if (this.#at(at).startsWith('->') && json?.kind === 'literal')
        return { table: undefined, column: json.text };
      const isLast =
        this.#at(at + 1) !== '.' && this.#at(at + 1) !== '(' && !this.#at(at + 1).startsWith('->');
      if (isLast && this.#isName(at)) return this.#columnEndingAt(at);
    }
    return undefined;
  }

  #columnAfter(i: number): ColumnName | undefined {
    let at = i + 1;
    let isList = false;
    while (this.#words[at]?.upper === 'ANY' || this.#at(at) === '(') {
      isList ||= this.#words[at]?.upper === 'ANY';
      at += 1;
    }
    if (!isList && at > i + 1) return undefined;
    while (this.#isName(at) && this.#at(at + 1) === '.') at += 2;
    return this.#columnEndingAt(at);
  }

  #columnEndingAt(at: number): ColumnName | undefined {
    if (!this.#isName(at)) return undefined;
    const table = this.#at(at - 1) === '.' && this.#isName(at - 2) ? this.#words[at - 2]?.text : undefined;
    return { table, column: (this.#words[at] as Word).text };
  }

  #afterCast(at: number): number {
    let end = at;
    while (this.#at(end) === '::') {
      end += 2;
      if (this.#at(end) === '[') end += 2;
    }
    return end;
  }

  #isArithmetic(at: number): boolean {
    return ARITHMETIC.has(this.#at(at));
  }

  #isValue(at: number): boolean {
    const kind = this.#words[at]?.kind;
    return kind === 'parameter' || kind === 'literal';
  }

  #isName(at: number): boolean {
    const word = this.#words[at];
    return word?.kind === 'name' || (word?.kind === 'word' && !NO_COLUMNS.has(word.upper));
  }

  #at(at: number): string {
    const word = this.#words[at];
    return word?.kind === 'mark' ? word.text : '';
  }

  /** `a = 1 OR a = 2` */
  #hasTwice(): boolean {
    const seen = new Set<string>();
    return this.found.some(({ table, column }) => {
      const name = `${table ?? ''}.${column}`;
      return seen.has(name) || !seen.add(name);
    });
  }
}
