import { contextStorage } from '../../context/context-storage';
import type { RequestContext } from '../../context/request-context';
import { noteError, runToEnd } from '../../units/settle';
import { coverConnectionHook } from './graphql-ws';
import type { Operations } from './operations';

type Hook = (...args: unknown[]) => unknown;
type Execute = (...args: unknown[]) => unknown;

/** The context of an operation, as Mercurius makes it. */
interface MercuriusContext {
  readonly reply?: { readonly request?: object };
  /** Of a batch. */
  readonly operationsCount?: number;
}

/** The parts of Fastify that are used here, once Mercurius is registered. */
export interface GraphqlFastify {
  graphql?: Execute & { replaceSchema?: unknown };
  addHook(name: 'onRoute', hook: (route: { wsHandler?: Hook }) => void): unknown;
}

/** Of a connection rather than of an operation. */
const CONNECTION_HOOKS = ['onConnect', 'onDisconnect', 'context'] as const;

/** Gives the hooks of Mercurius' connections units of work of their own. */
export function coverMercuriusHooks(subscription: unknown, operations: Operations): unknown {
  if (typeof subscription !== 'object' || subscription === null) return subscription;
  const covered: Record<string, unknown> = { ...subscription };
  for (const name of CONNECTION_HOOKS) {
    const hook = covered[name];
    if (typeof hook === 'function') covered[name] = coverConnectionHook(operations, name, hook as Hook);
  }
  return covered;
}

/**
 * Lets what happens on a connection forget the request that has opened it: Mercurius reads all messages of a
 * connection in a loop that it begins there.
 */
export function detachConnections(fastify: GraphqlFastify): void {
  fastify.addHook('onRoute', route => {
    const { wsHandler } = route;
    if (wsHandler === undefined) return;
    route.wsHandler = function (this: unknown, ...args: unknown[]) {
      return contextStorage.run(undefined as never, () => wsHandler.apply(this, args));
    };
  });
}

/** Runs what Mercurius executes, over HTTP, batched or over WebSocket, inside the unit of work of the operation. */
export function coverExecutions(fastify: GraphqlFastify, operations: Operations): void {
  const { graphql } = fastify;
  if (typeof graphql !== 'function' || graphql.replaceSchema === undefined) return;
  // Mercurius keeps its schema and its hooks on the function.
  fastify.graphql = new Proxy(graphql, {
    apply: (execute, self, args: unknown[]) => {
      const run = (): unknown => Reflect.apply(execute, self, args);
      const { reply, operationsCount = 1 } = (args[1] ?? {}) as MercuriusContext;
      const request = operations.requestOf(reply?.request);
      if (request === undefined || operationsCount > 1) {
        const context = operations.open(request ?? operations.caller());
        return runToEnd(context, run, operations.close, false);
      }
      // Called by a handler, it is a part of its work.
      operations.mark(request);
      const result = noteFailure(request, contextStorage.run(request, run));
      // It runs on where its client leaves.
      request.handling ??= result;
      return result;
    },
  });
}

/** Errors of fields are noted where they happen; this is one of the syntax, or of the validation. */
function noteFailure(context: RequestContext, result: unknown): unknown {
  if (result instanceof Promise) result.then(undefined, (error: unknown) => noteError(context, error));
  return result;
}
