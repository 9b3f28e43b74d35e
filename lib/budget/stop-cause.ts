import { BUDGET_EXCEEDED } from './query-budget-exceeded.error';

const MAX_ERRORS = 50;

/** Where errors keep those that they are made of: of the language, TypeORM, mssql, Sequelize and others. */
const CAUSES = [
  'cause',
  'originalError',
  'driverError',
  'previous',
  'parent',
  'original',
  'error',
  'suppressed',
] as const;

/** Whoever listens to `signal`, or has given a statement the time that is left, as the docs say. */
const ENDED_BY = new Set<unknown>([
  'ABORT_ERR',
  'ERR_CANCELED',
  'UND_ERR_ABORTED',
  // statement_timeout of PostgreSQL, of MySQL and of MariaDB
  '57014',
  'ER_QUERY_TIMEOUT',
  'ER_STATEMENT_TIMEOUT',
]);

/**
 * What follows from a rollback in the place of a COMMIT, and from a BEGIN that was kept back, without a word of
 * them: "Transaction query already complete" of Knex, and of MikroORM over it; "Transaction already closed" of
 * Prisma; "savepoint … does not exist" of PostgreSQL and MySQL; "no such savepoint" of SQLite.
 */
const NO_TRANSACTION =
  /\b(?:transaction|savepoint)\b.*?\b(?:already|aborted|closed|does not exist|is not started|not active)\b|\bno (?:such savepoint|transaction)\b/i;

/**
 * Whether an error of a unit of work that was stopped comes of that: it is the one that a statement was kept back
 * with, an ORM has made its own of it (all keep its code, its text, or the error itself), or it tells of what has
 * become of the transaction. Never throws.
 */
export function isOfStop(error: unknown): boolean {
  const found = new Set<unknown>([error]);
  // What is added is looked at in turn.
  for (const one of found) {
    try {
      if (saysSo(one)) return true;
      if (typeof one === 'object' && one !== null) addCauses(found, one);
    } catch {
      // A getter of the application.
    }
  }
  return false;
}

function saysSo(error: unknown): boolean {
  if (typeof error === 'string') return error.includes(BUDGET_EXCEEDED);
  if (typeof error !== 'object' || error === null) return false;
  const { code, name, message } = error as { code?: unknown; name?: unknown; message?: unknown };
  if (code === BUDGET_EXCEEDED || name === 'AbortError' || ENDED_BY.has(code)) return true;
  return typeof message === 'string' && (message.includes(BUDGET_EXCEEDED) || NO_TRANSACTION.test(message));
}

function addCauses(found: Set<unknown>, error: object): void {
  const { errors } = error as { errors?: unknown };
  const causes = CAUSES.map(name => (error as Partial<Record<string, unknown>>)[name]);
  for (const cause of Array.isArray(errors)
    ? [...causes, ...(errors as unknown[]).slice(0, MAX_ERRORS)]
    : causes)
    if (cause !== undefined && found.size < MAX_ERRORS) found.add(cause);
}
