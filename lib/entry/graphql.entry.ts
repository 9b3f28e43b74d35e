import 'reflect-metadata';
import type { Type } from '@nestjs/common';
import type { ModulesContainer } from '@nestjs/core';
import { types } from 'node:util';
import type { HookErrorReporter } from '../reporting/hook-error-reporter';
import { apolloPlugin } from './graphql/apollo';
import type { Driver, StartOptions } from './graphql/drivers';
import { coverGraphqlWs, type GraphqlWsOptions } from './graphql/graphql-ws';
import {
  coverExecutions,
  coverMercuriusHooks,
  detachConnections,
  type GraphqlFastify,
} from './graphql/mercurius';
import { Operations } from './graphql/operations';
import { SchemaCover } from './graphql/schema-cover';
import { coverFilter } from './graphql/subscription';
import type { Handler } from '../handlers/handlers';
import { namedMethodsOf } from '../kernel/methods';
import type { UnitsOfWork } from '../units/units-of-work';

/** What `@Query()`, `@Mutation()` and `@Subscription()` write on a method. */
const RESOLVER_TYPE = 'graphql:resolver_type';
const RESOLVER_NAME = 'graphql:resolver_name';
/** What `@ResolveField()` writes on one. */
const RESOLVER_PROPERTY = 'graphql:resolve_property';
const ROOT_TYPES: readonly unknown[] = ['Query', 'Mutation', 'Subscription'];

/**
 * Gives each operation and each event of a subscription a unit of work, before guards.
 *
 * Each `GraphQLModule` starts its driver with the schema that it has made and with options that are complete:
 * hooks of the application are known there, and what is added comes beside them.
 */
export function coverGraphql(
  drivers: readonly Driver[],
  modules: ModulesContainer,
  units: UnitsOfWork,
  hookErrors: HookErrorReporter,
): void {
  for (const driver of drivers) {
    hookErrors.guard('GraphQL setup', () => new GraphqlEntry(modules, units, hookErrors).cover(driver));
  }
}

class GraphqlEntry {
  readonly #modules: ModulesContainer;
  readonly #units: UnitsOfWork;
  readonly #hookErrors: HookErrorReporter;
  readonly #operations: Operations;

  constructor(modules: ModulesContainer, units: UnitsOfWork, hookErrors: HookErrorReporter) {
    this.#modules = modules;
    this.#units = units;
    this.#hookErrors = hookErrors;
    this.#operations = new Operations(units);
  }

