import { trimBlanks } from '../kernel/trim-blanks';

/**
 * Our member of a `tracestate`: the span of a unit of work, and that of the one request that it goes with.
 *
 * Each request is a span of its own (https://www.w3.org/TR/trace-context-2/#parent-id), which no record
 * knows. By this the called service finds the unit of work, unless somebody else stood between.
 */
const KEY = 'nac';
const OURS = /^nac=([0-9a-f]{16})\.([0-9a-f]{16})(?:,|$)/;
const MAX_MEMBERS = 32;
/** What is to be passed on at least: https://www.w3.org/TR/trace-context-2/#tracestate-limits */
const MAX_LENGTH = 512;
/** A longer one goes first where there is no room for all. */
const LONG_MEMBER = 128;
// https://www.w3.org/TR/trace-context-2/#list-members
const MEMBER = /^([a-z0-9][a-z0-9_*/@-]{0,255})=[ -+\--<>-~]{0,255}[!-+\--<>-~]$/;

/**
 * A `tracestate` as it is to be passed on, without white space, empty and repeated members; `undefined` when it
 * is empty, has a member that is none, or more than 32 of them.
 */
export function parseTraceState(text: string): string | undefined {
  const members = new Map<string, string>();
  let count = 0;
  for (const part of text.split(',')) {
    const member = trimBlanks(part);
    if (member === '') continue;
    const key = MEMBER.exec(member)?.[1];
    count += 1;
    if (key === undefined || count > MAX_MEMBERS) return undefined;
    if (!members.has(key)) members.set(key, member);
  }
  return withinLimit([...members.values()]) || undefined;
}

/** Whole members are left out: the long ones first, then those at the end. */
function withinLimit(members: string[]): string {
  const isTooLong = (): boolean => members.join(',').length > MAX_LENGTH;
  for (let i = members.length - 1; i >= 0 && isTooLong(); i -= 1) {
    if (members[i]!.length > LONG_MEMBER) members.splice(i, 1);
  }
  while (isTooLong()) members.pop();
  return members.join(',');
}

/** The `tracestate` of a request, with our member in front where there is room for it. */
export function stateOfCall(state: string | undefined, spanId: string, callId: string): string {
  const ours = `${KEY}=${spanId}.${callId}`;
  if (state === undefined || state === '') return ours;
  const isFull = state.length + ours.length + 1 > MAX_LENGTH || state.split(',').length >= MAX_MEMBERS;
  return isFull ? state : `${ours},${state}`;
}

/**
 * The unit of work that a caller with this library names, where it made this very request, and the rest:
 * our member is for one request alone.
 */
export function takeCaller(
  state: string,
  callId: string,
): { readonly spanId: string | undefined; readonly rest: string | undefined } {
  const [own = '', spanId, call] = OURS.exec(state) ?? [];
  return { spanId: call === callId ? spanId : undefined, rest: state.slice(own.length) || undefined };
}
