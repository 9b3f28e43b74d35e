import type { QueryReporter } from '../../instrumentation/driver-instrumentation';

/** Of a client of `pg`; older versions do not know what the server says of its transaction. */
interface Client {
  readonly _txStatus?: string | null;
  readonly readyForQuery?: boolean;
  query(text: string, callback: (error: unknown) => void): unknown;
  on(event: 'error', listener: () => void): unknown;
  removeListener(event: 'error', listener: () => void): unknown;
}

const IDLE = 'I';

const ignore = (): void => undefined;

/** Ends the transaction that a client may be in, and then gives what has failed. */
export function rollBack(client: object, reporter: QueryReporter, done: (error: unknown) => void): void {
  const one = client as Client;
  if (one._txStatus === IDLE && one.readyForQuery === true) return done(undefined);
  // Between its holder and its pool nobody listens, and what nobody listens to would end the process.
  one.on('error', ignore);
  const end = (error: unknown): void => {
    one.removeListener('error', ignore);
    done(error);
  };
  reporter.uncharged(() => one.query('ROLLBACK', end));
}
