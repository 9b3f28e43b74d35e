import { executionAsyncId, executionAsyncResource } from 'node:async_hooks';
import { Socket } from 'node:net';
import { isBundled, isOwnFile } from '../../kernel/own-files';
import { contextStorage } from '../../context/context-storage';
import type { RequestContext } from '../../context/request-context';
import { isOfAnother, takeThrown } from '../../context/thrown-context';
import type { ErrorOrigin } from './unhandled-error-report';

/** What Node does once for who asks, and tells by one callback: a file, a name, something of `crypto`. */
const REQUEST = /(?:ReqCallback|ReqWrap|Job)$/;
const FRAME = /^ {4}at (?:(.*) \()?(.+?):\d+(?::\d+)?\)?$/;
/** Code of Node that calls whoever listens: to a stream, a socket, a worker, a signal to abort, … */
const OF_EVENTS =
  /^node:(?:net|dgram|zlib|readline|stream|https?2?|_\w+|internal\/(?:\w*streams?\w*|webstreams|event_target|abort_controller|net|tls|http2|dgram|worker|cluster|child_process|per_context|fs\/(?:streams|watchers))\b)/;
const QUEUE = /^node:internal\/(?:process\/task_queues|timers)$/;
const PACKAGE = /[\\/]node_modules[\\/]/;
const OPENING: ReadonlySet<string> = new Set(['connect', 'getaddrinfo']);
const MAX_STACK = 32_768;

/**
 * The unit of work that an error belongs to which nobody awaits; `undefined` where that is not certain.
 * Asked for in the event of Node, while what has thrown is still known.
 */
export function whoseError(error: unknown, origin: ErrorOrigin): RequestContext | undefined {
  if (origin === 'uncaughtException') {
    const noted = takeThrown(error);
    if (noted !== undefined) return noted.origin;
  }
  if (isFailedOpening(error)) return contextStorage.opener();
  // Of a rejection this is who made the promise, and from Node 24 on who rejected it.
  const context = contextStorage.certain(contextStorage.capture());
  if (context === undefined || isOfAnother(error, context)) return undefined;
  return origin === 'unhandledRejection' || wasAskedFor(error) ? context : undefined;
}

/**
 * Whether the callback that has thrown is one that Node was asked for, and that it calls once for who
 * asked. The others are events: of a worker, a watcher, a server, and whoever listens has the context of
 * who made it.
 */
function wasAskedFor(error: unknown): boolean {
  const resource = executionAsyncResource();
  const kind = kindOf(resource);
  const frames = framesOf(error);
  // A socket makes its timeout of a timer.
  if (kind === 'Timeout' || kind === 'Immediate') return !frames.some(isOfEvent);
  // Streams and drivers call back in these, whoever it is for, and an error that was caught is thrown
  // again there: so it must have been made in the very call, by the application's own code.
  const last = frames.at(-1);
  if (last === undefined || frames.some(frame => isOfEvent(frame) || isOfPackage(frame))) return false;
  // Nothing tells the application's frames from those of its packages there.
  if (isBundled) return false;
  // A microtask has no resource of its own.
  if (kind === 'TickObject' || executionAsyncId() === 0) return QUEUE.test(last.file);
  return REQUEST.test(kind) && last.name.startsWith(`${kind}.`);
}

/** The `'error'` event of a connection that could not be opened, without a listener: no code of others ran. */
function isFailedOpening(error: unknown): boolean {
  const [socket, cause] = argsOf(executionAsyncResource());
  if (cause !== error || !(socket instanceof Socket) || socket.listenerCount('error') > 0) return false;
  // Of a name with several addresses there are several.
  const [one = error] = error instanceof AggregateError ? (error.errors as unknown[]) : [];
  return one instanceof Error && OPENING.has((one as NodeJS.ErrnoException).syscall ?? '');
}

/** Of a callback for the next tick. */
function argsOf(resource: { args?: unknown }): readonly unknown[] {
  return Array.isArray(resource.args) ? (resource.args as unknown[]) : [];
}

function kindOf(resource: object): string {
  if ('callback' in resource && 'args' in resource) return 'TickObject';
  return resource.constructor?.name ?? '';
}

interface Frame {
  readonly name: string;
  readonly file: string;
}

/** Nearest first; none of what is no error, or cannot be looked at. */
function framesOf(error: unknown): Frame[] {
  try {
    if (!(error instanceof Error) || typeof error.stack !== 'string') return [];
    const lines = error.stack.slice(-MAX_STACK).split('\n');
    return lines.flatMap(line => {
      const [, name = '', file] = FRAME.exec(line) ?? [];
      return file === undefined || isOwnFile(file) ? [] : [{ name, file }];
    });
  } catch {
    // A getter or a proxy of the application.
    return [];
  }
}

function isOfEvent({ file }: Frame): boolean {
  return OF_EVENTS.test(file);
}

function isOfPackage({ file }: Frame): boolean {
  return PACKAGE.test(file);
}
