import type { RequestContext } from '../../context/request-context';
import type { Lease } from './lease';
import type { Waiter } from './waiter';

/** What the holder of a connection has to do with what others wait. */
export interface WaitShare {
  readonly holder: RequestContext;
  /** Milliseconds: those of all that wait and are not of its own handler, divided by all that hold a connection. */
  readonly waitedMs: number;
}

/** Divides what was waited for a pool in the last `passedMs` among those that hold its connections. */
export function shareWaits(
  waiters: Iterable<Waiter>,
  leases: readonly Lease[],
  passedMs: number,
): WaitShare[] {
  const byHandler = new Map<object | undefined, number>();
  let waiting = 0;
  for (const { context } of waiters) {
    waiting += 1;
    byHandler.set(context?.handler, (byHandler.get(context?.handler) ?? 0) + 1);
  }
  const shares: WaitShare[] = [];
  for (const { context: holder } of leases) {
    if (holder === undefined) continue;
    const others = waiting - (byHandler.get(holder.handler) ?? 0);
    if (others > 0) shares.push({ holder, waitedMs: (others * passedMs) / leases.length });
  }
  return shares;
}
