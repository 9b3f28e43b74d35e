import type { ModulesContainer } from '@nestjs/core';
import { methodsOf } from '../entry/methods';
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
