import 'reflect-metadata';
import type { Type } from '@nestjs/common';
import type { ModulesContainer } from '@nestjs/core';
import type { BudgetOwners, BudgetResolver, ResolvedBudget } from '../budget/budget-resolver';
import { GrowthHistory } from '../cost/growth-history';
import type { ContextHandler } from '../context/request-context';
import type { AcquiringLines } from '../diagnosis/pools/acquiring-lines';

/** Nest's metadata of `@Sse()`. */
const SSE = '__sse__';

// Nest's own type of a handler is `Function`.
type Method = Function;

let handlers = 0;

/** The next number of a handler of this process. */
export function nextHandlerNumber(): number {
  return (handlers += 1);
}

/** Where a handler is declared; empty for work that no handler of Nest took. */
export interface HandlerOwners extends BudgetOwners {
  readonly method?: Method;
  readonly controller?: Type;
}

/** One handler of the application, with its budget. */
export class Handler implements ContextHandler {
  readonly name: string;
  readonly history = new GrowthHistory();
  readonly number = nextHandlerNumber();
  readonly isStream: boolean;
  acquiringLines?: AcquiringLines;
  readonly owners: HandlerOwners;
  readonly #budgets: BudgetResolver;
  readonly #byMethod = new Map<string | undefined, ResolvedBudget>();

  constructor(name: string, budgets: BudgetResolver, owners: HandlerOwners) {
    this.name = name;
    this.#budgets = budgets;
    this.isStream = owners.method !== undefined && Reflect.hasMetadata(SSE, owners.method);
    this.owners = owners;
  }

  budget(httpMethod: string | undefined): ResolvedBudget {
    const method = this.#budgets.dependsOnMethod ? httpMethod : undefined;
    let budget = this.#byMethod.get(method);
    if (budget === undefined) {
      budget = this.#budgets.resolve(this.owners, method);
      this.#byMethod.set(method, budget);
    }
    return budget;
  }
}

/** Finds each handler once: metadata is never read again while serving. */
export class Handlers {
  readonly #budgets: BudgetResolver;
  readonly #modules: ModulesContainer;
  readonly #handlers = new WeakMap<Type, Map<Method, Handler>>();

  constructor(budgets: BudgetResolver, modules: ModulesContainer) {
    this.#budgets = budgets;
    this.#modules = modules;
  }

  of(controller: Type, method: Method): Handler {
    let methods = this.#handlers.get(controller);
    if (methods === undefined) this.#handlers.set(controller, (methods = new Map<Method, Handler>()));
    let handler = methods.get(method);
    if (handler === undefined) methods.set(method, (handler = this.#make(controller, method)));
    return handler;
  }

  #make(controller: Type, method: Method): Handler {
    const owners = { method, controller, module: this.#moduleOf(controller) };
    return new Handler(`${controller.name}.${method.name}`, this.#budgets, owners);
  }

  #moduleOf(controller: Type): Type | undefined {
    for (const module of this.#modules.values()) {
      if (module.controllers.has(controller) || module.providers.has(controller)) return module.metatype;
    }
    return undefined;
  }
}
