import type { BudgetDefaults, HttpMethod } from '../async-context.options';
import type { CostAlarm, IgnoredShape } from '../cost/cost-ledger';
import type { BudgetExemption, BudgetLimits, ResolvedLimit } from './budget';
import { DIMENSIONS, endOfDay } from './budget-limits';
import { ignoredShape } from './ignored-shape';
import { declaredExemption, declaredIgnores, declaredLimits, type Declared } from './query-budget.decorator';

/** The limits of one handler, each with its origin, found once. */
export interface ResolvedBudget {
  readonly limits: readonly ResolvedLimit[];
  /** Whose handler it is; the nearest that says so. */
  readonly owner: string | undefined;
  readonly alarm: CostAlarm | undefined;
  /** What is declared not to be a finding; absent when nothing is. */
  readonly ignored: readonly IgnoredShape[] | undefined;
}

/** Where a handler was declared, from near to far. */
export interface BudgetOwners {
  readonly method?: object | undefined;
  readonly controller?: object | undefined;
  readonly module?: object | undefined;
}

/** Resolves each dimension: handler, controller, module, HTTP method default, `forRoot({ budget })`. */
export class BudgetResolver {
  readonly #defaults: BudgetDefaults;
  readonly #alarmFor: (limits: readonly ResolvedLimit[]) => CostAlarm | undefined;

  constructor(
    defaults: BudgetDefaults,
    alarmFor: (limits: readonly ResolvedLimit[]) => CostAlarm | undefined,
  ) {
    this.#defaults = defaults;
    this.#alarmFor = alarmFor;
  }

  /** Whether the budget of a handler depends on the method of the request. */
  get dependsOnMethod(): boolean {
    return this.#defaults.byMethod !== undefined;
  }

  resolve(owners: BudgetOwners, httpMethod: string | undefined): ResolvedBudget {
    const limits = new Map<string, ResolvedLimit>();
    const { default: general, byMethod } = this.#defaults;
    addLimits(limits, general, general === undefined ? '' : 'forRoot({ budget })');
    if (httpMethod !== undefined) {
      addLimits(limits, byMethod?.[httpMethod as HttpMethod], `forRoot({ budget.byMethod.${httpMethod} })`);
    }
    const near = [owners.module, owners.controller, owners.method];
    for (const owner of near) addDeclared(limits, owner && declaredLimits(owner));
    for (const owner of near) addExemption(limits, owner && declaredExemption(owner));
    const ignored = near.flatMap(owner => (owner === undefined ? [] : declaredIgnores(owner)));
    const declared = near.map(owner => owner && declaredLimits(owner)?.value.owner);
    const ofMethod = httpMethod === undefined ? undefined : byMethod?.[httpMethod as HttpMethod]?.owner;
    return this.#withAlarm(
      [...limits.values()],
      ignored.map(({ value }) => ignoredShape(value)),
      [general?.owner, ofMethod, ...declared].findLast(owner => owner !== undefined),
    );
  }

  /** What two handlers of one unit of work may cost: each dimension that both limit, by the higher limit. */
  loosest(a: ResolvedBudget, b: ResolvedBudget): ResolvedBudget {
    if (a === b) return a;
    const limits = a.limits.flatMap(limit => {
      const other = b.limits.find(({ dimension }) => dimension === limit.dimension);
      if (other === undefined) return [];
      return other.limit > limit.limit ? [other] : [limit];
    });
    // The record has the name of the first, and so its owner.
    return this.#withAlarm(limits, [...(a.ignored ?? []), ...(b.ignored ?? [])], a.owner);
  }

  #withAlarm(
    limits: readonly ResolvedLimit[],
    ignored: readonly IgnoredShape[],
    owner: string | undefined,
  ): ResolvedBudget {
    return {
      limits,
      owner,
      alarm: this.#alarmFor(limits),
      ignored: ignored.length === 0 ? undefined : ignored,
    };
  }
}

/** The limit that is in force now: an exemption counts until its end. */
export function limitInForce(limit: ResolvedLimit, now: number): ResolvedLimit | undefined {
  const { exemption } = limit;
  return exemption !== undefined && now >= exemption.endsAt ? exemption.after : limit;
}

function addDeclared(limits: Map<string, ResolvedLimit>, declared: Declared<BudgetLimits> | undefined): void {
  if (declared !== undefined) addLimits(limits, declared.value, `@QueryBudget on ${declared.where}`);
}

function addExemption(
  limits: Map<string, ResolvedLimit>,
  declared: Declared<BudgetExemption> | undefined,
): void {
  if (declared === undefined) return;
  const { value, where } = declared;
  const from = `@QueryBudget.exempt on ${where} until ${value.until} (${value.issue})`;
  for (const [dimension, limit] of dimensionsOf(value)) {
    const exemption = {
      endsAt: endOfDay(value.until),
      after: limits.get(dimension),
      ...(value.owner !== undefined && { owner: value.owner }),
    };
    limits.set(dimension, { dimension, limit, from, exemption });
  }
}

function addLimits(limits: Map<string, ResolvedLimit>, from: BudgetLimits | undefined, origin: string): void {
  if (from === undefined) return;
  for (const [dimension, limit] of dimensionsOf(from))
    limits.set(dimension, { dimension, limit, from: origin });
}

function* dimensionsOf(limits: BudgetLimits): Iterable<[dimension: string, limit: number]> {
  for (const dimension of DIMENSIONS) {
    const limit = limits[dimension];
    if (limit !== undefined) yield [dimension, limit];
  }
  for (const [table, limit] of Object.entries(limits.perTable ?? {})) yield [`perTable.${table}`, limit];
}
