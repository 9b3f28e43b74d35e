import { contextStorage } from '../context/context-storage';
import { sharedName } from '../kernel/protocol';
import type { RequestContext } from '../context/request-context';
import { type PlatformRequest, rememberedContext } from '../context/remembered-context';

type Step = (this: unknown, request: PlatformRequest, ...rest: unknown[]) => unknown;

/** What runs one middleware of Express 5, be it of the application, of a router or for errors. */
interface Layer {
  handleRequest?: Step;
  handleError?: (this: unknown, error: unknown, request: PlatformRequest, ...rest: unknown[]) => unknown;
}

interface Express {
  readonly router: { readonly stack: readonly object[] };
}

interface Fastify {
  addHook(name: string, hook: Step): unknown;
}

type MiddlewareFactory = (path: string, callback: Step) => unknown;

/** The parts of Nest's adapters that are used here. */
interface Adapter {
  getInstance(): Express | Fastify;
  use(...args: unknown[]): unknown;
  createMiddlewareFactory(method: unknown): Promise<MiddlewareFactory>;
}

/** Hooks that are given the request first. */
const HOOKS = new Set([
  'onRequest',
  'preParsing',
  'preValidation',
  'preHandler',
  'preSerialization',
  'onSend',
  'onResponse',
  'onError',
  'onTimeout',
  'onRequestAbort',
]);

const COVERED = Symbol.for(sharedName('middleware'));

/**
 * Runs each middleware and each hook in the context of its request.
 *
 * One that answers from somewhere else (a session store that reads the sessions of many requests at once)
 * calls the next one in the context of another request, and what that sets would be the other's.
 */
export function coverMiddleware(adapter: object): void {
  const { getInstance } = adapter as Partial<Adapter>;
  const instance = getInstance?.call(adapter as Adapter);
  if (instance === undefined) return;
  if ('addHook' in instance) coverFastify(adapter as Adapter, instance);
  else coverExpress(instance);
}

/** The context of a request, where something else runs now. */
function strayed(request: PlatformRequest): RequestContext | undefined {
  const context = rememberedContext(request);
  if (context === undefined || contextStorage.capture() === context) return undefined;
  context.time.runs();
  return context;
}

/** On the prototype: the function of a middleware stays the one that the application has given. */
function coverExpress({ router }: Express): void {
  const prototype = Object.getPrototypeOf(router.stack[0] ?? {}) as Layer & { [COVERED]?: true };
  const { handleRequest, handleError } = prototype;
  if (prototype[COVERED] || handleRequest === undefined || handleError === undefined) return;
  Object.defineProperty(prototype, COVERED, { value: true });
  prototype.handleRequest = function (request, response, next) {
    const context = strayed(request);
    return context === undefined
      ? handleRequest.call(this, request, response, next)
      : contextStorage.run(context, () => handleRequest.call(this, request, response, next));
  };
  prototype.handleError = function (error, request, response, next) {
    const context = strayed(request);
    return context === undefined
      ? handleError.call(this, error, request, response, next)
      : contextStorage.run(context, () => handleError.call(this, error, request, response, next));
  };
}

function coverFastify(adapter: Adapter & { [COVERED]?: true }, instance: Fastify): void {
  // Of another application on the same adapter, or by another copy of the package.
  if (adapter[COVERED]) return;
  Object.defineProperty(adapter, COVERED, { value: true });
  const { addHook } = instance;
  // Plugins have an instance of their own, whose prototype is this one.
  instance.addHook = function (name, hook) {
    return addHook.call(this, name, HOOKS.has(name) && typeof hook === 'function' ? covered(hook) : hook);
  };
  const { use, createMiddlewareFactory } = adapter;
  adapter.use = (...args) =>
    use.apply(
      adapter,
      args.map(arg => (typeof arg === 'function' && arg.length <= 3 ? covered(arg as Step) : arg)),
    );
  adapter.createMiddlewareFactory = async method => {
    const add = await createMiddlewareFactory.call(adapter, method);
    return (path, callback) => add(path, covered(callback));
  };
}

function covered(step: Step): Step {
  const inside: Step = function (request, ...rest) {
    const context = strayed(request);
    return context === undefined
      ? step.call(this, request, ...rest)
      : contextStorage.run(context, () => step.call(this, request, ...rest));
  };
  // Fastify reads from a hook whether it is asynchronous and how many arguments it takes.
  Object.setPrototypeOf(inside, Object.getPrototypeOf(step) as object);
  for (const key of ['name', 'length'] as const) {
    Object.defineProperty(inside, key, { value: step[key], configurable: true });
  }
  return inside;
}
