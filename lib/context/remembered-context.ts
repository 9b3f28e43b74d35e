import type { IncomingMessage } from 'node:http';
import type { RequestContext } from './request-context';
import { sharedName } from '../kernel/protocol';

// A property of the raw request, not a WeakMap: that costs 125 ns a look-up.
const CONTEXT = Symbol.for(sharedName('request'));

/** The request of `node:http`, which every platform has. */
export type RawRequest = IncomingMessage & { [CONTEXT]?: RequestContext };

/** Express's request is the raw one; Fastify's carries it. */
export type PlatformRequest = RawRequest | { readonly raw: RawRequest };

/** An application may keep something of its own in `raw` of an Express request: the bytes of its body, say. */
export function isRaw(request: object): request is RawRequest {
  return 'rawHeaders' in request;
}

export function rawOf(request: PlatformRequest): RawRequest {
  return isRaw(request) ? request : request.raw;
}

/** Ties a context to its request, so that it is found again when a middleware has lost it. */
export function remember(raw: RawRequest, context: RequestContext): void {
  raw[CONTEXT] = context;
}

/** The context that was opened for a request. */
export function rememberedContext(request: PlatformRequest): RequestContext | undefined {
  return rawOf(request)[CONTEXT];
}
