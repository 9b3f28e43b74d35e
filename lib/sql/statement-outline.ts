import { flatString } from '../kernel/flat-string';
import { kindOfVerb, QUERY_VERBS } from './sql-keywords';
import { MAX_DEPTH } from './shape-writer';
import type { SqlDialect, StatementKind } from './statement';

const NOTHING = 0;
/** After FROM, JOIN or a comma between them: a function is no table here. */
const SOURCE = 1;
const TARGET = 2;
const INTO = 3;
/** The table only if no FROM names another one: `DELETE o FROM orders o`. */
const WEAK_TARGET = 4;

const MAX_TABLE_LENGTH = 256;
// V8 copies a slice of up to 12 characters; a longer one would keep the statement alive.
const LONGEST_VERB = 12;
const DOT = 46;

/** The schema that a table is in where none is named: `public.orders` and `orders` are one table. */
const DEFAULT_SCHEMAS: Readonly<Record<SqlDialect, string>> = {
  postgresql: 'public',
  mysql: '',
  sqlite: 'main',
  mssql: 'dbo',
  generic: 'public',
};

const units = new Uint16Array(MAX_TABLE_LENGTH);

/** Reads the verb, the kind and the main table off the tokens of a statement. */
export class StatementOutline {
  operation = '';
  kind: StatementKind = 'read';
  table: string | undefined = undefined;

  readonly #dialect: SqlDialect;
  readonly #defaultSchema: string;
  #decided = false;

  #verb = '';
  #verbDepth = 0;
  #verbKind: StatementKind = 'read';
  #mainTable: string | undefined = undefined;
  #mainRank = Infinity;

  #expected = NOTHING;
  #reading = NOTHING;
  #afterDot = false;
  #nameLength = 0;
  /** Where the name behind its only schema begins; 0 without one, or with more than one. */
  #afterSchema = 0;
  #dots = 0;
  /** The keyword before, a comma, or nothing for any other token. */
  #previous = '';

  #depth = 0;
  readonly #verbs = Array.from({ length: MAX_DEPTH + 1 }, () => '');
  /** How far a bracket is from the main query. A bracket in the place of a table is no step away. */
  readonly #levels = new Uint8Array(MAX_DEPTH + 1);
  readonly #inFrom = new Uint8Array(MAX_DEPTH + 1);
  readonly #isCteBody = new Uint8Array(MAX_DEPTH + 1);

  readonly #cteNames = new Map<string, number>();
  /** `WITH orders AS (SELECT … FROM orders)` reads a real table: without RECURSIVE a name counts from its end on. */
  #visibleCtes = 0;

  constructor(dialect: SqlDialect) {
    this.#dialect = dialect;
    this.#defaultSchema = DEFAULT_SCHEMAS[dialect];
  }

  reset(): void {
    this.operation = '';
    this.kind = 'read';
    this.table = undefined;
    this.#decided = false;
    this.#resetStatement();
  }

  /** Whether a name here would belong to the name of a table. */
  get expectsTable(): boolean {
    return this.#expected !== NOTHING || this.#afterDot;
  }

  get hasTable(): boolean {
    return this.table !== undefined || this.#mainTable !== undefined;
  }

  /** Whether no verb has been read yet. */
  get isAtStart(): boolean {
    return this.#verb === '';
  }

  /** The verb of the statement that is read. */
  get verb(): string {
    return this.#verb;
  }

  get previousKeyword(): string {
    return this.#previous;
  }

