import type { ModulesContainer } from '@nestjs/core';
import { oncePerProcess } from '../context/context-storage';
import type { UnitsOfWork } from './units-of-work';

// By provider instance, so that two applications with the same class keep apart; by class for
// instances that Nest makes later (request scope, durable providers).
const owners = oncePerProcess('jobs', () => new WeakMap<object, UnitsOfWork>());

/** The application that an object belongs to, as one of its providers. */
export function ownerOf(self: object | undefined): UnitsOfWork | undefined {
  if (self === undefined || self === null) return undefined;
  return owners.get(self) ?? owners.get(self.constructor);
}

/** Tells where the providers of an application belong. */
export function registerProviders(modules: ModulesContainer, units: UnitsOfWork): void {
  for (const owned of ownedBy(modules)) owners.set(owned, units);
}

/** What runs in them from now on runs as if there were no application. */
export function forgetProviders(modules: ModulesContainer, units: UnitsOfWork): void {
  for (const owned of ownedBy(modules)) if (owners.get(owned) === units) owners.delete(owned);
}

function* ownedBy(modules: ModulesContainer): Iterable<object> {
  for (const module of modules.values()) {
    for (const wrapper of [...module.providers.values(), ...module.controllers.values()]) {
      const { instance, metatype } = wrapper as { instance: unknown; metatype: unknown };
      if (typeof instance === 'object' && instance !== null) yield instance;
      if (typeof metatype === 'function') yield metatype;
    }
  }
}
