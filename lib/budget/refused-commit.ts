import { sharedName } from '../context/protocol';

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
/** Begins anew (and commits, in MySQL), or gives up what `ROLLBACK TO` could go back to. */
const BEGINS_OR_RELEASES = /(?:^|;)\s*(?:BEGIN|START|LOCK|RELEASE)\b/i;
/**
 * These end what the session is in, and must come through; in MySQL they commit. Of several variables that are set
 * at once, which it alone can, a shape names the first: `SET ? = ?, ? = ?`.
 */
const ENDS_SESSION_STATE = /(?:^|;)\s*(?:UNLOCK\b|SET\b[^;]*(?:\bautocommit\b|=[^;]*,[^;]*=))/i;

/** A lock of the session outlives its transaction: one that is not given back is held by the connection in its pool. */
const RELEASES_LOCK =
  /^(?:SELECT|DO)\s+(?:pg_catalog\.)?(?:pg_advisory_unlock(?:_shared|_all)?|RELEASE_LOCK|RELEASE_ALL_LOCKS)\s*\((?:(?!\bSELECT\b)[^;])*$/i;

/** Whether a statement gives back a lock of its session, and does nothing else. */
export function releasesLock(shape: string): boolean {
  return RELEASES_LOCK.test(shape);
}

/** Whether a statement for transactions, by its shape, is kept back once a unit of work is stopped. */
export function isKeptBack(shape: string): boolean {
  return COMMITS.test(shape) || BEGINS_OR_RELEASES.test(shape) || ENDS_SESSION_STATE.test(shape);
}

/** Says on the error of a statement what its driver is to send. */
export function markUndo(error: Error, shape: string): void {
  const undo: Undo | undefined = COMMITS.test(shape)
    ? 'instead'
    : ENDS_SESSION_STATE.test(shape)
      ? 'first'
      : undefined;
  if (undo !== undefined) Object.defineProperty(error, UNDO, { value: undo });
}

/** What a driver is to send where `begin()` has thrown this; `undefined` for nothing. */
export function undoOf(error: unknown): Undo | undefined {
  return (error as { [UNDO]?: Undo } | undefined)?.[UNDO];
}
