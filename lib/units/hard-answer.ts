import { type ArgumentsHost, HttpException } from '@nestjs/common';
import { isOfStop } from '../budget/stop-cause';
import { knownStop } from '../budget/work-stop';
import { contextStorage } from '../context/context-storage';
import { oncePerProcess } from '../kernel/once-per-process';
import type { ContextKind, RequestContext } from '../context/request-context';
import { refusalError } from '../guards/refusal-error';
import { loadMicroservices } from '../propagation/messages/microservices';
import { type PlatformRequest, rememberedContext } from '../context/remembered-context';

/** Says nothing of the application: no statement, no table, no limit. */
const MESSAGE = 'The request was stopped because it exceeded a limit';

type ErrorClass = abstract new (...args: never[]) => object;

/** What Nest gives errors to, of each transport; an exception filter of the application is in its list. */
interface ErrorsHandler {
  readonly filters?: readonly { readonly exceptionMetatypes?: readonly unknown[] }[];
  next?(error: unknown, host: ArgumentsHost, ...rest: unknown[]): unknown;
  handle?(error: unknown, host: ArgumentsHost, ...rest: unknown[]): unknown;
}

/**
 * The error that answers a unit of work which was stopped by a hard limit: that its transport expects, with the
 * given one as `cause`, where that comes of the stop.
 *
 * Any other error stays as it is: it is a fault, and Nest logs its stack. So does what the application means for its
 * client (an `HttpException`, an `RpcException`, an error with a `statusCode`), and what an exception filter is
 * declared for by its class.
 */
export function hardAnswer(error: unknown, host: unknown, handler: ErrorsHandler): unknown {
  const context = contextOf(host);
  const stop = context && knownStop(context);
  if (stop?.breach === undefined || isMeant(error) || hasFilter(handler, error) || !isOfStop(error))
    return error;
  const type = (host as Partial<ArgumentsHost>).getType?.<string>() ?? 'http';
  const answer = refusalError(type, { reason: 'hard-budget', status: stop.status, message: MESSAGE });
  Object.defineProperty(answer, 'cause', { value: error, configurable: true, writable: true });
  return answer;
}

/**
 * The same for GraphQL, messages and WebSockets: once a process, when a unit of work of that kind has a hard limit.
 * Not at the start: what is installed and not used is not loaded.
 */
export function answerHardErrors(kind: ContextKind): void {
  const handler = HANDLERS[kind] ?? OUTSIDE_OF_ROUTES;
  oncePerProcess(`hard.answer.${handler.name}`, () => {
    const { name, method } = handler;
    const prototype = load(handler.from)?.[name]?.prototype;
    const original = prototype?.[method];
    if (prototype === undefined || original === undefined) return false;
    prototype[method] = function (this: ErrorsHandler, error, host, ...rest) {
      return original.call(this, hardAnswer(error, host, this), host, ...rest);
    };
    return true;
  });
}

type Loaded = Record<string, { prototype: ErrorsHandler } | undefined>;

interface HandlerClass {
  readonly name: string;
  readonly method: 'next' | 'handle';
  readonly from: () => Loaded;
}

// Not in the indices of their packages, but at these paths in Nest 11 and in Nest 12. Literal, for bundlers.
/** GraphQL, also in the context of its HTTP request; routes have one of their own, see `noteErrorsOfRequests()`. */
const OUTSIDE_OF_ROUTES: HandlerClass = {
  name: 'ExternalExceptionsHandler',
  method: 'next',
  from: () => require('@nestjs/core/exceptions/external-exceptions-handler') as Loaded,
};
const HANDLERS: Partial<Record<ContextKind, HandlerClass>> = {
  rpc: {
    name: 'RpcExceptionsHandler',
    method: 'handle',
    from: () => require('@nestjs/microservices/exceptions/rpc-exceptions-handler') as Loaded,
  },
  websocket: {
    name: 'WsExceptionsHandler',
    method: 'handle',
    from: () => require('@nestjs/websockets/exceptions/ws-exceptions-handler') as Loaded,
  },
};
const loadWebsockets = (): Record<string, unknown> =>
  require('@nestjs/websockets') as Record<string, unknown>;

function load<T>(from: () => T): T | undefined {
  try {
    return from();
  } catch {
    // Not installed, or moved by a later Nest.
    return undefined;
  }
}

/** A middleware, or a driver, may have lost it. */
function contextOf(host: unknown): RequestContext | undefined {
  const current = contextStorage.getStore();
  if (current !== undefined) return current;
  const { getType, getArgByIndex } = (host ?? {}) as Partial<ArgumentsHost>;
  if (getType === undefined || getType.call(host) !== 'http') return undefined;
  const request: unknown = getArgByIndex?.call(host, 0);
  return typeof request === 'object' && request !== null
    ? rememberedContext(request as PlatformRequest)
    : undefined;
}

function isMeant(error: unknown): boolean {
  if (error instanceof HttpException) return true;
  if (typeof (error as { statusCode?: unknown } | null | undefined)?.statusCode === 'number') return true;
  const transports: unknown[] = [
    loadMicroservices()?.['RpcException'],
    load(loadWebsockets)?.['WsException'],
  ];
  return transports.some(one => typeof one === 'function' && error instanceof one);
}

function hasFilter({ filters = [] }: ErrorsHandler, error: unknown): boolean {
  return filters.some(({ exceptionMetatypes = [] }) =>
    exceptionMetatypes.some(
      one => typeof one === 'function' && one !== Error && error instanceof (one as ErrorClass),
    ),
  );
}
