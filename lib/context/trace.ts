import { newSpanId, newTraceId } from './trace-ids';
import type { TraceParent } from './trace-parent';

/** sampled and random, https://www.w3.org/TR/trace-context-2/#trace-flags */
const FLAGS_OF_A_NEW_TRACE = 0x03;

/** Where a unit of work stands in a distributed trace. */
export interface Trace extends TraceParent {
  /** Span of whoever asked for this work. */
  readonly parentSpanId?: string | undefined;
}

/**
 * A span of its own below `parent`; without a parent, the first of a new trace.
 *
 * A trace that begins here is marked as sampled: it is recorded, in a cost record.
 */
export function beginTrace(parent: TraceParent | undefined): Trace {
  if (parent === undefined) {
    return { traceId: newTraceId(), spanId: newSpanId(), flags: FLAGS_OF_A_NEW_TRACE };
  }
  const { traceId, spanId: parentSpanId, flags, state } = parent;
  return { traceId, spanId: newSpanId(), parentSpanId, flags, state };
}
