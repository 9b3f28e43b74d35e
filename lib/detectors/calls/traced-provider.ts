import 'reflect-metadata';
import { types } from 'node:util';
import * as common from '@nestjs/common';
import * as core from '@nestjs/core';
import { ContextLogger } from '../../reporting/context-logger';
import { ContextService } from '../../context/context.service';
import type { Method } from './current-call';
import { tracedMethod } from './traced-method';

/** What `@Injectable()` marks a class with, and what those are marked with that are no mere providers. */
const INJECTABLE = '__injectable__';
const ENTRIES = ['__controller__', 'graphql:resolver_type', 'websockets:is_gateway'] as const;
const MAX_NAME = 100;

/** Nest's own classes and ours; a class that extends one is traced down to it. */
const NOT_TRACED = new Set<unknown>([
  ...Object.values(common),
  ...Object.values(core),
  ContextService,
  ContextLogger,
]);

type Methods = readonly (readonly [key: string, traced: PropertyDescriptor])[];

const methodsByPrototype = new WeakMap<object, Methods>();

/** Puts traced methods on an instance of a provider, in front of those of its class. */
export function traceProvider(instance: unknown): void {
  if (typeof instance !== 'object' || instance === null) return;
  if (types.isProxy(instance) || !Object.isExtensible(instance)) return;
  const prototype: unknown = Object.getPrototypeOf(instance);
  if (typeof prototype !== 'object' || prototype === null) return;
  let methods = methodsByPrototype.get(prototype);
  if (methods === undefined) methodsByPrototype.set(prototype, (methods = methodsOf(prototype)));
  for (const [key, traced] of methods) {
    if (!Object.hasOwn(instance, key)) Object.defineProperty(instance, key, traced);
  }
}

function methodsOf(prototype: object): Methods {
  const type: unknown = prototype.constructor;
  if (typeof type !== 'function' || !isPlainProvider(type)) return [];
  const seen = new Set(['constructor']);
  const methods: [string, PropertyDescriptor][] = [];
  for (let level = prototype; !isEnd(level); level = Object.getPrototypeOf(level) as object) {
    for (const [key, { value }] of Object.entries(Object.getOwnPropertyDescriptors(level))) {
      if (seen.has(key)) continue;
      seen.add(key);
      if (typeof value !== 'function' || isClass(value as Method)) continue;
      const name = `${nameOf(type.name)}.${nameOf(key)}`;
      const traced = tracedMethod(name, prototype, key, value as Method);
      methods.push([key, { value: traced, writable: true, configurable: true, enumerable: false }]);
    }
  }
  return methods;
}

function isPlainProvider(type: object): boolean {
  return Reflect.hasMetadata(INJECTABLE, type) && !ENTRIES.some(entry => Reflect.hasMetadata(entry, type));
}

function isEnd(level: object): boolean {
  // Not `Object.prototype`: what Node itself gives out has another one in a sandbox of Jest.
  if (Object.getPrototypeOf(level) === null) return true;
  return Object.hasOwn(level, 'constructor') && NOT_TRACED.has(level.constructor);
}

function isClass(value: Method): boolean {
  return /^class\b/.test(Function.prototype.toString.call(value));
}

function nameOf(text: string): string {
  return text.slice(0, MAX_NAME) || '(anonymous)';
}
