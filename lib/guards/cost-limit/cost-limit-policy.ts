import { invalidOption } from '../../kernel/errors';
import { checkObject, MAX_TIMER_MS, readBoolean, readWhole } from '../../kernel/option-checks';
import { nameKey } from '../caller/bounded-key';
import { type CallerBy, checkCallerBy } from '../caller/caller-by';
import type { CostLimitDefaults, CostLimitOptions, CostLimitPoints } from './cost-limit-options';
import type { CostLimitStore } from './cost-limit-store';
import { type CostPrices, DEFAULT_PRICES } from './cost-prices';

const POLICY = [
  'burst',
  'restorePerSecond',
  'by',
  'cost',
  'estimate',
  'name',
  'dryRun',
  'maxHoldMs',
] as const satisfies readonly (keyof CostLimitOptions)[];
const DEFAULTS = [
  'default',
  'store',
  'onStoreFailure',
  'timeoutMs',
] as const satisfies readonly (keyof CostLimitDefaults)[];
const FAILURES = ['memory', 'admit', 'refuse'] as const;

/** How much a bucket holds, and how fast it is refilled. */
export interface CostLimitPlan {
  readonly burst: number;
  readonly restorePerSecond: number;
}

/** The options of a policy, checked and filled in. */
export interface CostLimitPolicy {
  readonly name: string;
  /** What the keys of its buckets begin with. */
  readonly key: string;
  readonly burst: CostLimitPoints;
  readonly restorePerSecond: CostLimitPoints;
  /** Where both are numbers. */
  readonly plan: CostLimitPlan | undefined;
  readonly by: CallerBy;
  readonly prices: Required<CostPrices>;
  readonly estimate: number | undefined;
  readonly dryRun: boolean | undefined;
  readonly maxHoldMs: number;
}

/** The options of the module, checked and filled in. */
export interface ResolvedCostLimit {
  readonly policy: CostLimitPolicy | undefined;
  readonly store: CostLimitStore | undefined;
  readonly onStoreFailure: (typeof FAILURES)[number];
  readonly timeoutMs: number;
}

/**
 * @param path where they are given, with a dot behind it, or nothing
 * @param call of what, where that is not `forRoot()`
 * @throws AsyncContextError `ASYNC_CONTEXT_INVALID_OPTION`
 */
export function readPolicy(
  options: CostLimitOptions,
  defaultName: string,
  path: string,
  call?: string,
): CostLimitPolicy {
  checkObject(path.slice(0, -1), options, POLICY, call);
  const { burst, restorePerSecond, by, name = defaultName, estimate, dryRun, maxHoldMs = 60_000 } = options;
  for (const part of ['burst', 'restorePerSecond'] as const)
    checkPoints(`${path}${part}`, options[part], call);
  checkCallerBy(`${path}by`, by, call);
  if (options.name !== undefined && !/^[\w.-]{1,64}$/.test(String(name))) {
    throw invalidOption(`${path}name`, name, 'Use up to 64 characters of A-Z a-z 0-9 _ . -', call);
  }
  if (estimate !== undefined) checkAmount(`${path}estimate`, estimate, call);
  if (dryRun !== undefined) readBoolean(`${path}dryRun`, dryRun, call);
  readWhole(`${path}maxHoldMs`, maxHoldMs, 1, MAX_TIMER_MS, call);
  const isFixed = typeof burst === 'number' && typeof restorePerSecond === 'number';
  return Object.freeze({
    name,
    key: nameKey(name),
    burst,
    restorePerSecond,
    plan: isFixed ? Object.freeze({ burst, restorePerSecond }) : undefined,
    by,
    prices: readPrices(`${path}cost`, options.cost ?? {}, call),
    estimate,
    dryRun,
    maxHoldMs,
  });
}

/** @throws AsyncContextError `ASYNC_CONTEXT_INVALID_OPTION` */
export function readCostLimit(options: CostLimitDefaults = {}): ResolvedCostLimit {
  const path = 'guards.costLimit';
  checkObject(path, options, DEFAULTS);
  const { store, onStoreFailure = 'memory' } = options;
  if (store !== undefined && typeof (store as { take?: unknown } | null)?.take !== 'function') {
    throw invalidOption(
      `${path}.store`,
      store,
      'Use an object with a take() function, such as new RedisCostLimitStore({ client }).',
    );
  }
  if (!FAILURES.includes(onStoreFailure)) {
    throw invalidOption(`${path}.onStoreFailure`, onStoreFailure, "Use 'memory', 'admit' or 'refuse'.");
  }
  return Object.freeze({
    policy: options.default && readPolicy(options.default, 'default', `${path}.default.`),
    store,
    onStoreFailure,
    timeoutMs: readWhole(`${path}.timeoutMs`, options.timeoutMs ?? 100, 1, MAX_TIMER_MS),
  });
}

function checkPoints(path: string, value: unknown, call?: string): void {
  if (typeof value === 'function') return;
  if (typeof value === 'number' && value > 0 && Number.isFinite(value)) return;
  const remedy = 'Use a number of points above 0, or a function of the context that returns one.';
  throw invalidOption(path, value, remedy, call);
}

function checkAmount(path: string, value: unknown, call?: string): void {
  if (typeof value === 'number' && value >= 0 && Number.isFinite(value)) return;
  throw invalidOption(path, value, 'Use a number of points, at least 0.', call);
}

function readPrices(path: string, prices: CostPrices, call?: string): Required<CostPrices> {
  checkObject(path, prices, Object.keys(DEFAULT_PRICES), call);
  const given = Object.entries(prices).filter(([, price]) => price !== undefined);
  for (const [name, price] of given) checkAmount(`${path}.${name}`, price, call);
  return Object.freeze({ ...DEFAULT_PRICES, ...Object.fromEntries(given) });
}
