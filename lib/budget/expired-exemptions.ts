import type { ModulesContainer } from '@nestjs/core';
import { endOfExemption } from './budget-limits';
import { declaredExemption } from './query-budget.decorator';

/** A line for each exemption of the application that no longer exempts. */
export function expiredExemptions(modules: ModulesContainer, now: number): string[] {
  const lines = new Set<string>();
  for (const module of modules.values()) {
    const wrappers = [...module.controllers.values(), ...module.providers.values()];
    for (const target of [module.metatype, ...wrappers.map(({ metatype }) => metatype)]) {
      if (typeof target === 'function') addExpired(lines, target, now);
    }
  }
  return [...lines];
}

function addExpired(lines: Set<string>, target: Function, now: number): void {
  for (const owner of [target, ...methodsOf(target)]) {
    const declared = declaredExemption(owner);
    if (declared === undefined || now < endOfExemption(declared.value)) continue;
    const { issue, owner: who, until } = declared.value;
    lines.add(
      `@QueryBudget.exempt on ${declared.where} ended on ${until} and no longer exempts: settle ${issue}` +
        `${who === undefined ? '' : ` (${who})`}, then remove it or renew it.`,
    );
  }
}

function methodsOf(target: Function): object[] {
  const methods: object[] = [];
  for (
    let proto: unknown = target.prototype;
    proto && proto !== Object.prototype;
    proto = Object.getPrototypeOf(proto)
  ) {
    for (const { value } of Object.values(Object.getOwnPropertyDescriptors(proto))) {
      if (typeof value === 'function' && value !== target) methods.push(value as object);
    }
  }
  return methods;
}
