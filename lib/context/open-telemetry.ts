import { createRequire } from 'node:module';
import type { TraceParent } from './trace-parent';

/** The parts of `@opentelemetry/api` that are used here. */
interface Api {
  readonly trace: { getActiveSpan(): { spanContext(): SpanContext } | undefined };
  isSpanContextValid(context: SpanContext): boolean;
}

interface SpanContext {
  readonly traceId: string;
  readonly spanId: string;
  readonly traceFlags: number;
  readonly traceState?: { serialize(): string };
}

/** Where every copy of the API registers what an SDK brings: nothing is there before an SDK has started. */
const REGISTRY = Symbol.for('opentelemetry.js.api.1');
const registry = globalThis as { [REGISTRY]?: { readonly trace?: unknown } };

let api: Api | false | undefined;

/** The active span of OpenTelemetry, where an SDK traces this process. Never throws. */
export function activeSpan(): TraceParent | undefined {
  if (registry[REGISTRY]?.trace === undefined) return undefined;
  api ??= loadApi();
  if (api === false) return undefined;
  try {
    const context = api.trace.getActiveSpan()?.spanContext();
    if (context === undefined || !api.isSpanContextValid(context)) return undefined;
    const { traceId, spanId, traceFlags: flags, traceState } = context;
    return { traceId, spanId, flags, state: traceState?.serialize() };
  } catch {
    return undefined;
  }
}

function loadApi(): Api | false {
  try {
    return createRequire(__filename)('@opentelemetry/api') as Api;
  } catch {
    // An SDK whose API this package cannot reach: it traces for itself.
    return false;
  }
}
