import { newSpanId, newTraceId } from '../w3c/trace-ids';
import type { TraceParent } from '../w3c/trace-parent';

/** https://www.w3.org/TR/trace-context-2/#trace-flags */
const SAMPLED = 0x01;
const RANDOM = 0x02;

/** Position of a unit of work in a distributed trace. */
export interface Trace extends TraceParent {
  /** Span of the caller. */
  readonly parentSpanId?: string | undefined;
}

/**
 * A span of its own below `parent`; without a parent, the first of a new trace.
 *
 * A trace that begins here is marked as sampled: it is recorded, in a cost record. With a share below 1
 * some are not, for those who record what their caller says.
 */
export function beginTrace(parent: TraceParent | undefined, sampledShare = 1): Trace {
  if (parent === undefined) {
    const traceId = newTraceId();
    const flags = RANDOM | (isSampled(traceId, sampledShare) ? SAMPLED : 0);
    return { traceId, spanId: newSpanId(), flags };
  }
  const { traceId, spanId: parentSpanId, flags, state } = parent;
  return { traceId, spanId: newSpanId(), parentSpanId, flags, state };
}

/**
 * By the random part of its id, as samplers of OpenTelemetry decide, so that all say the same of one trace:
 * https://opentelemetry.io/docs/specs/otel/trace/tracestate-probability-sampling/
 */
function isSampled(traceId: string, share: number): boolean {
  // 52 of its 56 random bits: a number can hold no more digits of 16.
  return share === 1 || Number.parseInt(traceId.slice(18, 31), 16) >= (1 - share) * 2 ** 52;
}
