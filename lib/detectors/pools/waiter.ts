import { eventLoop } from '../../context/context-storage';
import type { RequestContext } from '../../context/request-context';
import type { LoopBlock } from '../../cost/event-loop';
import type { PoolWait } from '../../cost/pool-wait';
import { siteOf } from '../../cost/time-record';

/** No account has this number: whoever blocks the loop, a connection cannot be handed over. */
const NOBODY = 0;

/** What waits for a connection of a pool, in the pool's list. */
export abstract class Waiter {
  /** When it began to wait; 0 when it did not. */
  askedMs = 0;
  /** Who held the pool, once it has waited too long and while it does. */
  wait: PoolWait | undefined = undefined;
  /** Those around it in the list. */
  before: Waiter | undefined = undefined;
  after: Waiter | undefined = undefined;
  /** Who waits. */
  context: RequestContext | undefined = undefined;

  /** From when on its application wants to hear of it; 0 for never. */
  get poolWaitMs(): number {
    return this.context?.application.poolLimits?.poolWaitMs ?? 0;
  }

  /** For how long it has waited for its pool: while the event loop was blocked or starved, it waited for that. */
  waitedMs(nowMs: number): number {
    return nowMs - this.askedMs - this.#stalledMs(nowMs);
  }

  /** Notes how long that is by now, and what blocked the event loop meanwhile. */
  note(wait: PoolWait, nowMs: number): void {
    const stalledMs = this.#stalledMs(nowMs);
    wait.waitedMs = nowMs - this.askedMs - stalledMs;
    // It may have been noted before, when something else was the longest.
    delete wait.stalledBy;
    if (stalledMs === 0) return;
    wait.stalledMs = stalledMs;
    const insideMs = ({ ms, endMs }: LoopBlock): number => Math.min(ms, endMs - this.askedMs);
    const [longest] = eventLoop.blocksSince(this.askedMs).sort((a, b) => insideMs(b) - insideMs(a));
    // The rest may be what other processes took.
    if (longest === undefined || 2 * insideMs(longest) < stalledMs) return;
    const at = siteOf(longest);
    const who = longest.culprit && (longest.culprit.handler ?? 'a request');
    if ((who ?? at) === undefined) return;
    wait.stalledBy = [who ?? 'work outside of any request, job or message', at].filter(Boolean).join(' at ');
  }

  #stalledMs(nowMs: number): number {
    // Absent where an older copy of the package has made the loop.
    return eventLoop.deafMs?.(NOBODY, this.askedMs, nowMs) ?? 0;
  }
}
