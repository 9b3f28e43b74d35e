import { hasOpenTelemetry, isSuppressed } from '../w3c/open-telemetry';
import { contextStorage } from '../context/context-storage';
import { oncePerProcess } from '../kernel/once-per-process';
import type { RequestContext } from '../context/request-context';
import { captureStack, framesOf } from '../kernel/call-site';
import type { StackBoundary } from '../cost/query-handle';
import { loadedCopies } from '../kernel/loaded-copies';
import { loadedPackages } from '../kernel/loaded-files';

/** Packages that send what they have seen of an application to a server of their own. */
const AGENTS = inPackages(
  'dd-trace',
  '@sentry/',
  'newrelic',
  'elastic-apm-node',
  '@opentelemetry/(?:sdk-|otlp-|exporter-)',
  '@nestjs/observe',
  '@azure/monitor-opentelemetry',
  '@instana/collector',
);
/** Their files that send. Not those that wrap a client: these are on the stacks of the application as well. */
const EXPORTERS = inPackages(
  'dd-trace/packages/dd-trace/src/(?:exporters|opentelemetry/otlp|profiling/exporters|remote_config|telemetry|llmobs/writers|debugger|dogstatsd)',
  '@sentry/.+/transports/',
  'newrelic/lib/(?:collector|utilization|grpc)',
  'elastic-apm-node/lib/(?:apm-client|cloud-metadata)',
  '@opentelemetry/(?:otlp-|exporter-|sdk-.+/export/)',
  '@nestjs/observe/dist/(?:agent|profiling)',
  '@azure/monitor-opentelemetry-exporter/',
  '@instana/collector/src/',
);
/** A stack costs 5 µs: a host that so many calls of the application went to is asked for none. */
const ENOUGH = 20;
const MAX_TARGETS = 1_000;

interface DatadogStorage {
  getStore(): { readonly noop?: boolean } | undefined;
}

interface Shared {
  hasAgent: boolean;
  datadog: readonly DatadogStorage[];
  /** By target: calls of the application before the first one of an agent. */
  readonly calls: Map<string, number>;
  /** Units of work that were opened where tracing is suppressed: what they do is not an agent's. */
  readonly untraced: WeakSet<RequestContext>;
}

/** The copy of the package that opens a unit of work need not be the one that covers its calls. */
const shared = oncePerProcess<Shared>('agents', () => ({
  hasAgent: false,
  datadog: [],
  calls: new Map(),
  untraced: new WeakSet(),
}));

/** Looks for agents among what has been loaded: where there is none, nothing is asked later on. */
export function findAgents(): void {
  shared.hasAgent ||=
    hasOpenTelemetry() ||
    '__SENTRY__' in globalThis ||
    [...loadedPackages()].some(name => AGENTS.test(`/node_modules/${name}/`));
  shared.datadog = loadedCopies('dd-trace', 'packages/datadog-core/index.js').flatMap(copy => {
    const { storage } = copy as { storage?: (name: string) => DatadogStorage };
    return typeof storage === 'function' ? storage('legacy') : [];
  });
}

/** Remembers a unit of work that begins where tracing is suppressed, as OpenTelemetry does for routes it is to ignore. */
export function noteOpened(context: RequestContext): void {
  if (shared.hasAgent && isQuiet()) shared.untraced.add(context);
}

/**
 * Whether an HTTP call is what an agent sends for itself: it asks that its own calls are not traced, or a file of
 * its that sends is on the stack. Its timers and sockets are made inside of requests, which have no part in that.
 */
export function isOfAgent(target: string, stackBoundary: StackBoundary): boolean {
  if (!shared.hasAgent) return false;
  if (isQuiet()) {
    const context = contextStorage.getStore();
    if (context === undefined || !shared.untraced.has(context)) return true;
  }
  const { calls } = shared;
  const known = calls.get(target) ?? 0;
  if (known >= ENOUGH) return false;
  if (framesOf(captureStack(stackBoundary)).some(frame => EXPORTERS.test(frame.getFileName() ?? ''))) {
    calls.set(target, -Infinity);
    return true;
  }
  if (calls.size >= MAX_TARGETS) calls.clear();
  calls.set(target, known + 1);
  return false;
}

/** Whether whoever runs has asked that nothing it does is traced. */
function isQuiet(): boolean {
  return isSuppressed() || shared.datadog.some(storage => storage.getStore()?.noop === true);
}

function inPackages(...names: string[]): RegExp {
  const pattern = names.map(name => name.replaceAll('/', String.raw`[\\/]`)).join('|');
  return new RegExp(String.raw`[\\/]node_modules[\\/](?:${pattern})`);
}
