import { parseTraceState, takeCaller } from './trace-state';

/** A span of a trace, as in W3C Trace Context. */
export interface TraceParent {
  /** 32 hexadecimal digits. */
  readonly traceId: string;
  /** 16 hexadecimal digits. */
  readonly spanId: string;
  /** One byte: 1 is sampled, 2 is random. */
  readonly flags: number;
  /** `tracestate`, as it is passed on. */
  readonly state?: string | undefined;
}

// https://www.w3.org/TR/trace-context-2/#traceparent-header
const VERSION_00 = /^00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})$/;
// A later version may append fields, each after another dash; version ff is invalid. A comma joins two headers.
const LATER_VERSION = /^(?!00|ff)[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?:-[^,]*)?$/;
const NO_TRACE = '0'.repeat(32);
/** Sampled and random; what else may be in it is not known, and not passed on. */
const KNOWN_FLAGS = 0x03;
const NO_PARENT = '0'.repeat(16);

/** What a W3C `traceparent` says, or `undefined` when it is absent or malformed. */
export function parseTraceParent(traceparent: unknown): TraceParent | undefined {
  if (typeof traceparent !== 'string') return undefined;
  const match = VERSION_00.exec(traceparent) ?? LATER_VERSION.exec(traceparent);
  if (match === null) return undefined;
  const [, traceId = NO_TRACE, spanId = NO_PARENT, flags = ''] = match;
  if (traceId === NO_TRACE || spanId === NO_PARENT) return undefined;
  return { traceId, spanId, flags: Number.parseInt(flags, 16) & KNOWN_FLAGS };
}

/** The `traceparent` that says so, of version 00. */
export function formatTraceParent({ traceId, spanId, flags }: TraceParent): string {
  return `00-${traceId}-${spanId}-${flags.toString(16).padStart(2, '0')}`;
}

/** The same with its `tracestate`, as far as that is valid: who calls with this library names itself in it. */
export function parseTrace(traceparent: unknown, tracestate: unknown): TraceParent | undefined {
  const parent = parseTraceParent(traceparent);
  if (parent === undefined || typeof tracestate !== 'string') return parent;
  const state = parseTraceState(tracestate);
  if (state === undefined) return parent;
  const { spanId = parent.spanId, rest } = takeCaller(state, parent.spanId);
  // Not `...parent`: it costs 1.4 µs.
  return { traceId: parent.traceId, spanId, flags: parent.flags, state: rest };
}
