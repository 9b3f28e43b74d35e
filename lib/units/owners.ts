import type { ModulesContainer } from '@nestjs/core';
import { contextStorage } from '../context/context-storage';
import { oncePerProcess } from '../kernel/once-per-process';
import type { UnitsOfWork } from './units-of-work';

// By provider instance, so that two applications with the same class keep apart; by class for
// instances that Nest makes later (request scope, durable providers).
const owners = oncePerProcess('jobs', () => new WeakMap<object, UnitsOfWork>());
const ownersOfClass = oncePerProcess('jobs.classes', () => new WeakMap<object, Set<UnitsOfWork>>());

/** The application that an object belongs to, as one of its providers. */
export function ownerOf(self: object | undefined): UnitsOfWork | undefined {
  if (self === undefined || self === null) return undefined;
  const owner = owners.get(self);
  if (owner !== undefined) return owner;
  const all = [...(ownersOfClass.get(self.constructor) ?? [])];
  if (all.length < 2) return all[0];
  // Two applications have the class: it was made for the work that runs, as far as that can be told.
  const application = contextStorage.getStore()?.application;
  return all.find(one => one === application) ?? all.at(-1);
}

/** Which of some applications a class is a provider of; where that is not known, the first. */
export function ownerAmong<T extends object>(applications: readonly T[], type: object): T | undefined {
  const [first, second] = applications;
  if (second === undefined) return first;
  const owning: ReadonlySet<object> | undefined = ownersOfClass.get(type);
  return applications.find(one => owning?.has(one)) ?? first;
}

/** Tells where the providers of an application belong. */
export function registerProviders(modules: ModulesContainer, units: UnitsOfWork): void {
  for (const owned of ownedBy(modules)) {
    if (typeof owned === 'object') owners.set(owned, units);
    else ownersOfClass.set(owned, (ownersOfClass.get(owned) ?? new Set()).add(units));
  }
}

/** What runs in them from now on runs as if there were no application. */
export function forgetProviders(modules: ModulesContainer, units: UnitsOfWork): void {
  for (const owned of ownedBy(modules)) {
    if (owners.get(owned) === units) owners.delete(owned);
    ownersOfClass.get(owned)?.delete(units);
  }
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
