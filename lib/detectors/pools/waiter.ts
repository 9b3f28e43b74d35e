import type { RequestContext } from '../../context/request-context';
import type { PoolWait } from '../../cost/pool-wait';

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
}
