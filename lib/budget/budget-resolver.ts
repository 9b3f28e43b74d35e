import type { ContextBudget } from '../context/request-context';
import type { LimitHook, IgnoredShape } from '../cost/cost-ledger';
import type {
  BudgetDefaults,
  BudgetDimensions,
  BudgetExemption,
  BudgetFunction,
  BudgetLimits,
  HardLimits,
  HttpMethod,
} from './budget';
import type { ResolvedLimit } from '../cost/resolved-limit';
import { DIMENSIONS, endOfDay } from './budget-limits';
import { DEADLINE, type HardBudget, hardBudget, loosestHard, loosestLimits } from './hard-budget';
import { ignoredShape } from './ignored-shape';
import {
  declaredExemption,
  declaredIgnores,
  declaredLimits,
  type Declared,
  isUnlimited,
} from './query-budget.decorator';

/** The limits of one handler, each with its origin, found once. */
export interface ResolvedBudget extends ContextBudget {
  readonly limitHook: LimitHook | undefined;
  /** What is declared not to be a finding; absent when nothing is. */
  readonly ignored: readonly IgnoredShape[] | undefined;
  /** What stops a unit of work; absent when nothing does. */
  readonly hard: HardBudget | undefined;
  /** Where a function is declared: the same with what it gives for one unit of work. */
  readonly byFunction: ((ask: AskBudget) => ResolvedBudget) | undefined;
}

/** Asks a function for limits; `undefined` where it gives none. Never throws. */
export type AskBudget = (limits: BudgetFunction, where: string) => BudgetLimits | undefined;

/** Where a handler was declared, from near to far. */
export interface BudgetOwners {
  readonly method?: object | undefined;
  readonly controller?: object | undefined;
  readonly module?: object | undefined;
}

/** With `enabled: false`. */
const NO_BUDGET: ResolvedBudget = Object.freeze({
  limits: [],
  hard: undefined,
  ignored: undefined,
  owner: undefined,
  byFunction: undefined,
  limitHook: undefined,
});

/** Resolves each dimension: handler, controller, module, HTTP method default, `forRoot({ budget })`. */
export class BudgetResolver {
  readonly #defaults: BudgetDefaults;
  readonly #limitHookFor: (limits: readonly ResolvedLimit[]) => LimitHook | undefined;
  readonly #isEnabled: boolean;

  /** @param isEnabled whether budgets apply at all */
  constructor(
    defaults: BudgetDefaults,
    limitHookFor: (limits: readonly ResolvedLimit[]) => LimitHook | undefined,
    isEnabled = true,
  ) {
    this.#isEnabled = isEnabled;
    this.#defaults = defaults;
    this.#limitHookFor = limitHookFor;
  }

  /** Whether the budget of a handler depends on the method of the request. */
  get dependsOnMethod(): boolean {
    return this.#defaults.byMethod !== undefined;
  }

