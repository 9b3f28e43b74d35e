import { BareSetting, endOfUuid, isBeforePassword, isWord } from './bare-literals';
import { ShapeWriter } from './shape-writer';
import { keywordAt } from './sql-keywords';
import { RecentMap } from '../kernel/recent-map';
import {
  type Backslash,
  endOfBlockComment,
  endOfDollarQuote,
  endOfLineComment,
  endOfNumber,
  endOfQuotedName,
  endOfSpace,
  endOfString,
  endOfWord,
  IN_DOUBT,
  isDigit,
  isPlainBracket,
  isPlainName,
  isWordPart,
  NO_END,
  type Reading,
  READINGS,
} from './sql-lexer';
import { TOKEN, TOKEN_CLASSES } from './sql-tokens';
import type { SqlDialect, Statement } from './statement';
import { StatementOutline } from './statement-outline';
import { StatementEffects } from './statement-effects';
import { foldedTable } from './table-series';
import { isValueLike } from './value-like';

/** Texts up to this length are read to their end, so that it is known whether they hold a literal. */
export const MAX_WHOLE_LENGTH = 65_536;

const MAX_LENGTH_WITHOUT_TABLE = 65_536;
const MAX_SCANNED_LENGTH = 1_048_576;
// PostgreSQL allows 65,535 parameters. In one IN they are 200,000 tokens and 500 KB, read in 3 ms.
const MAX_TOKENS = 262_144;
// Longer literals and comments are skipped at 1 ms a megabyte or less, so they do not count as scanned.
const LONG_LITERAL = 1_024;

const NOT_STRING = 0;
const PLAIN_STRING = 1;
const ESCAPE_STRING = 2;

/** Words that a string follows, where double quotes may hold one. */
const BEFORE_STRING: ReadonlySet<string> = new Set('LIKE BETWEEN THEN ELSE'.split(' '));
const MATCHES = /\b(?:glob|match|regexp|escape)\s*$/i;
const LONGEST_MATCH = 16;
const IDENTIFIER = /^[\p{L}_][\p{L}\p{N}_$]*$/u;

/** `PREPARE q (int) AS SELECT …`, and of MySQL `PREPARE q FROM 'SELECT …'`. */
const PREPARE = /^[\s;]*prepare\s+("[^"]+"|`[^`]+`|[\p{L}\p{N}_$]+)\s*(?:\([^)]*\)\s*)?(?:as\s|from\s+')/iu;
const EXECUTE = /^[\s;]*execute\s+("[^"]+"|`[^`]+`|[\p{L}\p{N}_$]+)/iu;
const MAX_PREPARED = 1_000;
const MAX_PREPARED_NAME = 64;

/** Reads statements of one dialect. Not re-entrant: all scanners share one output buffer. */
export class StatementScanner {
  readonly #dialect: SqlDialect;
  readonly #classes: Uint8Array;
  readonly #readings: readonly [Reading, ...Reading[]];
  readonly #isGeneric: boolean;
  readonly #isPostgres: boolean;
  readonly #writer = new ShapeWriter();
  readonly #outline: StatementOutline;
  readonly #effects = new StatementEffects();
  readonly #setting = new BareSetting();
  /** What was prepared by name, in any session. */
  readonly #prepared = new RecentMap<Pick<Statement, 'table' | 'kind' | 'isVolatile'>>(MAX_PREPARED);
  #text = '';
  #limit = 0;
  #backslash: Backslash = 'doubt';
  #doubleQuotes: Backslash = 'doubt';
  #foundLiteral = false;
  #isWhole = true;
  /** Whether the text ended inside a string: no session reads it so. */
  #isBroken = false;
  /**
   * Whether double quotes hold names where they may hold strings, which they do where they hold what no grammar
   * takes for a string. Known at the end of a text: until then it is as in the text before.
   */
  #hasQuotedNames = false;
  #foundQuotedName = false;
  /** How many double quotes hold a name or a string. */
  #inDoubt = 0;
  /** What the token before was: strings that follow each other are one string. */
  #string = NOT_STRING;
  #bracketDepth = 0;
  /** Rows may follow the statement as they are: `COPY … FROM STDIN`. */
  #isBeforeRows = false;
  /** The table of a series that was folded last, and a hash of all of them. */
  #folded = '';
  #variant: number | undefined = undefined;

