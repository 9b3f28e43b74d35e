/** What a statement does: reads data, changes data, or only controls a transaction or the session. */
export type StatementKind = 'read' | 'write' | 'transaction';

/** What is kept of a statement: no literals, parameters or comments. */
export interface Statement {
  /**
   * The statement with every literal and parameter removed, at most 2,048 characters; a longer one without its column
   * lists, such as `SELECT 45 columns FROM wide WHERE parent_id = ?`.
   */
  readonly shape: string;
  /** Identifies the statement if its shape is incomplete. */
  readonly key?: string | undefined;
  /** Distinguishes statements whose table names differ only in parts that the shape omits, such as a month. */
  readonly variant?: number | undefined;
  /** The main table or collection, without quotes, and with its schema if the statement names a non-default one. */
  readonly table: string | undefined;
  /** The leading verb in upper case: `SELECT`, `INSERT`, `MERGE`, … */
  readonly operation: string;
  readonly kind: StatementKind;
  /** Whether its result may vary, or it has side effects: `now()`, `nextval()`, `FETCH`, `FOR UPDATE`. */
  readonly isVolatile?: boolean | undefined;
  /** Its effect on the session, as in `statement-effects.ts`; 0 for most. */
  readonly session?: number | undefined;
  /** SQL dialect of its database, if known. */
  readonly dialect?: SqlDialect;
}

/** SQL dialect: the spelling of strings, identifiers and comments. */
export type SqlDialect = 'postgresql' | 'mysql' | 'sqlite' | 'mssql' | 'generic';
