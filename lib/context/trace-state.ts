/**
 * Our member of a `tracestate`: the span of a unit of work, and that of the one request that it goes with.
 *
 * Each request is a span of its own (https://www.w3.org/TR/trace-context-2/#parent-id), which no record
 * knows. By this the called service finds the unit of work, unless somebody else stood between.
 */
const KEY = 'nac';
const OURS = /^nac=([0-9a-f]{16})\.([0-9a-f]{16})(?:,|$)/;
const MAX_MEMBERS = 32;
/** What others pass on at least: https://www.w3.org/TR/trace-context-2/#tracestate-limits */
const MAX_LENGTH = 512;

/** The `tracestate` of a request, with our member in front where there is room for it. */
export function stateOfCall(state: string | undefined, spanId: string, callId: string): string {
  const ours = `${KEY}=${spanId}.${callId}`;
  if (state === undefined || state === '') return ours;
  const isFull = state.length + ours.length + 1 > MAX_LENGTH || state.split(',').length >= MAX_MEMBERS;
  return isFull ? state : `${ours},${state}`;
}

/** The unit of work that a caller with this library names, where it made this very request. */
export function callerIn(state: string, callId: string): string | undefined {
  const [, spanId, call] = OURS.exec(state) ?? [];
  return call === callId ? spanId : undefined;
}