  keyword(word: string): void {
    // `FROM ROWS FROM (…)`: a word and no table.
    if (word === 'FROM' && this.#reading === SOURCE && this.#isName('rows')) this.#reading = NOTHING;
    this.#endName(false);
    const verb = this.#verbs[this.#depth] ?? '';
    const startsHere = verb === '' || verb === 'WITH' || verb === 'EXPLAIN' || verb === 'DESCRIBE';
    if (startsHere && (this.#verb === '' ? kindOfVerb(word) !== undefined : QUERY_VERBS.has(word))) {
      this.#startQuery(word);
    } else {
      this.#clause(word, verb);
    }
    this.#previous = word;
  }

  name(text: string, start: number, end: number, quote: number): void {
    if (this.#afterDot) {
      this.#afterDot = false;
      this.#append(text, start, end, quote);
      return;
    }
    this.#endName(false);
    if (this.#expected !== NOTHING) {
      this.#reading = this.#expected;
      this.#expected = NOTHING;
      this.#nameLength = 0;
      this.#afterSchema = 0;
      this.#dots = 0;
      this.#append(text, start, end, quote);
      if (this.#reading === INTO && this.#verb === 'SELECT') this.#verbKind = 'write';
    } else if (this.#verb === '' && this.#depth === 0 && quote === 0) {
      // Nobody can tell that an unknown verb only reads.
      this.#verb = end - start <= LONGEST_VERB ? text.slice(start, end).toUpperCase() : 'OTHER';
      this.#verbs[0] = this.#verb;
      this.#verbKind = 'write';
    } else if (this.#verbs[this.#depth] === 'WITH') {
      this.#nameCte(text, start, end, quote);
    }
    this.#previous = '';
  }

  dot(): void {
    if (this.#reading === NOTHING) return;
    this.#afterDot = true;
    this.#dots += 1;
    if (this.#nameLength === MAX_TABLE_LENGTH) return;
    const isDefault = this.#dots === 1 && this.#defaultSchema !== '' && this.#isName(this.#defaultSchema);
    units[this.#nameLength++] = DOT;
    this.#afterSchema = isDefault ? this.#nameLength : 0;
  }

  open(): void {
    this.#endName(true);
    const inPlace = this.#expected !== NOTHING || this.#verbs[this.#depth] === '';
    const level = (this.#levels[this.#depth] ?? 0) + (inPlace ? 0 : 1);
    this.#depth += 1;
    this.#verbs[this.#depth] = '';
    this.#levels[this.#depth] = level;
    this.#inFrom[this.#depth] = 0;
    this.#isCteBody[this.#depth] = this.#previous === 'AS' || this.#previous === 'MATERIALIZED' ? 1 : 0;
    this.#previous = '';
  }

  close(): void {
    this.other();
    if (this.#depth > 0) this.#depth -= 1;
  }

  comma(): void {
    this.#endName(false);
    this.#expected = this.#inFrom[this.#depth] === 1 ? SOURCE : NOTHING;
    this.#previous = ',';
  }

  /** A placeholder or an operator. */
  other(): void {
    this.#endName(false);
    this.#expected = NOTHING;
    this.#previous = '';
  }

  endStatement(): void {
    this.#endName(false);
    if (this.#verb !== '') {
      const kind = this.#verbKind;
      if (!this.#decided) {
        if (this.operation === '' || kind !== 'transaction') {
          this.operation = this.#verb;
          this.kind = kind;
          this.table = kind === 'transaction' ? undefined : this.#mainTable;
        }
        this.#decided = kind !== 'transaction';
      }
      if (kind === 'write') this.kind = 'write';
    }
    this.#resetStatement();
  }

  #startQuery(word: string): void {
    const kind = kindOfVerb(word) ?? 'write';
    if (this.#verbs[this.#depth] === 'WITH')
      this.#visibleCtes = Math.max(this.#visibleCtes, this.#cteNames.size);
    this.#verbs[this.#depth] = word;
    if (this.#verb === '' || (this.#verb === 'WITH' && this.#depth === this.#verbDepth)) {
      this.#verb = word;
      this.#verbDepth = this.#depth;
      if (this.#verbKind !== 'write') this.#verbKind = kind;
    } else if (kind === 'write' && this.#isCteBody[this.#depth] === 1 && !this.#onlyNames) {
      this.#verbKind = 'write';
    }
    this.#expected = this.#targetOf(word);
  }

  /** Whether what is read is not done yet. */
  get #onlyNames(): boolean {
    return this.#verb === 'EXPLAIN' || this.#verb === 'PREPARE';
  }

  #targetOf(verb: string): number {
    switch (verb) {
      case 'UPDATE':
        return this.#dialect === 'mssql' ? WEAK_TARGET : TARGET;
      case 'DELETE':
        return WEAK_TARGET;
      case 'INSERT':
      case 'REPLACE':
      case 'MERGE':
      case 'TRUNCATE':
      case 'TABLE':
      case 'COPY':
        return TARGET;
      default:
        return NOTHING;
    }
  }

  #clause(word: string, verb: string): void {
    switch (word) {
      // These may stand between a verb and its table.
      case 'ONLY':
      case 'LATERAL':
      case 'IF':
      case 'NOT':
      case 'EXISTS':
      case 'IGNORE':
      case 'OR':
        return;
      case 'FROM':
        return this.#from(verb);
      case 'JOIN':
        this.#expected = SOURCE;
        return;
      case 'INTO':
        // `INSERT LOW_PRIORITY INTO orders`: what looked like the table was none.
        if (this.#verb === verb && verb !== 'SELECT') this.#mainRank = Infinity;
        this.#expected = INTO;
        return;
      case 'TABLE':
        if (this.#expected === NOTHING) this.#expected = TARGET;
        return;
      case 'RECURSIVE':
        this.#visibleCtes = Infinity;
        return;
      case 'ON':
        this.#expected = NOTHING;
        if (verb === 'CREATE' || verb === 'DROP' || verb === 'GRANT' || verb === 'REVOKE')
          this.#expected = TARGET;
        return;
      case 'WHERE':
      case 'GROUP':
      case 'ORDER':
      case 'HAVING':
      case 'LIMIT':
      case 'OFFSET':
      case 'FETCH':
      case 'WINDOW':
      case 'UNION':
      case 'EXCEPT':
      case 'INTERSECT':
      case 'RETURNING':
      case 'FOR':
      case 'SET':
        this.#inFrom[this.#depth] = 0;
    }
    this.#expected = NOTHING;
  }

  /** In `EXTRACT(YEAR FROM at)`, `a IS DISTINCT FROM b` and `FETCH 10 FROM cursor` no table follows. */
  #from(verb: string): void {
    this.#expected = NOTHING;
    // `PREPARE s FROM "SELECT …"` has a text there.
    if (verb === '' || verb === 'FETCH' || verb === 'PREPARE' || this.#previous === 'DISTINCT') return;
    if (verb === 'COPY') {
      this.#verbKind = 'write';
      return;
    }
    this.#expected = SOURCE;
    this.#inFrom[this.#depth] = 1;
  }

  #endName(isCall: boolean): void {
    const reading = this.#reading;
    if (reading === NOTHING) return;
    this.#reading = NOTHING;
    this.#afterDot = false;
    // `FROM generate_series(1, 9)`, and `UPDATE TOP (10) orders`.
    if (isCall && (reading === SOURCE || reading === WEAK_TARGET)) return;
    const rank = (this.#levels[this.#depth] ?? 0) + (reading === WEAK_TARGET ? 0.5 : 0);
    if (rank >= this.#mainRank) return;
    const name = flatString(units, this.#nameLength, this.#afterSchema);
    if (reading !== INTO && this.#isCte(name)) return;
    this.#mainTable = name;
    this.#mainRank = rank;
  }

  /** Whether the name that is read is this word, in small letters or capitals. */
  #isName(word: string): boolean {
    if (this.#nameLength !== word.length) return false;
    for (let at = 0; at < word.length; at += 1) {
      if (((units[at] as number) | 32) !== word.charCodeAt(at)) return false;
    }
    return true;
  }

  #append(text: string, start: number, end: number, quote: number): void {
    const from = quote === 0 ? start : start + 1;
    const to = Math.min(quote === 0 ? end : end - 1, from + MAX_TABLE_LENGTH - this.#nameLength);
    for (let at = from; at < to; at += 1) {
      const code = text.charCodeAt(at);
      units[this.#nameLength++] = code;
      if (code === quote) at += 1;
    }
  }

  #nameCte(text: string, start: number, end: number, quote: number): void {
    if (this.#previous !== 'WITH' && this.#previous !== 'RECURSIVE' && this.#previous !== ',') return;
    if (end - start > MAX_TABLE_LENGTH) return;
    this.#visibleCtes = Math.max(this.#visibleCtes, this.#cteNames.size);
    const name = quote === 0 ? text.slice(start, end) : text.slice(start + 1, end - 1);
    this.#cteNames.set(name.toLowerCase(), this.#cteNames.size);
  }

  #isCte(name: string): boolean {
    const at = this.#cteNames.get(name.toLowerCase());
    return at !== undefined && at < this.#visibleCtes;
  }

  #resetStatement(): void {
    this.#verb = '';
    this.#verbDepth = 0;
    this.#verbKind = 'read';
    this.#mainTable = undefined;
    this.#mainRank = Infinity;
    this.#expected = NOTHING;
    this.#reading = NOTHING;
    this.#afterDot = false;
    this.#previous = '';
    this.#depth = 0;
    this.#verbs[0] = '';
    this.#levels[0] = 0;
    this.#inFrom[0] = 0;
    if (this.#cteNames.size > 0) this.#cteNames.clear();
    this.#visibleCtes = 0;
  }
}
