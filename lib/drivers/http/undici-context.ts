import { AsyncResource } from 'node:async_hooks';
import { type ChargeRedirect, currentRedirect, runAgain } from '../../context/charge-redirect';
import { contextStorage } from '../../context/context-storage';
import type { Captured } from '../../context/context-store';
import { runAndNote } from '../../context/thrown-context';
import { listen } from '../../context/channels';
import { loadedCopies } from '../../kernel/loaded-copies';
import { replaceMethod } from '../../kernel/method-replacement';
import { shareHook } from '../../instrumentation/shared-hooks';
import type { UndiciRequest } from './undici-request';
import { sharedName } from '../../kernel/protocol';

type AnyMethod = (this: unknown, ...args: unknown[]) => unknown;
type Push = (this: unknown, item: { handler?: object } | undefined) => unknown;
type Dispatch = (this: unknown, options: unknown, handler: object) => unknown;

/** Kept on the request itself, also for another copy of this package. */
const CALLER = Symbol.for(sharedName('undici.caller'));

/** Who made a request, so that its handler, and what that sends next, can be brought back. */
interface Caller {
  readonly captured: Captured;
  readonly redirect: ChargeRedirect | undefined;
}

type CalledRequest = UndiciRequest & { [CALLER]?: Caller };

/** How a request calls its handler, up to undici 7 and from 8 on: before there is a body, … */
const BEFORE_BODY = [
  'onConnect',
  'onHeaders',
  'onUpgrade',
  'onRequestStart',
  'onResponseStart',
  'onRequestUpgrade',
];
/** … and then: what listens to the body is called from here. */
const WITH_BODY = ['onData', 'onComplete', 'onError', 'onResponseData', 'onResponseEnd', 'onResponseError'];

/** By handler: a pool keeps it, and its options, until a connection is free. */
const waiting = new WeakMap<object, Caller>();
let hasWaited = false;

/**
 * Brings what `undici` does later back to who asked for it.
 *
 * A request that waited for a full pool is made in the context of the request that released the
 * connection: 18 of 20 over 2 connections (undici up to 7). A redirect or a retry is made in that of
 * the request that opened the connection, because a handler is called from the socket.
 */
export function repairUndici(user: string, warn: (message: string) => void): (() => void)[] {
  return shareHook('undici', user, () => install(warn));
}

function install(warn: (message: string) => void): (() => void)[] {
  const requests = loadedCopies('undici', 'lib/core/request.js');
  const queues = loadedCopies('undici', 'lib/dispatcher/fixed-queue.js');
  const dispatchers = loadedCopies('undici', 'lib/dispatcher/dispatcher-base.js');
  if (queues.length < requests.length || dispatchers.length < requests.length) {
    warn(
      'with this version of undici, an HTTP request that waits for the pool may be charged to another unit of work',
    );
  }
  return [
    ...listen('undici context', 'undici:request:create', noteCaller),
    ...queues.flatMap(copy => replaceMethod<Push>(prototypeOf(copy), 'push', rememberCaller)),
    ...dispatchers.flatMap(copy => replaceMethod<Dispatch>(prototypeOf(copy), 'dispatch', asItsCaller)),
    ...requests.flatMap(copy => [
      ...BEFORE_BODY.flatMap(name => replaceMethod<AnyMethod>(prototypeOf(copy), name, unlessByItself)),
      ...WITH_BODY.flatMap(name => replaceMethod<AnyMethod>(prototypeOf(copy), name, inItsContext)),
    ]),
  ];
}

function noteCaller({ request }: { readonly request: CalledRequest }): void {
  // It opens the tunnel of a ProxyAgent, as a TCP connection is opened: by whoever comes first.
  if (request.method === 'CONNECT') return;
  request[CALLER] = { captured: contextStorage.capture(), redirect: currentRedirect() };
}

/** A pool that is full keeps the request: the application is still on the stack. */
function rememberCaller(original: Push): Push {
  return function push(item) {
    if (typeof item?.handler === 'object') {
      hasWaited = true;
      waiting.set(item.handler, { captured: contextStorage.capture(), redirect: currentRedirect() });
    }
    return original.call(this, item);
  };
}

/** A pool gives what it kept to a client, or one pool to the next. */
function asItsCaller(original: Dispatch): Dispatch {
  return function dispatch(options, handler) {
    const caller = hasWaited ? waiting.get(handler) : undefined;
    if (caller === undefined) return original.call(this, options, handler);
    waiting.delete(handler);
    return runAs(caller, () => original.call(this, options, handler));
  };
}

/** `request()`, `stream()` and their like call back in the right context already; each change costs 0.6 µs. */
function unlessByItself(original: AnyMethod): AnyMethod {
  const brought = inItsContext(original);
  return function (...args) {
    const isByItself = handlerOf(this as UndiciRequest) instanceof AsyncResource;
    return (isByItself ? original : brought).apply(this, args);
  };
}

let handlerKey: symbol | undefined;

/** It is kept under a symbol; where that is another one, this is `undefined`. */
function handlerOf(request: UndiciRequest): unknown {
  handlerKey ??= Object.getOwnPropertySymbols(request).find(({ description }) => description === 'handler');
  return handlerKey === undefined ? undefined : (request as unknown as Record<symbol, unknown>)[handlerKey];
}

function inItsContext(original: AnyMethod): AnyMethod {
  return function (...args) {
    const caller = (this as CalledRequest)[CALLER];
    if (caller === undefined) return original.apply(this, args);
    if (contextStorage.capture() === caller.captured && currentRedirect() === caller.redirect) {
      return original.apply(this, args);
    }
    return runAs(caller, () => original.apply(this, args));
  };
}

function runAs<T>({ captured, redirect }: Caller, fn: () => T): T {
  if (redirect === currentRedirect()) return runAndNote(captured, fn);
  return runAndNote(captured, () => runAgain(redirect, fn));
}

function prototypeOf(copy: unknown): object {
  return (copy as { prototype: object }).prototype;
}
