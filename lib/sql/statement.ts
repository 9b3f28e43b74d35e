/** What a statement does: reads data, changes data, or only controls a transaction or the session. */
export type StatementKind = 'read' | 'write' | 'transaction';

/** What is kept of a statement: never a literal, never a parameter, never a comment. */
export interface Statement {
  /**
   * The statement with every literal and parameter removed, at most 2,048 characters: of a longer one without its
   * column lists, `SELECT 45 columns FROM wide WHERE parent_id = ?`.
   */
  readonly shape: string;
  /** What it is told apart by where its shape is not all of it. */
  readonly key?: string | undefined;
  /** Stands for what its shape leaves out of the names of its tables: those of another month ask for something else. */
  readonly variant?: number | undefined;
  /** The main table or collection, without quotes, and with its schema where the statement names another than the default one. */
  readonly table: string | undefined;
  /** The leading verb in capitals: `SELECT`, `INSERT`, `MERGE`, … */
  readonly operation: string;
  readonly kind: StatementKind;
  /** Whether it may answer otherwise each time, or do something: `now()`, `nextval()`, `FETCH`, `FOR UPDATE`. */
  readonly isVolatile?: boolean | undefined;
  /** What it does to its session, as in `statement-effects.ts`; 0 for most. */
  readonly session?: number | undefined;
  /** Of which database it is, where that is known. */
  readonly dialect?: SqlDialect;
}

/** How a database spells strings, identifiers and comments. */
export type SqlDialect = 'postgresql' | 'mysql' | 'sqlite' | 'mssql' | 'generic';
