import 'reflect-metadata';
import type { Type } from '@nestjs/common';
import type { ModulesContainer } from '@nestjs/core';
import type { BudgetOwners, BudgetResolver, ResolvedBudget } from '../budget/budget-resolver';
import { GrowthHistory } from '../cost/growth-history';
import { oncePerProcess } from '../kernel/once-per-process';
import type { ContextHandler } from '../context/request-context';
import type { AcquiringLines } from '../context/acquiring-lines';

/** Nest's metadata of `@Sse()`. */
const SSE = '__sse__';

// Nest's own type of a handler is `Function`.
type Method = Function;

/** The event loop of the process tells handlers apart by their numbers, whoever has numbered them. */
const handlers = oncePerProcess('handlers', () => ({ count: 0 }));

/** The next number of a handler of this process. */
export function nextHandlerNumber(): number {
  return (handlers.count += 1);
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
  /** Whether the cost of its callers is limited: where they are is noted before its guards run. */
  readonly isLimited: boolean;
  acquiringLines?: AcquiringLines;
  /** What its requests have shown, where breakers are on: theirs alone. */
  breaker: object | undefined = undefined;
  /** Whether that is asked before a request goes on: it is not closed. */
  isWatched = false;
  readonly owners: HandlerOwners;
  readonly #budgets: BudgetResolver;
  readonly #byMethod = new Map<string | undefined, ResolvedBudget>();

  constructor(name: string, budgets: BudgetResolver, owners: HandlerOwners, isLimited: boolean) {
    this.name = name;
    this.#budgets = budgets;
    this.isLimited = isLimited;
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

/** Whether the cost of the callers of a handler is limited. */
export type IsLimited = (type: Type, method: Method) => boolean;

/** Finds each handler once: metadata is never read again while serving. */
export class Handlers {
  readonly #budgets: BudgetResolver;
  readonly #modules: ModulesContainer;
  readonly #isLimited: IsLimited;
  readonly #handlers = new WeakMap<Type, Handler[]>();
  readonly #byKey = new WeakMap<Type, Map<PropertyKey, Handler>>();
  readonly #byMethod = new WeakMap<Type, Map<Method, Handler>>();

  constructor(budgets: BudgetResolver, modules: ModulesContainer, isLimited: IsLimited) {
    this.#budgets = budgets;
    this.#modules = modules;
    this.#isLimited = isLimited;
  }

  /** @param module where Nest has found the class, which may belong to several */
  of(type: Type, key: PropertyKey, module?: Type): Handler {
    if (module !== undefined) return this.#find(type, key, module);
    return known(this.#byKey, type, key, () => this.#find(type, key, this.#moduleOf(type)));
  }

  /** The same where the method is known, and not what its class calls it. */
  ofMethod(type: Type, method: Method): Handler {
    return known(this.#byMethod, type, method, () => this.of(type, keyOf(type, method)));
  }

  #find(type: Type, key: PropertyKey, module: Type | undefined): Handler {
    let handlers = this.#handlers.get(type);
    if (handlers === undefined) this.#handlers.set(type, (handlers = []));
    const name = `${type.name}.${String(key)}`;
    const found = handlers.find(({ owners, name: known }) => known === name && owners.module === module);
    if (found !== undefined) return found;
    const method: unknown = (type.prototype as Record<PropertyKey, unknown>)[key];
    const isMethod = typeof method === 'function';
    const owners = { controller: type, module, ...(isMethod && { method }) };
    const made = new Handler(name, this.#budgets, owners, isMethod && this.#isLimited(type, method));
    handlers.push(made);
    return made;
  }

  /** `undefined` also where a class belongs to several: which of them is not known. */
  #moduleOf(type: Type): Type | undefined {
    const found = new Set<Type>();
    for (const module of this.#modules.values()) {
      if (module.controllers.has(type) || module.providers.has(type)) found.add(module.metatype);
    }
    const [module, another] = found;
    return another === undefined ? module : undefined;
  }
}

function known<K>(all: WeakMap<Type, Map<K, Handler>>, type: Type, key: K, find: () => Handler): Handler {
  let ofType = all.get(type);
  if (ofType === undefined) all.set(type, (ofType = new Map<K, Handler>()));
  let handler = ofType.get(key);
  if (handler === undefined) ofType.set(key, (handler = find()));
  return handler;
}

/** What a class calls one of its methods: a decorator may have put a function of another name in its place. */
function keyOf(type: Type, method: Method): PropertyKey {
  for (let at: unknown = type.prototype; at && at !== Object.prototype; at = Object.getPrototypeOf(at)) {
    for (const key of Reflect.ownKeys(at)) {
      if (Object.getOwnPropertyDescriptor(at, key)?.value === method) return key;
    }
  }
  return method.name;
}
