import type { TraceParent } from './trace-parent';

/** The parts of `@opentelemetry/api` that are used here. */
interface Api {
  readonly trace: {
    getActiveSpan(): { spanContext(): SpanContext } | undefined;
    getSpanContext(context: object): SpanContext | undefined;
    setSpanContext(context: object, span: SpanContext): object;
  };
  readonly context: { active(): object; with<T>(context: object, fn: () => T): T };
  readonly propagation: {
    inject(context: object, carrier: Record<string, string>): void;
    extract(context: object, carrier: object): object;
  };
  isSpanContextValid(context: SpanContext): boolean;
  createTraceState(text: string): TraceState;
}

interface TraceState {
  serialize(): string;
}

interface SpanContext {
  readonly traceId: string;
  readonly spanId: string;
  readonly traceFlags: number;
  readonly traceState?: TraceState;
  /** Whether it is a span of another process. */
  readonly isRemote?: boolean;
}

/** Where every copy of the API registers what an SDK brings: nothing is there before an SDK has started. */
const REGISTRY = Symbol.for('opentelemetry.js.api.1');
const registry = globalThis as {
  [REGISTRY]?: {
    readonly trace?: unknown;
    readonly propagation?: unknown;
    readonly context?: { active(): { getValue(key: symbol): unknown } };
  };
};
/** https://github.com/open-telemetry/opentelemetry-js/blob/main/packages/opentelemetry-core/src/trace/suppress-tracing.ts */
const SUPPRESSED = Symbol.for('OpenTelemetry SDK Context Key SUPPRESS_TRACING');

let api: Api | false | undefined;

/** Whether anything of OpenTelemetry is in use in this process. */
export function hasOpenTelemetry(): boolean {
  return registry[REGISTRY] !== undefined;
}

/** Whether an SDK of OpenTelemetry traces this process. */
export function isTraced(): boolean {
  return registry[REGISTRY]?.trace !== undefined;
}

/** Whether what runs has asked not to be traced, as exporters do for what they send. Never throws. */
export function isSuppressed(): boolean {
  try {
    return registry[REGISTRY]?.context?.active().getValue(SUPPRESSED) === true;
  } catch {
    return false;
  }
}

/** The active span of OpenTelemetry, where an SDK traces this process. Never throws. */
export function activeSpan(): TraceParent | undefined {
  if (!isTraced()) return undefined;
  return withApi(({ trace, isSpanContextValid }) => {
    const context = trace.getActiveSpan()?.spanContext();
    // A span of another process is the parent of what is done here, and not itself at work here.
    if (context === undefined || context.isRemote === true || !isSpanContextValid(context)) return undefined;
    return toParent(context);
  });
}

/**
 * What the propagators of OpenTelemetry send of the span that is active, or of `own` where none is;
 * `undefined` where none are registered. Never throws.
 */
export function injectSpan(own: TraceParent): Record<string, string> | undefined {
  if (registry[REGISTRY]?.propagation === undefined) return undefined;
  return withApi(({ trace, context, propagation, createTraceState }) => {
    let from = context.active();
    if (activeSpan() === undefined) {
      const { traceId, spanId, flags: traceFlags, state } = own;
      const traceState = state === undefined ? {} : { traceState: createTraceState(state) };
      from = trace.setSpanContext(from, { traceId, spanId, traceFlags, ...traceState });
    }
    const carrier: Record<string, string> = {};
    propagation.inject(from, carrier);
    return carrier;
  });
}

/** A context of OpenTelemetry that has arrived. */
export interface ExtractedContext {
  readonly parent: TraceParent | undefined;
  /** Runs `fn` in it, so that the spans that it makes have their parent. */
  run<T>(fn: () => T): T;
}

/** What the propagators of OpenTelemetry find in a carrier; `undefined` where none are registered. Never throws. */
export function extractContext(carrier: unknown): ExtractedContext | undefined {
  if (registry[REGISTRY]?.propagation === undefined) return undefined;
  if (typeof carrier !== 'object' || carrier === null) return undefined;
  return withApi(({ trace, context, propagation, isSpanContextValid }) => {
    const extracted = propagation.extract(context.active(), carrier);
    const span = trace.getSpanContext(extracted);
    const isParent = span?.isRemote === true && isSpanContextValid(span);
    return {
      parent: isParent ? toParent(span) : undefined,
      run: fn => context.with(extracted, fn),
    };
  });
}

function toParent({ traceId, spanId, traceFlags: flags, traceState }: SpanContext): TraceParent {
  return { traceId, spanId, flags, state: traceState?.serialize() };
}

function withApi<T>(use: (api: Api) => T): T | undefined {
  api ??= loadApi();
  if (api === false) return undefined;
  try {
    return use(api);
  } catch {
    return undefined;
  }
}

function loadApi(): Api | false {
  try {
    return require('@opentelemetry/api') as Api;
  } catch {
    // An SDK whose API this package cannot reach: it traces for itself.
    return false;
  }
}
