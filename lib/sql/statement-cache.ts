import { RecentMap } from '../kernel/recent-map';
import type { SqlDialect, Statement } from './statement';
import { MAX_WHOLE_LENGTH, StatementScanner } from './statement-scanner';

/** Texts beyond this length, of an ORM that joins many wide tables, are remembered too, but fewer of them. */
const MAX_USUAL_LENGTH = 10_000;
/** At most 4 MB of each dialect. */
const LONG_TEXTS = 64;

/** Remembers the statements of one dialect that a process repeats. Bounded, and free of what users wrote. */
export class StatementCache {
  readonly #dialect: SqlDialect;
  readonly #scanner: StatementScanner;
  readonly #byText: RecentMap<Statement>;
  readonly #byLongText = new RecentMap<Statement>(LONG_TEXTS);
  readonly #byShape: RecentMap<Statement>;

  /** @param capacity the most texts, and the most shapes, that are kept */
  constructor(dialect: SqlDialect, capacity = 1_000) {
    this.#dialect = dialect;
    this.#scanner = new StatementScanner(dialect);
    this.#byText = new RecentMap(capacity);
    this.#byShape = new RecentMap(capacity);
  }

  /** Whether the text that was described last has a literal, so that two of one shape may differ. */
  foundLiteral = false;

  /** How many statements are known by their text. */
  get size(): number {
    return this.#byText.size + this.#byLongText.size;
  }

  /** Equal shapes give the same frozen object for as long as the shape is remembered. */
  describe(text: string): Statement {
    const texts = text.length > MAX_USUAL_LENGTH ? this.#byLongText : this.#byText;
    const known = texts.get(text);
    if (known !== undefined) {
      this.foundLiteral = false;
      return known;
    }
    const statement = this.#intern(this.#scanner.scan(text));
    this.foundLiteral = this.#scanner.foundLiteral || text.length > MAX_WHOLE_LENGTH;
    // A text with literals hardly ever comes back, and would keep what users wrote in memory.
    if (!this.foundLiteral) texts.set(text, statement);
    return statement;
  }

  #intern(statement: Statement): Statement {
    const key = statement.key ?? statement.shape;
    const known = this.#byShape.get(key);
    if (known !== undefined && isSame(known, statement)) return known;
    const kept = Object.freeze({ ...statement, dialect: this.#dialect });
    this.#byShape.set(key, kept);
    return kept;
  }
}

/** One shape may be of two: the rest of a text that is longer than all that is read, or `'now'` for a literal. */
function isSame(a: Statement, b: Statement): boolean {
  return (
    a.table === b.table &&
    a.kind === b.kind &&
    a.variant === b.variant &&
    a.isVolatile === b.isVolatile &&
    a.session === b.session
  );
}
