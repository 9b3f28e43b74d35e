import type { ModulesContainer } from '@nestjs/core';
import type { Schema } from './schema-cover';

/** Of the options of a `GraphQLModule`, complete as its driver is started with them, what is used here. */
export interface StartOptions {
  readonly schema?: Schema;
  readonly include?: readonly unknown[];
  readonly context?: unknown;
  /** Apollo's. */
  plugins?: unknown;
  readonly fieldResolver?: unknown;
  readonly installSubscriptionHandlers?: boolean;
  readonly allowBatchedHttpRequests?: boolean;
  subscriptions?: false | (Record<string, unknown> & { 'graphql-ws'?: unknown });
  /** Mercurius'. */
  subscription?: unknown;
  readonly jit?: unknown;
}

/** What a driver of `@nestjs/graphql` is, the same in Nest 11 and 12. */
export interface Driver {
  readonly instance?: unknown;
  start(options: StartOptions): unknown;
  subscriptionWithFilter(instance: unknown, filter: Hook, createSubscribe: () => Hook): unknown;
  /** Only Apollo's have it. */
  registerExpress?: unknown;
}

type Hook = (this: unknown, ...args: unknown[]) => unknown;

/** The drivers of the `GraphQLModule`s, known by the class that they are provided as. */
export function graphqlDrivers(modules: ModulesContainer): Driver[] {
  const drivers: Driver[] = [];
  for (const module of modules.values()) {
    for (const { token, instance } of module.providers.values()) {
      if (typeof token !== 'function') continue;
      const { prototype } = token as { prototype?: Record<string, unknown> };
      if (typeof prototype?.['subscriptionWithFilter'] !== 'function') continue;
      if (typeof prototype['generateSchema'] === 'function' && instance !== null) {
        drivers.push(instance as Driver);
      }
    }
  }
  return drivers;
}
