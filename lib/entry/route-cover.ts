import 'reflect-metadata';
import type { Type } from '@nestjs/common';
import type { HttpAdapterHost, ModulesContainer } from '@nestjs/core';
import { contextStorage } from '../context/context-storage';
import type { Handler } from './handlers';
import { methodsOf } from './methods';
import { type PlatformRequest, rememberedContext } from './remembered-context';
import type { UnitsOfWork } from './units-of-work';

const ROUTED = 'nestjs-async-context:routed';
/** Nest's metadata of a route and of a controller's prefix. */
const PATH = 'path';
/** What Nest registers routes with: https://docs.nestjs.com/controllers, and WebDAV's. */
const ROUTE_METHODS =
  'get post put delete patch all options head search propfind proppatch mkcol copy move lock unlock query'.split(
    ' ',
  );

type RouteHandler = (request: PlatformRequest, response: unknown, next: unknown) => unknown;
type Register = (...args: unknown[]) => unknown;

/** A controller's method; one that is inherited belongs to several controllers. */
interface Owner {
  readonly controller: Type;
  readonly method: Function;
}

/**
 * Runs every route's handler inside its context and says which handler it is, before its guards.
 *
 * Not a global interceptor: with a storage in use, one adds 8 µs to a request on Node 20 (of the
 * 12 µs that this package then adds to Fastify), because of the promises and observables that Nest
 * makes for it. This adds less than 0.1 µs.
 */
export class RouteCover {
  readonly #units: UnitsOfWork;

  constructor(units: UnitsOfWork) {
    this.#units = units;
  }

  /** Covers the handlers that are registered from now on. */
  install(adapter: HttpAdapterHost['httpAdapter']): void {
    const registrars = adapter as unknown as Record<string, Register | undefined>;
    for (const name of ROUTE_METHODS) {
      const register = registrars[name];
      if (typeof register !== 'function') continue;
      registrars[name] = (...args) => {
        const handler = args.at(-1);
        if (typeof handler === 'function')
          args[args.length - 1] = this.#cover(handler as RouteHandler, args[0]);
        return register.apply(adapter, args);
      };
    }
  }

  #cover(routed: RouteHandler, path: unknown): RouteHandler {
    const owner = ownerOf(routed, String(path));
    if (owner === undefined) return routed;
    const handler = this.#units.handlers.of(owner.controller, owner.method);
    const covered: RouteHandler = (request, response, next) =>
      this.#run(handler, routed, request, response, next);
    // Adapters read the options of a route (its version, its schema) from its handler.
    Object.assign(covered, routed);
    for (const key of Reflect.getMetadataKeys(routed) as unknown[]) {
      Reflect.defineMetadata(key, Reflect.getMetadata(key, routed), covered);
    }
    Object.defineProperty(covered, 'name', { value: routed.name, configurable: true });
    return covered;
  }

  #run(
    handler: Handler,
    routed: RouteHandler,
    request: PlatformRequest,
    response: unknown,
    next: unknown,
  ): unknown {
    const context = rememberedContext(request);
    if (context === undefined || context.application !== this.#units || context.isClosed) {
      return routed(request, response, next);
    }
    this.#units.setHandler(context, handler);
    context.time.runs();
    if (this.#units.lostErrorAnswer !== undefined) context.exchange = [request, response as object, next];
    // A middleware may have lost the context, or run this in that of another request.
    return contextStorage.getStore() === context
      ? routed(request, response, next)
      : contextStorage.run(context, routed, request, response, next);
  }
}

/** Marks the methods of all controllers: Nest copies the metadata of a method to what it registers. */
export function markRoutes(modules: ModulesContainer): void {
  for (const module of modules.values()) {
    for (const { metatype } of module.controllers.values()) {
      if (typeof metatype !== 'function') continue;
      for (const method of methodsOf(metatype)) {
        if (Reflect.hasMetadata(PATH, method)) addOwner(method, { controller: metatype as Type, method });
      }
    }
  }
}

function addOwner(method: Function, owner: Owner): void {
  const owners = (Reflect.getOwnMetadata(ROUTED, method) ?? []) as readonly Owner[];
  if (owners.some(({ controller }) => controller === owner.controller)) return;
  Reflect.defineMetadata(ROUTED, [...owners, owner], method);
}

function ownerOf(routed: RouteHandler, path: string): Owner | undefined {
  const owners = (Reflect.getMetadata(ROUTED, routed) ?? []) as readonly Owner[];
  if (owners.length <= 1) return owners[0];
  // Nest 12 names the function; in 11 the path has to tell.
  return (
    owners.find(({ controller, method }) => routed.name === `${controller.name}.${method.name}`) ??
    owners.find(({ controller }) => prefixesOf(controller).some(prefix => path.includes(`/${prefix}`)))
  );
}

function prefixesOf(controller: Type): string[] {
  const prefix = Reflect.getMetadata(PATH, controller) as string | readonly string[] | undefined;
  return [prefix ?? []]
    .flat()
    .map(one => one.replace(/^\//, ''))
    .filter(one => one !== '');
}
