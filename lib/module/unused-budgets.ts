import 'reflect-metadata';
import type { ModulesContainer } from '@nestjs/core';
import { declarationOn } from '../budget/query-budget.decorator';
import { namedMethodsOf } from '../kernel/methods';
import { mayOpenByName, opensUnitOfWork } from '../units/covered-method';

/** Metadata that says nothing about who calls a class or a method: TypeScript's, that of injection, and our own. */
const NEUTRAL = /^(?:design:|self:|optional:|scope:|__injectable__|nestjs-async-context:)/;

/**
 * A warning for each budget that never applies: it stands on a provider, or on a method, that handles nothing.
 *
 * Whether something handles requests, messages or jobs is told by the metadata of whoever calls it (Nest, GraphQL,
 * CQRS, BullMQ, …). Metadata that is not known counts as such, so that no budget in force is called unused.
 */
export function unusedBudgets(modules: ModulesContainer): string[] {
  const warnings = new Set<string>();
  for (const module of modules.values()) {
    for (const { metatype } of module.controllers.values())
      if (typeof metatype === 'function') addUnused(warnings, metatype, true);
    for (const { metatype } of module.providers.values())
      // Nest has each module among its own providers.
      if (typeof metatype === 'function' && isClass(metatype) && metatype !== module.metatype)
        addUnused(warnings, metatype, false);
  }
  return [...warnings];
}

function addUnused(warnings: Set<string>, type: Function, isController: boolean): void {
  const methods = namedMethodsOf(type.prototype);
  const isHandler = ([name, method]: [string, Function]): boolean =>
    opensUnitOfWork(method) || hasCaller(method) || mayOpenByName(type.prototype, name);
  const handles = [...methods].some(isHandler);
  const isCalled = !isController && hasCaller(type);
  const onClass = declarationOn(type);
  if (onClass !== undefined && !isController && !isCalled && !handles)
    warnings.add(`${onClass} has no effect: the class handles no requests, messages or jobs. ${REMEDY}`);
  if (isCalled) return;
  for (const method of methods) {
    const onMethod = isHandler(method) ? undefined : declarationOn(method[1]);
    if (onMethod !== undefined)
      warnings.add(`${onMethod} has no effect: the method is not a handler. ${REMEDY}`);
  }
}

const REMEDY =
  'Put the budget on the controller, resolver, gateway or module, or on its handler; ' +
  'a method that runs work by itself needs @RunInContext()';

function hasCaller(target: Function): boolean {
  return Reflect.getMetadataKeys(target).some(key => !NEUTRAL.test(String(key)));
}

/** A factory is the `metatype` of its provider too. */
function isClass(metatype: Function): boolean {
  return Object.getOwnPropertyDescriptor(metatype, 'prototype')?.writable === false;
}
