import type { ModulesContainer } from '@nestjs/core';
import { methodsOf } from '../kernel/methods';
import { endOfDay } from './budget-limits';
import { declaredExemption, declaredIgnores } from './query-budget.decorator';

/** A line for each exemption that no longer exempts, and for each ignored shape that no longer is. */
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
    if (declared !== undefined && now >= endOfDay(declared.value.until)) {
      const { issue, owner: who, until } = declared.value;
      lines.add(
        `@QueryBudget.exempt on ${declared.where} expired on ${until} and no longer applies: resolve ${issue}` +
          `${who === undefined ? '' : ` (${who})`}, then remove or renew it`,
      );
    }
    for (const { value, where } of declaredIgnores(owner)) {
      if (now < endOfDay(value.until)) continue;
      lines.add(
        `@QueryBudget.ignore on ${where} expired on ${value.until} and no longer ignores ${value.shape}: ` +
          `fix the repeats (${value.reason}), then remove or renew it`,
      );
    }
  }
}
