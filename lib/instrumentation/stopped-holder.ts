import { isStopped } from '../budget/work-stop';
import { leaseOf } from '../detectors/pools/watched-pool';

/**
 * Whether a connection is given back by a unit of work that was stopped: what is open in it is to be rolled back
 * first. Asked before `released()`.
 */
export function isHeldByStopped(connection: object): boolean {
  return isStopped(leaseOf(connection)?.context);
}
