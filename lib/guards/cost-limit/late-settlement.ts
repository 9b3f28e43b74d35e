import type { RequestContext } from '../../context/request-context';

/** Work after the close comes in bursts: it is settled together. */
const AFTER_MS = 1_000;
/** How often it is looked whether what was under way has ended. */
const MOST_LOOKS = 60;

/**
 * Settles again what a unit of work costs after it was settled: queries that are made later, and those that were
 * under way and have no duration and no rows before they end.
 */
export function settleLate({ cost }: RequestContext, settle: () => void): void {
  let isPlanned = false;
  let looks = 0;
  const plan = (): void => {
    if (isPlanned) return;
    isPlanned = true;
    setTimeout(() => {
      isPlanned = false;
      settle();
      if (cost.underWay > 0 && (looks += 1) < MOST_LOOKS) plan();
    }, AFTER_MS).unref();
  };
  // Several policies may wait for one unit of work.
  const others = cost.onLate;
  cost.onLate = () => {
    others?.();
    plan();
  };
  if (cost.underWay > 0) plan();
}
