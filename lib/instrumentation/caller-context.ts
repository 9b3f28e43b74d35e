import { currentAside, runAgain } from '../context/aside';
import { contextStorage } from '../context/context-storage';
import type { RequestContext } from '../context/request-context';
import { runAndNote } from '../context/thrown-context';

type Callback = (...args: never[]) => unknown;

/** For a callback that runs elsewhere: a connection has the context that it was opened in, a pool that of who gave one back. */
export function inContext<F extends Callback>(callback: F): F {
  const context = contextStorage.getStore();
  const aside = currentAside();
  const bound = (...args: Parameters<F>): unknown =>
    runAndNote(context as RequestContext, () => runAgain(aside, () => callback(...args)));
  return bound as F;
}
