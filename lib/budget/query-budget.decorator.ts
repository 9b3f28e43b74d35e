import 'reflect-metadata';
import { invalidBudget } from '../kernel/errors';
import type { BudgetExemption, BudgetFunction, BudgetLimits, IgnoredRepeat } from './budget';
import { checkNotEmpty, readExemption, readIgnored, readLimits } from './budget-limits';
import { noteBudget } from './module-check';

const LIMITS = 'nestjs-async-context:budget';
const IGNORED = 'nestjs-async-context:budget-ignored';
const EXEMPTION = 'nestjs-async-context:budget-exemption';
const UNLIMITED = 'nestjs-async-context:budget-unlimited';

const MAX_REASON_LENGTH = 200;

type BudgetDecorator = ClassDecorator & MethodDecorator;

/** A budget as it was declared, and where. */
export interface Declared<T> {
  readonly value: T;
  /** `OrdersController.list` or `OrdersController`. */
  readonly where: string;
}

/**
 * Limits the cost of a handler in one unit of work.
 *
 * A number is short for `{ queries: number }`. It can decorate a controller, resolver, gateway or module, or a method.
 * Dimensions that a method omits come from its class, then its module, then the default of the HTTP method, then
 * `AsyncContextModule.forRoot({ budget })`.
 *
 * A function returns the limits of one unit of work, for example for its plan or its tenant. It is called once, at the
 * first query or call after the guards, so that the user is known; the guards' own queries count against the outer
 * limits. If the function throws, or returns a promise or an invalid budget, the error is reported and the outer limits
 * apply.
 *
 * @throws AsyncContextError `ASYNC_CONTEXT_INVALID_BUDGET`, at startup, for a limit that is not a whole number of at
 * least 0, for an unknown dimension, and for `{}`.
 *
 * @example
 * @Controller('orders')
 * @QueryBudget(100)
 * export class OrdersController {
 *   @Get()
 *   @QueryBudget({ queries: 5, rows: 10_000, durationMs: 500, perTable: { orders: 1 } })
 *   list() {}
 *
 *   @Get('export')
 *   @QueryBudget(context => ({ hard: { queries: context.get('plan') === 'large' ? 5_000 : 500 } }))
 *   export() {}
 * }
 */
export function QueryBudget(limits: number | BudgetLimits | BudgetFunction): BudgetDecorator {
  return decorate(LIMITS, where => {
    if (typeof limits === 'function') return limits;
    checkNotEmpty(limits, (path, value, remedy) =>
      invalidBudget(`@QueryBudget on ${where}`, path, value, remedy),
    );
    return readBudgetOf(limits, where);
  });
}

/** @throws AsyncContextError `ASYNC_CONTEXT_INVALID_BUDGET` */
export function readBudgetOf(limits: unknown, where: string): BudgetLimits {
  return readLimits(limits, (path, value, remedy) =>
    invalidBudget(`@QueryBudget on ${where}`, path, value, remedy),
  );
}

/**
 * Raises limits for a while. After `until` it no longer applies, and a warning at startup says so.
 *
 * @throws AsyncContextError `ASYNC_CONTEXT_INVALID_BUDGET`, at startup, for an invalid limit, a missing ticket, or an
 * invalid end date.
 *
 * @example
 * export class ReportController {
 *   @Get()
 *   @QueryBudget.exempt({ queries: 300, issue: 'https://tickets.example/SHOP-12', owner: 'checkout', until: '2027-01-31' })
 *   monthly() {}
 * }
 */
QueryBudget.exempt = function exempt(exemption: BudgetExemption): BudgetDecorator {
  return decorate(EXEMPTION, where => readExemption(exemption, `@QueryBudget.exempt on ${where}`));
};

/**
 * Excludes the repeats of one statement shape from the findings and from `repeats` for a while; its queries still
 * count. Can be used several times. After `until` it no longer applies, and a warning at startup says so.
 *
 * @throws AsyncContextError `ASYNC_CONTEXT_INVALID_BUDGET`, at startup, for an empty shape or reason, or an invalid
 * end date.
 *
 * @example
 * export class StockController {
 *   @Get()
 *   @QueryBudget({ repeats: 0 })
 *   @QueryBudget.ignore({
 *     shape: 'SELECT * FROM stock WHERE sku = ?',
 *     reason: 'the view is replaced in SHOP-31',
 *     until: '2027-01-31',
 *   })
 *   list() {}
 * }
 */