  constructor(dialect: SqlDialect) {
    this.#dialect = dialect;
    this.#classes = TOKEN_CLASSES[dialect];
    this.#readings = READINGS[dialect];
    this.#isGeneric = dialect === 'generic';
    this.#isPostgres = dialect === 'postgresql' || dialect === 'generic';
    this.#outline = new StatementOutline(dialect);
  }

  /** Whether the last text held a literal or a comment, or was not read to its end. */
  get foundLiteral(): boolean {
    return this.#foundLiteral;
  }

  scan(text: string): Statement {
    const [usual] = this.#readings;
    let statement = this.#read(text, usual);
    if (this.#inDoubt > 0 && this.#foundQuotedName !== this.#hasQuotedNames) {
      this.#hasQuotedNames = this.#foundQuotedName;
      statement = this.#read(text, usual);
    }
    if (statement.operation === 'EXECUTE') return this.#execute(text, statement);
    if (statement.operation === 'PREPARE') return this.#prepare(text, statement);
    const mayDiffer = text.includes("\\'") || (this.#dialect === 'mysql' && text.includes('\\"'));
    return mayDiffer ? this.#agreed(text, statement) : statement;
  }

  #prepare(text: string, statement: Statement): Statement {
    const [start, quoted] = PREPARE.exec(text) ?? [];
    if (start !== undefined && quoted !== undefined && quoted.length <= MAX_PREPARED_NAME) {
      const { table, kind, isVolatile } = this.#read(text.slice(start.length), this.#readings[0]);
      const name = nameOf(quoted);
      const other = this.#prepared.get(name);
      // Two sessions may mean different statements by one name: nobody can tell which of them is executed.
      const isSame = other === undefined || (other.kind === kind && other.table === table);
      this.#prepared.set(name, isSame ? { table, kind, isVolatile } : { table: undefined, kind: 'write' });
    }
    this.#foundLiteral = true;
    return statement;
  }