  /** On the instance, which is this application's: its class is shared. */
  cover(driver: Driver): void {
    const { start, subscriptionWithFilter } = driver;
    driver.start = async options => {
      this.#hookErrors.guard('GraphQL setup', () => this.#prepare(driver, options));
      const started: unknown = await start.call(driver, options);
      this.#hookErrors.guard('GraphQL setup', () => {
        const fastify = fastifyOf(driver);
        if (fastify !== undefined) coverExecutions(fastify, this.#operations);
      });
      return started;
    };
    driver.subscriptionWithFilter = (instance, filter, subscribe) =>
      coverFilter(
        (...covered) => subscriptionWithFilter.call(driver, instance, ...covered),
        filter,
        subscribe,
        !isApolloDriver(driver),
      );
  }

  #prepare(driver: Driver, options: StartOptions): void {
    const isApollo = isApolloDriver(driver);
    const fastify = fastifyOf(driver);
    // Another driver: operations are found by the interceptor, as far as they are.
    if (!isApollo && fastify === undefined) return;
    // A gateway has no resolvers.
    if (options.schema === undefined) return;
    const { roots, resolved } = this.#fieldsOf(options.include ?? []);
    const cover = new SchemaCover(
      this.#operations,
      (type, name) => ({ route: `${type}.${name}`, handler: roots.get(`${type}.${name}`) }),
      {
        resolved,
        // Apollo says which errors there were; Mercurius has put them into words by then.
        all: !isApollo || runsElsewhere(options),
        defaults: isApollo ? options.fieldResolver === undefined : options.jit === undefined,
      },
    );
    cover.cover(options.schema);
    if (fastify !== undefined) {
      options.subscription = coverMercuriusHooks(options.subscription, this.#operations);
      detachConnections(fastify);
      return;
    }
    const plugins = Array.isArray(options.plugins) ? (options.plugins as unknown[]) : [];
    options.plugins = [apolloPlugin(this.#operations), ...plugins];
    this.#prepareGraphqlWs(options);
  }

  #prepareGraphqlWs(options: StartOptions): void {
    const subscriptions =
      options.subscriptions || (options.installSubscriptionHandlers === true && { 'graphql-ws': {} });
    if (!subscriptions || !('graphql-ws' in subscriptions)) return;
    const given = subscriptions['graphql-ws'];
    const own = typeof given === 'object' && given !== null ? (given as GraphqlWsOptions) : {};
    const context = subscriptions['context'] ?? options.context;
    options.subscriptions = {
      ...subscriptions,
      'graphql-ws': coverGraphqlWs({ context, ...own }, this.#operations),
    };
  }

  /** The methods that Nest calls for fields; of two for the same root field it takes the last. */
  #fieldsOf(include: readonly unknown[]): { roots: Map<string, Handler>; resolved: Set<string> } {
    const roots = new Map<string, Handler>();
    const resolved = new Set<string>();
    for (const module of this.#modulesOf(include)) {
      for (const { instance } of module.providers.values()) {
        if (typeof instance !== 'object' || instance === null || types.isProxy(instance)) continue;
        const prototype = Object.getPrototypeOf(instance) as { constructor: Type } | null;
        if (prototype === null || prototype === Object.prototype) continue;
        for (const [key, method] of namedMethodsOf(prototype)) {
          const name = (Reflect.getMetadata(RESOLVER_NAME, method) as string | undefined) ?? key;
          const type: unknown = Reflect.getMetadata(RESOLVER_TYPE, method);
          if (ROOT_TYPES.includes(type)) {
            roots.set(`${String(type)}.${name}`, this.#units.handlers.of(prototype.constructor, key));
          } else if (Reflect.hasMetadata(RESOLVER_PROPERTY, method)) {
            const parent: unknown = type ?? Reflect.getMetadata(RESOLVER_TYPE, prototype.constructor);
            resolved.add(`${String(parent)}.${name}`);
          }
        }
      }
    }
    return { roots, resolved };
  }

  /** What Nest does for `include`: these modules, and what they import. */
  #modulesOf(include: readonly unknown[]): readonly ModuleOfNest[] {
    const all = [...this.#modules.values()];
    if (include.length === 0) return all;
    const found: ModuleOfNest[] = [];
    const toLookAt: ModuleOfNest[] = all.filter(({ metatype }) => include.includes(metatype));
    for (let module = toLookAt.pop(); module !== undefined; module = toLookAt.pop()) {
      if (found.includes(module)) continue;
      found.push(module);
      toLookAt.push(...module.imports);
    }
    return found;
  }
}

type ModuleOfNest = ReturnType<ModulesContainer['values']> extends Iterable<infer M> ? M : never;

/** Whether operations come to Apollo otherwise than one a request. */
function runsElsewhere(options: StartOptions): boolean {
  const { subscriptions, installSubscriptionHandlers, allowBatchedHttpRequests } = options;
  return Boolean(subscriptions) || installSubscriptionHandlers === true || allowBatchedHttpRequests === true;
}

function isApolloDriver(driver: Driver): boolean {
  return typeof driver.registerExpress === 'function';
}

/** What Mercurius is registered with; other drivers have another instance, or none. */
function fastifyOf(driver: Driver): GraphqlFastify | undefined {
  if (isApolloDriver(driver)) return undefined;
  const instance = driver.instance as Partial<GraphqlFastify> | undefined;
  return typeof instance?.addHook === 'function' ? (instance as GraphqlFastify) : undefined;
}
