import type { Type } from '@nestjs/common';
import type { ModulesContainer } from '@nestjs/core';
import { contextStorage } from '../context/context-storage';
import { oncePerProcess } from '../kernel/once-per-process';
import type { Handler } from '../handlers/handlers';
import { type PlatformRequest, rawOf, rememberedContext } from '../context/remembered-context';
import type { UnitsOfWork } from './units-of-work';

type RouteHandler = (request: PlatformRequest, response: unknown, next: unknown) => unknown;
type ModuleRef = { readonly metatype: Type; readonly controllers: ReadonlyMap<unknown, ControllerWrapper> };

interface ControllerWrapper {
  readonly metatype: unknown;
  readonly instance: unknown;
}

/** The parts of Nest's `RouterExplorer` that are used here; Nest 11 and 12 have the same. */
interface RouterExplorer {
  readonly container: { getModules(): ModulesContainer };
  createCallbackProxy(
    instance: object,
    callback: Function,
    methodName: string,
    moduleKey: string,
    requestMethod: unknown,
    contextId?: unknown,
    inquirerId?: string,
  ): RouteHandler;
  createRequestScopedHandler(
    wrapper: ControllerWrapper,
    requestMethod: unknown,
    module: ModuleRef,
    moduleKey: string,
    methodName: string,
  ): RouteHandler;
  applyHostFilter(host: unknown, handler: RouteHandler): RouteHandler;
  applyVersionFilter(router: unknown, route: unknown, handler: RouteHandler): RouteHandler;
}

interface Nest {
  readonly RouterExplorer: { readonly prototype: RouterExplorer };
  /** What stands for "no request" where a handler is made. */
  readonly STATIC_CONTEXT: unknown;
}

const METHODS = [
  'createCallbackProxy',
  'createRequestScopedHandler',
  'applyHostFilter',
  'applyVersionFilter',
] as const;

const covers = oncePerProcess('routes', () => new WeakMap<ModulesContainer, UnitsOfWork>());

/**
 * Runs the handler of each route that an application makes from now on inside its context, and says which
 * handler it is, before its guards. Whether it can: a later Nest may have moved it.
 *
 * In Nest's own explorer: there alone the module, the controller and the method of a route are known. The
 * handler that an adapter is given may be one function for several controllers, and stands behind filters of
 * hosts and versions, which ask it for requests that it never takes.
 *
 * Not a global interceptor: with a storage in use, one adds 8 µs to a request on Node 20 (of the
 * 12 µs that this package then adds to Fastify), because of the promises and observables that Nest
 * makes for it. This adds less than 0.1 µs.
 */
export function coverRoutes(modules: ModulesContainer, units: UnitsOfWork): boolean {
  const nest = loadNest();
  if (nest === undefined) return false;
  covers.set(modules, units);
  oncePerProcess('routes.patch', () => {
    patch(nest);
    return true;
  });
  return true;
}

function patch({ RouterExplorer: { prototype }, STATIC_CONTEXT }: Nest): void {
  const { createCallbackProxy, createRequestScopedHandler, applyHostFilter, applyVersionFilter } = prototype;
  prototype.createCallbackProxy = function (...args) {
    const [instance, , key, moduleKey, , contextId] = args;
    const handle = createCallbackProxy.apply(this, args);
    // One that is made for a request is called by what is covered below. Up to Nest 11.1.27 the explorer leaves the
    // argument out where there is none.
    if (contextId !== undefined && contextId !== STATIC_CONTEXT) return handle;
    const module = this.container.getModules().get(moduleKey) as ModuleRef | undefined;
    return cover(this, handle, module, key, controllerOf(module, instance));
  };
  prototype.createRequestScopedHandler = function (...args) {
    const [{ metatype }, , module, , key] = args;
    return cover(this, createRequestScopedHandler.apply(this, args), module, key, metatype);
  };
  prototype.applyHostFilter = function (host, handler) {
    return noting(applyHostFilter.call(this, host, handler), handler);
  };
  prototype.applyVersionFilter = function (router, route, handler) {
    return noting(applyVersionFilter.call(this, router, route, handler), handler);
  };
}

/** Notes that a filter has been asked; what it stands in front of knows better, if it is reached. */
function noting(filter: RouteHandler, handler: RouteHandler): RouteHandler {
  if (filter === handler) return handler;
  const noted: RouteHandler = (request, response, next) => {
    const context = rememberedContext(request);
    if (context !== undefined) context.isPassedOn = context.handler === undefined;
    return filter(request, response, next);
  };
  // Adapters read the version of a route from it.
  return Object.assign(noted, filter);
}

/** The class that was registered; that of the instance may be another one where a test has overridden it. */
function controllerOf(module: ModuleRef | undefined, instance: object): unknown {
  for (const wrapper of module?.controllers.values() ?? []) {
    if (wrapper.instance === instance) return wrapper.metatype;
  }
  return undefined;
}

function cover(
  explorer: RouterExplorer,
  handle: RouteHandler,
  module: ModuleRef | undefined,
  key: string,
  controller: unknown,
): RouteHandler {
  const units = covers.get(explorer.container.getModules());
  if (units === undefined || typeof controller !== 'function') return handle;
  const handler = units.handlers.of(controller as Type, key, module?.metatype);
  return (request, response, next) => run(units, handler, handle, request, response, next);
}

function run(
  units: UnitsOfWork,
  handler: Handler,
  handle: RouteHandler,
  request: PlatformRequest,
  response: unknown,
  next: unknown,
): unknown {
  const context = rememberedContext(request);
  if (context === undefined || context.isClosed || !context.isOf(units)) {
    return handle(request, response, next);
  }
  // A middleware may have changed it since: what is handled is a `PUT`, whatever was posted.
  context.method = rawOf(request).method;
  context.isPassedOn = false;
  units.setHandler(context, handler);
  if (handler.isWatched) {
    const admitted = units.breakers?.admits(context, handler, [request, response as object, next]) ?? true;
    if (admitted !== true) return admitted.answer;
  }
  context.time.runs();
  if (units.unhandledErrorAnswer !== undefined) context.exchange = [request, response as object, next];
  // A middleware may have lost the context, or run this in that of another request.
  return (context.handling =
    contextStorage.capture() === context
      ? handle(request, response, next)
      : contextStorage.run(context, handle, request, response, next));
}

function loadNest(): Nest | undefined {
  try {
    // Not in the index of the package, but at these paths in Nest 11 and in Nest 12.
    const nest = {
      ...(require('@nestjs/core/router/router-explorer') as Pick<Nest, 'RouterExplorer'>),
      ...(require('@nestjs/core/injector/constants') as Pick<Nest, 'STATIC_CONTEXT'>),
    };
    const { prototype } = nest.RouterExplorer;
    return METHODS.every(name => typeof prototype[name] === 'function') ? nest : undefined;
  } catch {
    // Moved by a later Nest.
    return undefined;
  }
}
