import 'reflect-metadata';
import type { Type } from '@nestjs/common';
import type { ModulesContainer } from '@nestjs/core';
import { oncePerProcess } from '../context/context-storage';
import type { ContextSeed } from '../context/context.service';
import type { UnitsOfWork } from './units-of-work';

type Method = (this: object, ...args: unknown[]) => unknown;

// By provider instance, so that two applications with the same class keep apart; by class for
// instances that Nest makes later (request scope, durable providers).
const owners = oncePerProcess('jobs', () => new WeakMap<object, UnitsOfWork>());

/**
 * Runs a method in a unit of work of its own: for `@nestjs/schedule`, queue processors, event
 * listeners, and whatever else Nest calls without a request. Its result, its errors and its
 * metadata stay as they are.
 *
 * @example
 * @Cron('0 3 * * *')
 * @RunInContext()
 * async nightly() {}
 */
export function RunInContext(seed: ContextSeed = {}): MethodDecorator {
  return (_target, _name, descriptor: PropertyDescriptor) => {
    const method = descriptor.value as Method;
    const wrapped: Method = function (...args) {
      const units = owners.get(this) ?? owners.get(this?.constructor);
      if (units === undefined) return method.apply(this, args);
      const handler = units.handlers.of(this.constructor as Type, wrapped);
      return units.runSeeded(seed, () => method.apply(this, args), handler);
    };
    Object.defineProperty(wrapped, 'name', { value: method.name, configurable: true });
    Object.defineProperty(wrapped, 'length', { value: method.length, configurable: true });
    for (const key of Reflect.getMetadataKeys(method) as unknown[]) {
      Reflect.defineMetadata(key, Reflect.getMetadata(key, method), wrapped);
    }
    descriptor.value = wrapped;
  };
}

/** Tells the decorated methods of an application's providers where they belong. */
export function registerJobs(modules: ModulesContainer, units: UnitsOfWork): void {
  for (const module of modules.values()) {
    for (const wrapper of [...module.providers.values(), ...module.controllers.values()]) {
      const { instance, metatype } = wrapper as { instance: unknown; metatype: unknown };
      if (typeof instance === 'object' && instance !== null) owners.set(instance, units);
      if (typeof metatype === 'function') owners.set(metatype, units);
    }
  }
}
