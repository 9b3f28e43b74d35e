import { type CanActivate, type ExecutionContext, Inject, Injectable, type Type } from '@nestjs/common';
import type { RequestContext } from '../../context/request-context';
import { SLOT } from '../../cost/time-account';
import { type ConcurrencyRule, declaredConcurrency, type Slots } from './concurrency';
import type { GuardKit } from '../guard-kit';
import { GUARD_KIT, nameOf } from '../guard-kit-token';
import type { Refusal } from '../refusal';

const MESSAGE = 'Too many concurrent requests; try again later';
const LEFT: Refusal = { by: 'concurrency', reason: 'left', status: 503, message: MESSAGE };
const MS_PER_SECOND = 1_000;

/** Who asks for a slot. */
interface Entrant {
  readonly execution: ExecutionContext;
  readonly context: RequestContext;
  readonly rule: ConcurrencyRule;
  readonly slots: Slots;
  readonly key: string;
  readonly dryRun: boolean;
}

/**
 * Enforces `@Concurrency()`, which applies it automatically. Also registered as a global guard, it does not take a
 * second slot for the same work.
 *
 * @example
 * import { APP_GUARD } from '@nestjs/core';
 *
 * @Module({ providers: [{ provide: APP_GUARD, useClass: ConcurrencyGuard }] })
 * export class LimitsModule {}
 */
@Injectable()
export class ConcurrencyGuard implements CanActivate {
  readonly #kit: GuardKit;

  constructor(@Inject(GUARD_KIT) kit: GuardKit) {
    this.#kit = kit;
  }

  canActivate(execution: ExecutionContext): boolean | Promise<boolean> {
    const rule = declaredConcurrency.of(execution)?.value;
    if (rule === undefined) return true;
    const kit = this.#kit;
    const context = kit.contextOf(execution);
    if (context === undefined) {
      // Nothing would say when a slot comes back.
      kit.hookErrors.say(
        `@Concurrency of ${nameOf(execution)}`,
        'no context was found, so the limit does not apply',
      );
      return true;
    }
    const slots = kit.slots.of(rule, execution.getClass<unknown>() as Type);
    const entered = slots.entered.get(context);
    if (entered !== undefined) return entered;
    const dryRun = rule.dryRun ?? kit.options.dryRun;
    // Nothing of a request is left to tell its caller by.
    if (context.isClosed) return this.#refuseLeft({ execution, dryRun });
    const key = rule.by === undefined ? '' : kit.callers.keyOf(rule.by, execution, context);
    if (key === undefined) return this.#refuseLeft({ execution, dryRun });
    const entry = this.#enter({ execution, context, rule, slots, key, dryRun });
    slots.entered.set(context, entry);
    return entry;
  }

  #enter(entrant: Entrant): true | Promise<true> {
    const { rule, slots, key, dryRun } = entrant;
    if (slots.bulkhead.take(key)) return this.#hold(entrant);
    if (rule.waitMs === 0) return this.#refuse(entrant, 'busy');
    const waiting = this.#wait(entrant);
    return dryRun ? true : waiting;
  }

  async #wait(entrant: Entrant): Promise<true> {
    const { context, slots, key, dryRun } = entrant;
    // In a dry run it is only played: the handler does not wait for it.
    if (!dryRun) context.time.begin(SLOT, performance.now());
    const hasSlot = await new Promise<boolean>(resolve => {
      this.#kit.onClose(context, slots.bulkhead.wait(key, resolve));
    });
    if (!dryRun) context.time.end(SLOT, performance.now());
    if (context.isClosed) {
      if (hasSlot) slots.bulkhead.giveBack(key);
      return this.#refuseLeft(entrant);
    }
    return hasSlot ? this.#hold(entrant) : this.#refuse(entrant, 'waited');
  }

  #hold({ execution, context, rule, slots, key }: Entrant): true {
    this.#kit.whenOver(context, rule.maxHoldMs, hasEnded => {
      slots.bulkhead.giveBack(key);
      if (hasEnded) return;
      const { reportHeldSlot } = require('./held-slot-report') as typeof import('./held-slot-report');
      reportHeldSlot(nameOf(execution), context, rule);
    });
    return true;
  }

  #refuse({ execution, rule, dryRun }: Entrant, reason: 'busy' | 'waited'): true {
    const { limit, waitMs } = rule;
    const refusal: Refusal = {
      by: 'concurrency',
      reason,
      status: 503,
      message: MESSAGE,
      retryAfterSeconds: Math.max(1, Math.ceil(waitMs / MS_PER_SECOND)),
    };
    return this.#kit.refuse(execution, refusal, dryRun, { slots: limit, waitMs });
  }

  #refuseLeft({ execution, dryRun }: Pick<Entrant, 'execution' | 'dryRun'>): true {
    return this.#kit.refuseLeft(execution, LEFT, dryRun);
  }
}
