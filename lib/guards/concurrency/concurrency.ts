import type { Type } from '@nestjs/common';
import { MAX_TIMER_MS, checkObject, readBoolean, readWhole } from '../../kernel/option-checks';
import type { RequestContext } from '../../context/request-context';
import { Bulkhead } from './bulkhead';
import { type CallerBy, checkCallerBy } from '../caller/caller-by';
import { Declared } from '../declared';

/** Options of `@Concurrency()`. */
export interface ConcurrencyOptions {
  /**
   * Maximum number of calls that run at once; with `by`, per caller.
   * @default 10
   */
  readonly limit?: number;
  /**
   * Maximum time in milliseconds that a request waits for a slot, first come, first served; 0 refuses at once.
   * @default 0
   */
  readonly waitMs?: number;
  /**
   * What identifies a caller: the user, the address, the value of a context key, or the result of a function. Callers
   * that it does not identify are identified by their address.
   * @default all callers share the slots
   */
  readonly by?: CallerBy;
  /**
   * Milliseconds after which the slot of a handler that has not ended is reclaimed, with a warning in the log. Does not
   * apply to streams of `@Sse()`.
   * @default 60_000
   */
  readonly maxHoldMs?: number;
  /**
   * Whether to only count and log what would be refused.
   * @default `forRoot({ guards: { dryRun } })`
   */
  readonly dryRun?: boolean;
}

/** The same, checked and filled in. */
export interface ConcurrencyRule {
  readonly limit: number;
  readonly waitMs: number;
  readonly by: CallerBy | undefined;
  readonly maxHoldMs: number;
  readonly dryRun: boolean | undefined;
}

const OPTIONS = [
  'limit',
  'waitMs',
  'by',
  'maxHoldMs',
  'dryRun',
] as const satisfies readonly (keyof ConcurrencyOptions)[];

/** What `@Concurrency()` says: of two, the one that is nearer to the handler. */
export const declaredConcurrency = new Declared<ConcurrencyRule>('concurrency');

/** @throws AsyncContextError `ASYNC_CONTEXT_INVALID_OPTION` */
export function readConcurrency(options: ConcurrencyOptions, where: string): ConcurrencyRule {
  const call = `@Concurrency on ${where}`;
  checkObject('', options, OPTIONS, call);
  const { by, dryRun } = options;
  if (by !== undefined) checkCallerBy('by', by, call);
  if (dryRun !== undefined) readBoolean('dryRun', dryRun, call);
  return Object.freeze({
    limit: readWhole('limit', options.limit ?? 10, 1, 1_000_000, call),
    waitMs: readWhole('waitMs', options.waitMs ?? 0, 0, MAX_TIMER_MS, call),
    by,
    maxHoldMs: readWhole('maxHoldMs', options.maxHoldMs ?? 60_000, 1, MAX_TIMER_MS, call),
    dryRun,
  });
}

/** The slots of one handler, or of one class. */
export interface Slots {
  readonly bulkhead: Bulkhead;
  /** Which units of work have one, or wait for it: a guard may run twice, and a second field of an operation. */
  readonly entered: WeakMap<RequestContext, true | Promise<true>>;
}

/** The slots of one application. A class that inherits a decorator has slots of its own. */
export class AllSlots {
  readonly #slots = new WeakMap<ConcurrencyRule, WeakMap<Type, Slots>>();

  of(rule: ConcurrencyRule, type: Type): Slots {
    let byType = this.#slots.get(rule);
    if (byType === undefined) this.#slots.set(rule, (byType = new WeakMap()));
    let slots = byType.get(type);
    if (slots === undefined) {
      slots = { bulkhead: new Bulkhead(rule.limit, rule.waitMs), entered: new WeakMap() };
      byType.set(type, slots);
    }
    return slots;
  }
}
