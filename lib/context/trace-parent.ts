// https://www.w3.org/TR/trace-context-2/#traceparent-header
const VERSION_00 = /^00-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}$/;
// A later version may append fields, each after another dash; version ff is invalid.
const LATER_VERSION = /^(?!00|ff)[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(?:-.*)?$/;
const NO_TRACE = '0'.repeat(32);
const NO_PARENT = '0'.repeat(16);

/** The trace id of a W3C `traceparent`, or `undefined` when the header is absent or malformed. */
export function parseTraceId(traceparent: unknown): string | undefined {
  if (typeof traceparent !== 'string') return undefined;
  const match = VERSION_00.exec(traceparent) ?? LATER_VERSION.exec(traceparent);
  if (match === null || match[1] === NO_TRACE || match[2] === NO_PARENT) return undefined;
  return match[1];
}
