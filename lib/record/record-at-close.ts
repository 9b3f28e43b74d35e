import type { RequestContext } from '../context/request-context';
import type { CostRecord } from '../cost/cost-record';
import { buildCostRecord } from './cost-record-builder';

/**
 * The record of a unit of work as it closes: one for its breach, its report, its canonical line and whoever observes
 * it. All of them name its trace. Before the close and after it, each call builds another one, of what is known then.
 * A sink gets a record of its own when its batch is written, with what came late.
 */
export function recordAtClose(context: RequestContext): CostRecord {
  const { recordAtClose: known } = context;
  if (typeof known === 'object') return known;
  // A trace that begins here is made when it is first asked for.
  void context.trace;
  const record = buildCostRecord(context);
  if (context.isClosed && known === undefined) context.recordAtClose = record;
  return record;
}

/** What the context tells has changed: the next one who asks gets another record. */
export function renewRecordAtClose(context: RequestContext): void {
  context.recordAtClose = undefined;
}

/** Everybody has seen it: it is let go of, and none is kept any more. */
export function dropRecordAtClose(context: RequestContext): void {
  context.recordAtClose = 'dropped';
}