QueryBudget.ignore = function ignore(repeat: IgnoredRepeat): BudgetDecorator {
  return decorate(
    IGNORED,
    where => readIgnored(repeat, `@QueryBudget.ignore on ${where}`),
    (before, declared) => [...((before as unknown[] | undefined) ?? []), declared],
  );
};

/**
 * Removes all outer limits permanently (those of the class, the module and `forRoot({ budget })`), including hard limits
 * and deadlines, for example for an export or a migration. Limits declared on a method below it, or with
 * `@QueryBudget()` next to it, still apply.
 *
 * @param reason explanation for readers of the code, at most 200 characters
 * @throws AsyncContextError `ASYNC_CONTEXT_INVALID_BUDGET`, at startup, without a reason
 *
 * @example
 * export class ExportController {
 *   @Get()
 *   @QueryBudget.unlimited('reads every order once; runs at night')
 *   everything() {}
 * }
 */
QueryBudget.unlimited = function unlimited(reason: string): BudgetDecorator {
  return decorate(UNLIMITED, where => {
    if (typeof reason === 'string' && reason.trim() !== '' && reason.length <= MAX_REASON_LENGTH)
      return reason;
    throw invalidBudget(
      `@QueryBudget.unlimited on ${where}`,
      'reason',
      reason,
      `Say in at most ${MAX_REASON_LENGTH} characters why it needs no limit.`,
    );
  });
};

/** Whether the limits that are declared farther out do not apply to a class or a method. */
export function isUnlimited(target: object): boolean {
  return Reflect.hasMetadata(UNLIMITED, target);
}

/** What is declared about the budget of a class or a method, as the application wrote it; `undefined` for nothing. */
export function declarationOn(target: object): string | undefined {
  const found = [
    ['@QueryBudget', declaredLimits(target)],
    ['@QueryBudget.exempt', declaredExemption(target)],
    ['@QueryBudget.ignore', declaredIgnores(target)[0]],
    ['@QueryBudget.unlimited', Reflect.getMetadata(UNLIMITED, target) as Declared<string> | undefined],
  ] as const;
  for (const [name, declared] of found) if (declared !== undefined) return `${name} on ${declared.where}`;
  return undefined;
}

/** What is declared to be ignored on a class or a method. */
export function declaredIgnores(target: object): readonly Declared<IgnoredRepeat>[] {
  return (Reflect.getMetadata(IGNORED, target) as Declared<IgnoredRepeat>[] | undefined) ?? [];
}

/** The budget declared on a class or a method, if one is. */
export function declaredLimits(target: object): Declared<BudgetLimits | BudgetFunction> | undefined {
  return Reflect.getMetadata(LIMITS, target) as Declared<BudgetLimits | BudgetFunction> | undefined;
}

/** The exemption declared on a class or a method, if one is. */
export function declaredExemption(target: object): Declared<BudgetExemption> | undefined {
  return Reflect.getMetadata(EXEMPTION, target) as Declared<BudgetExemption> | undefined;
}

function decorate(
  key: string,
  read: (where: string) => unknown,
  add: (before: unknown, declared: Declared<unknown>) => unknown = (_before, declared) => declared,
): BudgetDecorator {
  return ((target: object, method?: string | symbol, descriptor?: PropertyDescriptor) => {
    const where = describeTarget(target, method);
    noteBudget(where);
    const on: object = (descriptor?.value as object | undefined) ?? target;
    Reflect.defineMetadata(key, add(Reflect.getOwnMetadata(key, on), { value: read(where), where }), on);
  }) as BudgetDecorator;
}

function describeTarget(target: object, method: string | symbol | undefined): string {
  if (method === undefined) return (target as { name: string }).name;
  const owner = typeof target === 'function' ? target.name : target.constructor.name;
  return `${owner}.${String(method)}`;
}
