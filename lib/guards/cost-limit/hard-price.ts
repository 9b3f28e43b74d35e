import type { RequestContext } from '../../context/request-context';

/** The most that a unit of work can cost, in points, where a hard budget stops it there. */
export function hardPrice(_context: RequestContext): number | undefined {
  return undefined;
}