  /** `EXECUTE` has the kind of its `PREPARE`. If that was not seen, it counts as a write, like any unknown verb. */
  #execute(text: string, statement: Statement): Statement {
    // What the name stands for may change.
    this.#foundLiteral = true;
    const quoted = EXECUTE.exec(text)?.[1];
    const prepared = quoted === undefined ? undefined : this.#prepared.get(nameOf(quoted));
    return prepared === undefined ? statement : { ...statement, ...prepared };
  }

  /** What all readings say; the usual one where the others would end inside a string; else what is sure. */
  #agreed(text: string, usual: Statement): Statement {
    const isWhole = this.#isWhole;
    for (const reading of this.#readings.slice(1)) {
      const other = this.#read(text, reading);
      const isSame =
        other.shape === usual.shape &&
        other.key === usual.key &&
        other.table === usual.table &&
        other.kind === usual.kind;
      if (!isSame && !(isWhole && this.#isBroken)) return this.#read(text, IN_DOUBT);
    }
    this.#foundLiteral = true;
    return usual;
  }

  #read(text: string, { strings, doubleQuotes }: Reading): Statement {
    const writer = this.#writer;
    const outline = this.#outline;
    this.#backslash = strings;
    this.#doubleQuotes = doubleQuotes;
    this.#isWhole = true;
    this.#isBroken = false;
    this.#inDoubt = 0;
    this.#foundQuotedName = false;
    writer.reset();
    outline.reset();
    this.#effects.reset();
    this.#setting.reset();
    this.#isBeforeRows = false;
    this.#folded = '';
    this.#variant = undefined;
    this.#text = text;
    this.#limit = MAX_SCANNED_LENGTH;
    this.#foundLiteral = false;
    this.#string = NOT_STRING;
    this.#bracketDepth = 0;
    let at = 0;
    for (let tokens = 0; at < text.length && at !== NO_END; tokens += 1) {
      at = at >= this.#limit || tokens === MAX_TOKENS || this.#isDone(at) ? NO_END : this.#token(at);
    }
    if (at === NO_END) {
      this.#isWhole = false;
      this.#foundLiteral = true;
      writer.abandon();
    }
    this.#text = '';
    this.#endStatement();
    const { operation, kind, table } = outline;
    const shape = writer.finish();
    const { isVolatile } = this.#effects;
    const session = this.#effects.sessionOf(text);
    return { shape, key: writer.key, table, operation, kind, variant: this.#variant, isVolatile, session };
  }

  /** Whether the rest can neither show in the shape nor change the main table. */
  #isDone(at: number): boolean {
    if (!this.#writer.isFull || at <= MAX_WHOLE_LENGTH) return false;
    return this.#outline.hasTable || at > MAX_LENGTH_WITHOUT_TABLE;
  }

  /** Returns where the next token begins, or `NO_END` to drop the rest. */
  #token(start: number): number {
    const text = this.#text;
    const code = text.charCodeAt(start);
    const type = code < 128 ? this.#classes[code] : TOKEN.word;
    switch (type) {
      case TOKEN.space:
        return endOfSpace(text, start);
      case TOKEN.word:
        return this.#word(start);
      case TOKEN.digit:
        return this.#number(start);
      case TOKEN.string:
        return this.#stringLiteral(start, this.#backslashAt(code));
      case TOKEN.name:
      case TOKEN.nameOrString:
        return this.#quotedName(start, type === TOKEN.nameOrString);
      case TOKEN.minus:
        if (text.charCodeAt(start + 1) === 45) return this.#dashes(start);
        break;
      case TOKEN.slash:
        if (text.charCodeAt(start + 1) === 42) {
          return this.#skipLiteral(start, endOfBlockComment(text, start, this.#dialect));
        }
        // A regular expression of InfluxQL: nothing is divided before a value.
        if (this.#isGeneric && !this.#writer.isAfterValue) return NO_END;
        break;
      case TOKEN.hash:
        // MySQL begins a comment here, PostgreSQL an operator.
        return this.#isGeneric ? NO_END : this.#skipLiteral(start, endOfLineComment(text, start));
    }
    this.#string = NOT_STRING;
    return this.#punctuation(start, code, type);
  }

  #endStatement(): void {
    this.#effects.verb(this.#outline.verb);
    this.#outline.endStatement();
  }

  #punctuation(start: number, code: number, type: number | undefined): number {
    const text = this.#text;
    const next = text.charCodeAt(start + 1);
    switch (type) {
      case TOKEN.open:
        this.#outline.open();
        return this.#writer.open(code) ? start + 1 : NO_END;
      case TOKEN.close:
        this.#outline.close();
        this.#writer.close(code);
        return start + 1;
      case TOKEN.openBracket:
        return this.#openBracket(start);
      case TOKEN.closeBracket:
        this.#bracketDepth -= 1;
        this.#outline.other();
        this.#writer.close(code);
        return start + 1;
      case TOKEN.comma:
        if (this.#bracketDepth > 0) this.#outline.other();
        else this.#outline.comma();
        this.#writer.comma();
        return start + 1;
      case TOKEN.semicolon:
        if (this.#isBeforeRows) return NO_END;
        this.#setting.reset();
        this.#endStatement();
        this.#writer.semicolon();
        this.#bracketDepth = 0;
        return start + 1;
      case TOKEN.dot:
        if (isDigit(next) && !this.#writer.isAfterValue) return this.#number(start);
        this.#outline.dot();
        this.#writer.dot();
        return start + 1;
      case TOKEN.dollar:
        return this.#dollar(start, next);
      case TOKEN.question:
        if (this.#isPostgres && this.#writer.isAfterValue) break;
        return this.#parameter(isDigit(next) ? endOfNumber(text, start) : start + 1);
      case TOKEN.colon:
        if (next === code) {
          this.#outline.other();
          this.#writer.cast();
          return start + 2;
        }
        // In brackets a colon divides the bounds of a slice.
        if (isWordPart(next) && this.#bracketDepth === 0) return this.#parameter(endOfWord(text, start + 1));
        break;
      case TOKEN.at:
        if (this.#dialect === 'postgresql') break;
        if (next === code && !this.#isGeneric) return this.#word(start);
        if (isWordPart(next)) return this.#parameter(endOfWord(text, start + 1));
        break;
      case TOKEN.percent:
        if (next !== 115 || this.#writer.isAfterValue || isWordPart(text.charCodeAt(start + 2))) break;
        return this.#parameter(start + 2);
    }
    if (code === 61) this.#setting.equals();
    this.#outline.other();
    this.#writer.operator(code, start > 0 && this.#isOperator(text.charCodeAt(start - 1)));
    return start + 1;
  }

  #word(start: number): number {
    const text = this.#text;
    const code = text.charCodeAt(start);
    // SQL Server has temporary tables called ##name, and MySQL too has variables called @@name.
    const isDoubled = (code === 35 || code === 64) && text.charCodeAt(start + 1) === code;
    const end = endOfWord(text, isDoubled ? start + 2 : start + 1);
    const next = text.charCodeAt(end);
    if (end === start + 1 && (next === 39 || next === 38)) {
      const prefix = code | 32;
      if (next === 39 && prefix === 101 && this.#isPostgres) {
        return this.#stringLiteral(end, this.#isGeneric ? 'doubt' : 'escape');
      }
      if (next === 39 && (prefix === 110 || prefix === 98 || prefix === 120)) {
        return this.#stringLiteral(end, this.#backslash);
      }
      if (next === 38 && prefix === 117 && this.#isPostgres) {
        const quote = text.charCodeAt(end + 1);
        if (quote === 39) return this.#stringLiteral(end + 1, this.#backslash);
        if (quote === 34) return this.#quotedName(end + 1, this.#isGeneric);
      }
    }
    // Oracle quotes with any character: q'[it's]'.
    if (this.#isGeneric && next === 39 && (text.charCodeAt(end - 1) | 32) === 113) return NO_END;

    const uuid = this.#isGeneric ? endOfUuid(text, start) : undefined;
    if (uuid !== undefined) return this.#value(start, uuid);
    this.#string = NOT_STRING;
    const isQualified = start > 0 && text.charCodeAt(start - 1) === 46;
    const keyword = isQualified ? undefined : keywordAt(text, start, end, this.#outline.isAtStart);
    if (keyword === undefined) {
      if (this.#setting.isValue) return this.#value(start, end);
      this.#effects.name(text, start, end, this.#outline.previousKeyword);
      this.#name(start, end, 0);
      if (this.#isGeneric && isBeforePassword(text, start, end)) return NO_END;
      this.#setting.word(text, start, end);
      this.#isBeforeRows ||= this.#outline.verb === 'COPY' && isWord(text, start, end, 'STDIN');
    } else if (this.#writer.isAtListElement && isConstant(keyword)) {
      // Drivers that write values into the text write NULL and TRUE among them.
      this.#outline.other();
      this.#writer.placeholder();
    } else {
      this.#effects.keyword(keyword, this.#outline.previousKeyword);
      this.#outline.keyword(keyword);
      this.#writer.keyword(keyword);
      if (keyword === 'SET') this.#setting.set(this.#outline.verb);
    }
    return end;
  }

  /** A literal that is no number and no string. */
  #value(start: number, end: number): number {
    this.#string = NOT_STRING;
    this.#outline.other();
    this.#writer.placeholder();
    return this.#skipLiteral(start, end);
  }

  #number(start: number): number {
    const uuid = this.#isGeneric ? endOfUuid(this.#text, start) : undefined;
    if (uuid !== undefined) return this.#value(start, uuid);
    const end = endOfNumber(this.#text, start);
    // The 1 of `SELECT 1` and `LIMIT 1` is written by the mapper, not by the user: TypeORM's findOne would
    // otherwise be scanned each time.
    const previous = this.#outline.previousKeyword;
    const isFixed = end === start + 1 && (previous === 'LIMIT' || previous === 'SELECT');
    this.#string = NOT_STRING;
    this.#outline.other();
    this.#writer.number();
    // Older PostgreSQL reads `1E'…'` as a number and a string with escapes.
    if (this.#isQuote(end)) return NO_END;
    return isFixed ? end : this.#skipLiteral(start, end);
  }

  #parameter(end: number): number {
    this.#string = NOT_STRING;
    this.#outline.other();
    this.#writer.placeholder();
    return this.#isQuote(end) ? NO_END : end;
  }

  #backslashAt(quote: number): Backslash {
    if (quote === 34) return this.#doubleQuotes;
    return this.#string === ESCAPE_STRING ? 'doubt' : this.#backslash;
  }

  #stringLiteral(start: number, backslash: Backslash): number {
    const text = this.#text;
    if (this.#string === NOT_STRING) {
      this.#outline.other();
      this.#writer.placeholder();
    }
    // On a new line the rest of E'…' still has escapes, on the same line it has none.
    this.#string =
      backslash === this.#backslash || text.charCodeAt(start) === 34 ? PLAIN_STRING : ESCAPE_STRING;
    // BigQuery's '''it's''' and an escaped quote look the same.
    if (this.#isGeneric && text.startsWith("'''", start)) return NO_END;
    const end = endOfString(text, start, backslash);
    this.#effects.string(text, start, end);
    this.#isBroken = end === NO_END && backslash !== 'doubt';
    return this.#skipLiteral(start, end);
  }

  #quotedName(start: number, mayBeString: boolean): number {
    const text = this.#text;
    const open = text.charCodeAt(start);
    const end = mayBeString ? endOfString(text, start, this.#backslash) : endOfQuotedName(text, start);
    this.#string = NOT_STRING;
    if (end === NO_END || !isPlainName(text, start + 1, end - 1)) {
      this.#outline.other();
      this.#writer.placeholder();
      return NO_END;
    }
    if (
      this.#setting.isValue ||
      (mayBeString ? this.#isString(start, end) : this.#isMadeOfData(start, end))
    ) {
      return this.#value(start, end);
    }
    this.#name(start, end, open === 91 ? 93 : open);
    return end;
  }

  #name(start: number, end: number, quote: number): void {
    const text = this.#text;
    const folded = isDigit(text.charCodeAt(quote === 0 ? end - 1 : end - 2))
      ? this.#fold(start, end, quote === 0 ? 0 : 1)
      : undefined;
    if (folded === undefined) {
      this.#outline.name(text, start, end, quote);
      this.#writer.name(text, start, end);
    } else {
      this.#outline.name(folded, 0, folded.length, quote);
      this.#writer.name(folded, 0, folded.length);
    }
  }

  /** `events_yyyy_mm` for a table, or what stands before a dot, or the same name again as an alias. */
  #fold(start: number, end: number, quotes: 0 | 1): string | undefined {
    const text = this.#text;
    const isTable = this.#outline.expectsTable || text.charCodeAt(end) === 46;
    const name = text.slice(start + quotes, end - quotes);
    if (!isTable && name !== this.#folded) return undefined;
    const folded = foldedTable(name);
    if (folded === undefined) return undefined;
    this.#folded = name;
    let hash = this.#variant ?? 0;
    for (let at = 0; at < name.length; at += 1) hash = Math.imul(hash ^ name.charCodeAt(at), 16_777_619);
    this.#variant = hash;
    return text.slice(start, start + quotes) + folded + text.slice(end - quotes, end);
  }

  /**
   * Double quotes: of an unknown dialect maybe MySQL's strings; SQLite takes what is no column for a string, if it
   * may, and SQL Server does with QUOTED_IDENTIFIER off. No grammar allows a string in the place of a table or
   * beside a dot; who quotes names there, quotes all of them, as mappers do.
   */
  #isString(start: number, end: number): boolean {
    const text = this.#text;
    const isBesideDot = text.charCodeAt(start - 1) === 46 || text.charCodeAt(end) === 46;
    if (this.#outline.expectsTable || isBesideDot) {
      this.#foundQuotedName = true;
      return !this.#outline.expectsTable && this.#isMadeOfData(start, end);
    }
    if (this.#isGeneric || this.#writer.isAtOperand) return true;
    this.#inDoubt += 1;
    return !this.#hasQuotedNames || this.#isLikeString(start, end);
  }

  #isLikeString(start: number, end: number): boolean {
    const text = this.#text;
    if (BEFORE_STRING.has(this.#outline.previousKeyword)) return true;
    if (this.#writer.isAfterValue && MATCHES.test(text.slice(Math.max(0, start - LONGEST_MATCH), start)))
      return true;
    const name = text.slice(start + 1, end - 1);
    return !IDENTIFIER.test(name) || isValueLike(name);
  }

  /** Tables are made by people, columns of a pivot by their data: `SUM(…) AS "user@example.com"`. */
  #isMadeOfData(start: number, end: number): boolean {
    if (this.#outline.expectsTable) return false;
    const text = this.#text;
    for (let at = start + 1; at < end - 1; at += 1) {
      const code = text.charCodeAt(at);
      // Only such a name is worth a slice: most have neither.
      if (isDigit(code) || code === 64) return isValueLike(text.slice(start + 1, end - 1));
    }
    return false;
  }

  #dollar(start: number, next: number): number {
    const text = this.#text;
    if (isDigit(next)) {
      return this.#dialect === 'mssql' ? this.#number(start) : this.#parameter(endOfNumber(text, start));
    }
    const end = this.#isPostgres ? endOfDollarQuote(text, start) : undefined;
    if (end !== undefined) {
      this.#outline.other();
      this.#writer.placeholder();
      return this.#skipLiteral(start, end);
    }
    if (isWordPart(next)) return this.#parameter(endOfWord(text, start + 1));
    this.#outline.other();
    this.#writer.operator(36, false);
    return start + 1;
  }

  /** `--` is a comment in MySQL only before a space, and everywhere else in any case. */
  #dashes(start: number): number {
    const text = this.#text;
    const third = text.charCodeAt(start + 2);
    if (third > 32 && this.#isGeneric) return NO_END;
    if (third > 32 && this.#dialect === 'mysql') return this.#punctuation(start, 45, TOKEN.operator);
    return this.#skipLiteral(start, endOfLineComment(text, start));
  }

  #openBracket(start: number): number {
    const isArray = this.#bracketDepth > 0 || this.#outline.previousKeyword === 'ARRAY';
    // MariaDB has names in brackets with the mode of SQL Server.
    const mayBeName = this.#isGeneric || this.#dialect === 'mysql';
    if (mayBeName && !isArray && !isPlainBracket(this.#text, start + 1)) return NO_END;
    this.#bracketDepth += 1;
    this.#outline.other();
    return this.#writer.open(91) ? start + 1 : NO_END;
  }

  #skipLiteral(start: number, end: number): number {
    this.#foundLiteral = true;
    if (end - start > LONG_LITERAL) this.#limit += end - start;
    return end;
  }

  #isQuote(at: number): boolean {
    const code = this.#text.charCodeAt(at);
    return code === 39 || (code === 34 && this.#classes[34] !== TOKEN.name);
  }

  #isOperator(code: number): boolean {
    const type = code < 128 ? (this.#classes[code] ?? 0) : 0;
    return type >= TOKEN.operator && type <= TOKEN.percent;
  }
}

const scanners = new Map<SqlDialect, StatementScanner>();

/** Reads one text, of one statement or several. Never throws and never keeps a literal. */
export function scanStatement(text: string, dialect: SqlDialect): Statement {
  let scanner = scanners.get(dialect);
  if (scanner === undefined) scanners.set(dialect, (scanner = new StatementScanner(dialect)));
  return scanner.scan(text);
}

function nameOf(quoted: string): string {
  return /^["`]/.test(quoted) ? quoted.slice(1, -1) : quoted.toLowerCase();
}

function isConstant(keyword: string): boolean {
  return keyword === 'NULL' || keyword === 'TRUE' || keyword === 'FALSE' || keyword === 'DEFAULT';
}
