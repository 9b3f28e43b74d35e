import { undoOf } from '../../budget/refused-commit';
import { inContext } from '../../instrumentation/caller-context';
import type { QueryReporter } from '../../instrumentation/driver-instrumentation';

interface Connection {
  /** Sends the statement where the connection is in a transaction, or may be. */
  changeTransaction?(params: { readonly sql: string }, resolve: () => void, reject: () => void): void;
}

/**
 * Gives the error to the caller in place of sending a statement; that of a COMMIT when all is rolled back.
 * Whether the statement is sent all the same, after that.
 */
export function keepBack(
  connection: object,
  reporter: QueryReporter,
  error: unknown,
  give: () => unknown,
): boolean {
  const undo = undoOf(error);
  const told = inContext((): void => void give());
  if (undo === undefined) process.nextTick(told);
  else endTransaction(connection, reporter, undo === 'instead' ? told : undefined);
  return undo === 'first';
}

/** Ends the transaction that a connection may be in. */
export function endTransaction(
  connection: object,
  reporter: QueryReporter,
  done: () => void = () => undefined,
): void {
  const { changeTransaction } = connection as Connection;
  if (changeTransaction === undefined) process.nextTick(done);
  else reporter.uncharged(() => changeTransaction.call(connection, { sql: 'ROLLBACK' }, done, done));
}