  /** @param ask asks what is declared as a function; without it, that is left out */
  resolve(owners: BudgetOwners, httpMethod: string | undefined, ask?: AskBudget): ResolvedBudget {
    if (!this.#isEnabled) return NO_BUDGET;
    const { default: general, byMethod } = this.#defaults;
    const ofMethod = httpMethod === undefined ? undefined : byMethod?.[httpMethod as HttpMethod];
    const near = [owners.module, owners.controller, owners.method];
    const declared = near.flatMap(owner => (owner && declaredLimits(owner)) ?? []);
    const hasFunction = declared.some(({ value }) => typeof value === 'function');
    const layers: Layer[] = [
      { limits: general, from: 'forRoot({ budget })', hardFrom: 'forRoot({ budget.hard })' },
      {
        limits: ofMethod,
        from: `forRoot({ budget.byMethod.${httpMethod} })`,
        hardFrom: `forRoot({ budget.byMethod.${httpMethod}.hard })`,
      },
    ];
    const found = new FoundLimits();
    for (const layer of layers) found.add(layer);
    for (const owner of near) {
      if (owner === undefined) continue;
      if (isUnlimited(owner)) found.clear();
      const own = declaredLimits(owner);
      if (own === undefined) continue;
      const layer = layerOf(own, ask);
      layers.push(layer);
      found.add(layer);
    }
    for (const owner of near) found.exempt(owner && declaredExemption(owner));
    const ignored = near.flatMap(owner => (owner === undefined ? [] : declaredIgnores(owner)));
    return this.#withLimitHook({
      limits: [...found.limits.values()],
      hard: hardBudget([...found.hard.values()], found.status),
      ignored: ignored.map(({ value }) => ignoredShape(value)),
      owner: layers.map(({ limits }) => limits?.owner).findLast(owner => owner !== undefined),
      byFunction:
        hasFunction && ask === undefined ? given => this.resolve(owners, httpMethod, given) : undefined,
    });
  }

  /** What two handlers of one unit of work may cost: each dimension that both limit, by the higher limit. */
  loosest(a: ResolvedBudget, b: ResolvedBudget): ResolvedBudget {
    if (a === b) return a;
    return this.#withLimitHook({
      limits: loosestLimits(a.limits, b.limits),
      hard: loosestHard(a.hard, b.hard),
      ignored: [...(a.ignored ?? []), ...(b.ignored ?? [])],
      // The record has the name of the first, and so its owner.
      owner: a.owner,
      byFunction:
        a.byFunction === undefined && b.byFunction === undefined
          ? undefined
          : ask => this.loosest(a.byFunction?.(ask) ?? a, b.byFunction?.(ask) ?? b),
    });
  }

  #withLimitHook(budget: Omit<ResolvedBudget, 'limitHook'>): ResolvedBudget {
    const { limits, ignored } = budget;
    return {
      ...budget,
      limitHook: this.#limitHookFor(limits),
      ignored: ignored?.length === 0 ? undefined : ignored,
    };
  }
}

/** What one place says of a budget. */
interface Layer {
  readonly limits: BudgetLimits | undefined;
  readonly from: string;
  readonly hardFrom: string;
}

function layerOf({ value, where }: Declared<BudgetLimits | BudgetFunction>, ask?: AskBudget): Layer {
  return {
    limits: typeof value === 'function' ? ask?.(value, where) : value,
    from: `@QueryBudget on ${where}`,
    hardFrom: `@QueryBudget({ hard }) on ${where}`,
  };
}

/** Limits by dimension: what is added later is nearer, and goes before. */
class FoundLimits {
  readonly limits = new Map<string, ResolvedLimit>();
  readonly hard = new Map<string, ResolvedLimit>();
  status: number | undefined = undefined;

  clear(): void {
    this.limits.clear();
    this.hard.clear();
    this.status = undefined;
  }

  add({ limits, from, hardFrom }: Layer): void {
    if (limits === undefined) return;
    for (const [dimension, limit] of dimensionsOf(limits))
      this.limits.set(dimension, { dimension, limit, from });
    const { hard } = limits;
    if (hard === undefined) return;
    this.status = hard.status ?? this.status;
    for (const [dimension, limit] of hardDimensionsOf(hard))
      this.hard.set(dimension, { dimension, limit, from: hardFrom });
  }

  exempt(declared: Declared<BudgetExemption> | undefined): void {
    if (declared === undefined) return;
    const { value, where } = declared;
    const until = `on ${where} until ${value.until} (${value.issue})`;
    const raise = (
      limits: Map<string, ResolvedLimit>,
      dimension: string,
      limit: number,
      from: string,
    ): void => {
      const exemption = {
        endsAt: endOfDay(value.until),
        after: limits.get(dimension),
        ...(value.owner !== undefined && { owner: value.owner }),
      };
      limits.set(dimension, { dimension, limit, from, exemption });
    };
    for (const [dimension, limit] of dimensionsOf(value))
      raise(this.limits, dimension, limit, `@QueryBudget.exempt ${until}`);
    for (const [dimension, limit] of hardDimensionsOf(value.hard ?? {}))
      raise(this.hard, dimension, limit, `@QueryBudget.exempt({ hard }) ${until}`);
  }
}

function* dimensionsOf(limits: BudgetDimensions): Iterable<[dimension: string, limit: number]> {
  for (const dimension of DIMENSIONS) {
    const limit = limits[dimension];
    if (limit !== undefined) yield [dimension, limit];
  }
  for (const [table, limit] of Object.entries(limits.perTable ?? {})) yield [`perTable.${table}`, limit];
}

function* hardDimensionsOf(hard: HardLimits): Iterable<[dimension: string, limit: number]> {
  yield* dimensionsOf(hard);
  if (hard.deadlineMs !== undefined) yield [DEADLINE, hard.deadlineMs];
}
