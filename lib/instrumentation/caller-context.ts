import { currentRedirect, runAgain } from '../context/charge-redirect';
import { contextStorage } from '../context/context-storage';
import { runAndNote } from '../context/thrown-context';

type Callback = (this: never, ...args: never[]) => unknown;

/** For a callback that runs elsewhere: a connection has the context that it was opened in, a pool that of who gave one back. */
export function inContext<F extends Callback>(callback: F): F {
  const captured = contextStorage.capture();
  const redirect = currentRedirect();
  const bound = function (this: never, ...args: never[]): unknown {
    return runAndNote(captured, () => runAgain(redirect, () => callback.apply(this, args)));
  };
  return bound as F;
}
