import { isThenable, whenSettled } from '../kernel/thenable';
import type { RequestContext } from '../context/request-context';

/** Runs a function after the close of a unit of work, or at once where it is closed. */
export type OnClose = (context: RequestContext, fn: () => unknown) => void;

/**
 * Calls back once, when a unit of work is over for good: its response is, and its handler has settled. A client
 * that leaves ends the response, and the handler works on.
 *
 * @param maxHoldMs after so long it is over as it is, unless it is a stream, which is open for as long as its
 * client likes
 * @param over is told whether it has ended by itself
 */
export function whenOver(
  context: RequestContext,
  onClose: OnClose,
  maxHoldMs: number,
  over: (hasEnded: boolean) => void,
): void {
  let isOver = false;
  const end = (hasEnded: boolean): void => {
    if (isOver) return;
    isOver = true;
    clearTimeout(timer);
    over(hasEnded);
  };
  const timer = context.handler?.isStream === true ? undefined : setTimeout(end, maxHoldMs, false).unref();
  const settled = (): void => end(true);
  onClose(context, () => {
    // A copy of the package that is older does not know it.
    const { handling } = context;
    if (isThenable(handling)) whenSettled(handling, settled, settled);
    else end(true);
  });
}
