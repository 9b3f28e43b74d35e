import type { ExecutionContext, Type } from '@nestjs/common';
import { nameOf } from '../guard-kit-token';
import type { CostLimitPolicy } from './cost-limit-policy';
import { declaredCostLimit } from './declared-cost-limit';
import { RecentCosts } from './recent-costs';

/** A handler under a policy. */
export interface LimitedHandler {
  readonly name: string;
  readonly policy: CostLimitPolicy;
  /** Whether it declares the policy, or its class. */
  readonly isDeclared: boolean;
  readonly costs: RecentCosts;
}

/** Finds the policy of each handler once: its own, that of its class, that of the module. */
export class LimitedHandlers {
  readonly #default: CostLimitPolicy | undefined;
  readonly #found = new WeakMap<Function, WeakMap<Type, LimitedHandler | typeof NO_LIMIT>>();

  constructor(byDefault: CostLimitPolicy | undefined) {
    this.#default = byDefault;
  }

  of(execution: ExecutionContext): LimitedHandler | undefined {
    const method = execution.getHandler();
    const type = execution.getClass<unknown>() as Type;
    let ofMethod = this.#found.get(method);
    if (ofMethod === undefined) this.#found.set(method, (ofMethod = new WeakMap()));
    let found = ofMethod.get(type);
    if (found === undefined) ofMethod.set(type, (found = this.#find(execution) ?? NO_LIMIT));
    return found === NO_LIMIT ? undefined : found;
  }

  #find(execution: ExecutionContext): LimitedHandler | undefined {
    const declared = declaredCostLimit.of(execution)?.value;
    const policy = declared ?? this.#default;
    if (policy === undefined || policy === false) return undefined;
    return { name: nameOf(execution), policy, isDeclared: declared !== undefined, costs: new RecentCosts() };
  }
}

const NO_LIMIT = Symbol('no limit');
