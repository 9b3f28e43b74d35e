import { sharedName } from '../kernel/protocol';
import type { Statement } from '../sql/statement';

/** On an error, also for a driver that another copy of this package has replaced. */
const UNDO = Symbol.for(sharedName('undo'));

/**
 * What a driver sends where a statement of a stopped unit of work is kept back: `instead` is a ROLLBACK in its
 * place, `first` is a ROLLBACK and then the statement itself.
 */
export type Undo = 'instead' | 'first';

// Of several statements in one text any may be the one. A shape has no literals and no comments, and of a text in a
// comment that MySQL runs (`/*! COMMIT */`) there is nothing else.
const COMMITS = /^$|(?:^|;)\s*(?:COMMIT|END|PREPARE TRANSACTION|commitTransaction)\b/i;
/** `BEGIN` with its modes alone: in `BEGIN NOT ATOMIC …` and `BEGIN TRAN INSERT …` it is the first word only. */
const BEGIN_ALONE =
  '(?:BEGIN|START\\s+TRANSACTION)(?:[\\s,]+(?:WORK|TRAN|TRANSACTION|DEFERRED|IMMEDIATE|EXCLUSIVE|CONCURRENT|' +
  'ISOLATION|LEVEL|SERIALIZABLE|REPEATABLE|READ|COMMITTED|UNCOMMITTED|ONLY|WRITE|NOT|DEFERRABLE|WITH|CONSISTENT|' +
  'SNAPSHOT))*\\s*(?:;|$)';
/**
 * Does no work, and passes: Drizzle sends it outside of its `try`, and a connection whose BEGIN were refused would
 * never come back to its pool. MySQL commits with it what is open.
 */
const BEGINS = new RegExp(`(?:^|;)\\s*${BEGIN_ALONE}`, 'i');
/** Does work of its own, or gives up what `ROLLBACK TO` could go back to. */
const WORKS_OR_RELEASES = new RegExp(`(?:^|;)\\s*(?!${BEGIN_ALONE})(?:BEGIN|START|LOCK|RELEASE)\\b`, 'i');
/**
 * These end what the session is in, and must come through; in MySQL they commit. Of several variables that are set
 * at once, which it alone can, a shape names the first: `SET ? = ?, ? = ?`.
 */
const ENDS_SESSION_STATE = /(?:^|;)\s*(?:UNLOCK\b|SET\b[^;]*(?:\bautocommit\b|=[^;]*,[^;]*=))/i;

/** A lock of the session outlives its transaction: one that is not given back is held by the connection in its pool. */
const RELEASES_LOCK =
  /^(?:SELECT|DO)\s+(?:pg_catalog\.)?(?:pg_advisory_unlock(?:_shared|_all)?|RELEASE_LOCK|RELEASE_ALL_LOCKS)\s*\((?:(?!\bSELECT\b)[^;])*$/i;

/** What tells the statements for transactions apart. */
type Transacting = Pick<Statement, 'shape' | 'kind' | 'dialect'>;

/** Whether a statement gives back a lock of its session, and does nothing else. */
export function releasesLock(shape: string): boolean {
  return RELEASES_LOCK.test(shape);
}

/** Whether a statement for transactions does not pass as it is once a unit of work is stopped. */
export function isKeptBack({ shape, dialect }: Transacting): boolean {
  return COMMITS.test(shape) || WORKS_OR_RELEASES.test(shape) || commitsFirst(shape, dialect);
}

/** Says on the error of a statement what its driver is to send. */
export function markUndo(error: Error, statement: Transacting): void {
  const undo = undoFor(statement);
  if (undo !== undefined) Object.defineProperty(error, UNDO, { value: undo });
}

function undoFor({ shape, kind, dialect }: Transacting): Undo | undefined {
  if (COMMITS.test(shape)) return 'instead';
  // What else is in the text would be sent with it.
  if (kind !== 'transaction' || WORKS_OR_RELEASES.test(shape)) return undefined;
  return commitsFirst(shape, dialect) ? 'first' : undefined;
}

function commitsFirst(shape: string, dialect: Statement['dialect']): boolean {
  return ENDS_SESSION_STATE.test(shape) || (dialect === 'mysql' && BEGINS.test(shape));
}

/** What a driver is to send where `begin()` has thrown this; `undefined` for nothing. */
export function undoOf(error: unknown): Undo | undefined {
  return (error as { [UNDO]?: Undo } | undefined)?.[UNDO];
}
