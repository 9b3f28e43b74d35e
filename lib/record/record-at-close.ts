import type { RequestContext } from '../context/request-context';
import type { CostRecord } from '../cost/cost-record';
import { buildCostRecord } from './cost-record-builder';

/**
 * The record of a unit of work as it closes: one for its breach, its report, its canonical line and whoever observes
 * it. All of them name its trace. A sink gets a record of its own when its batch is written, with what came late.
 */
export function recordAtClose(context: RequestContext): CostRecord {
  if (context.recordAtClose === undefined) {
    // A trace that begins here is made when it is first asked for.
    void context.trace;
    context.recordAtClose = buildCostRecord(context);
  }
  return context.recordAtClose;
}

/** Lets go of it: what the context tells has changed, or everybody has seen it. */
export function forgetRecordAtClose(context: RequestContext): void {
  context.recordAtClose = undefined;
}
