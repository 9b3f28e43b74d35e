import type { HttpAdapterHost } from '@nestjs/core';
import type { ServerResponse } from 'node:http';
import { contextStorage } from '../context/context-storage';
import { sharedName } from '../kernel/protocol';
import type { RequestContext } from '../context/request-context';
import { type PlatformRequest, type RawRequest, rawOf } from '../context/remembered-context';

const ENTRIES = Symbol.for(sharedName('adapter'));
const ASKED = Symbol.for(sharedName('request-hook'));

/** Express's is the raw one; Fastify's carries it. */
export type PlatformResponse = ServerResponse | { readonly raw: ServerResponse };

/** How one application sees the requests of an adapter. */
export interface RequestEntry {
  /** The context of a request, opened by the first application that is asked; `undefined` for none. Never throws. */
  contextOf(request: PlatformRequest, response: PlatformResponse): RequestContext | undefined;
}

/** What Express and Fastify hand to a request hook: Fastify's carry the raw ones. */
type RequestHook = (
  request: PlatformRequest,
  response: PlatformResponse,
  done: (error?: unknown) => void,
) => unknown;

/** The adapter's one slot for a request hook; both platforms have it, the public type of adapters does not. */
interface HookedAdapter {
  [ENTRIES]?: RequestEntry[];
  onRequestHook?: RequestHook;
  setOnRequestHook?(hook: RequestHook): void;
  use(handler: RequestHook): unknown;
}

/**
 * Shows an application each request of an adapter before any middleware.
 *
 * Several applications may share the adapter, also through several copies of the package: they have one hook,
 * and the first in the list opens the context.
 *
 * @returns what puts it behind the others, when it is closed: its middleware may still run, and needs a context
 */
export function enterRequests(adapter: HttpAdapterHost['httpAdapter'], entry: RequestEntry): () => void {
  const hooked = adapter as unknown as HookedAdapter;
  const known = hooked[ENTRIES];
  const entries = known ?? [];
  entries.push(entry);
  if (known === undefined) {
    Object.defineProperty(adapter, ENTRIES, { value: entries });
    if ('setOnRequestHook' in hooked) takeSlot(hooked, entries);
    else hooked.use((request, response, next) => enter(entries, request, response, next));
  }
  return () => {
    const at = entries.indexOf(entry);
    if (at >= 0) entries.push(...entries.splice(at, 1));
  };
}

/**
 * The slot has room for one function, and `@nestjs/observe` puts its own there: what is in it, or put into it
 * later, runs inside the context.
 */
function takeSlot(adapter: HookedAdapter, entries: readonly RequestEntry[]): void {
  let theirs = adapter.onRequestHook;
  adapter.setOnRequestHook?.((request, response, done) =>
    enter(entries, request, response, () =>
      theirs === undefined ? done() : ask(adapter, theirs, request, response, done),
    ),
  );
  adapter.setOnRequestHook = hook => {
    theirs = hook;
  };
}

function enter(
  entries: readonly RequestEntry[],
  request: PlatformRequest,
  response: PlatformResponse,
  next: () => unknown,
): unknown {
  let context: RequestContext | undefined;
  for (const entry of entries) context = entry.contextOf(request, response) ?? context;
  return context === undefined ? next() : contextStorage.run(context, next);
}

/**
 * Calls the hook of others. It may call the one that it has found in the slot, which is ours: a hook that is
 * asked again while it waits for theirs has nothing left to ask.
 */
function ask(
  adapter: HookedAdapter,
  theirs: RequestHook,
  request: PlatformRequest,
  response: PlatformResponse,
  done: (error?: unknown) => void,
): unknown {
  const raw = rawOf(request) as RawRequest & { [ASKED]?: HookedAdapter | undefined };
  if (raw[ASKED] === adapter) return done();
  raw[ASKED] = adapter;
  return theirs.call(adapter, request, response, error => {
    raw[ASKED] = undefined;
    done(error);
  });
}
