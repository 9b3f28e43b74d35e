import type { ExecutionContext, Type } from '@nestjs/common';
import type { RequestContext } from '../../context/request-context';
import type { GuardKit } from '../guard-kit';
import { nameOf } from '../guard-kit-token';
import type { Refusal, RefusalDetails } from '../refusal';
import type { CallerBy } from '../caller/caller-by';
import type { CostLimitPlan } from './cost-limit-policy';
import { learning, left, spent, storeDown } from './cost-limit-refusals';
import { fieldOf, isNested } from './graphql-field';
import { hardPrice } from './hard-price';
import { Learning } from './learning';
import { type LimitedHandler, LimitedHandlers } from './limited-handlers';
import { MemoryCostLimitStore } from './memory-cost-limit.store';
import { isUnlimited, planOf } from './plans';
import { RateLimitFields, rateLimitItems, retryAfter, secondsFor } from './rate-limit-fields';
import { Reservation } from './reservation';
import { Settlements } from './settlements';
import { InsuredStore, type Taken } from './store-insurance';
import { UserOrder } from './user-order';

type Verdict = true | Promise<true>;

/** What one unit of work has reserved, and says of it. */
interface Account {
  readonly context: RequestContext;
  readonly reservations: Reservation[];
  readonly fields: RateLimitFields;
}

/** Whether a handler, or a field of an operation, may run. */
interface Question {
  readonly execution: ExecutionContext;
  readonly guard: Type;
  readonly account: Account;
  readonly handler: LimitedHandler;
  readonly reservation: Reservation;
}

const limiters = new WeakMap<GuardKit, CostLimiter>();
const always = (): true => true;

/** Reserves what the handlers of one application may cost, and refuses where there is too little. */
export class CostLimiter {
  readonly #kit: GuardKit;
  readonly #handlers: LimitedHandlers;
  readonly #store: InsuredStore;
  readonly #learning = new Learning();
  readonly #order: UserOrder;
  readonly #settlements: Settlements;
  /** Where an account is on its context: a WeakMap of them keeps the collector busy. */
  readonly #account = Symbol('account of @CostLimit()');
  #closing: Promise<void> | undefined;

  /** The one of an application: each module has a guard of its own. */
  static of(kit: GuardKit): CostLimiter {
    let limiter = limiters.get(kit);
    if (limiter === undefined) limiters.set(kit, (limiter = new CostLimiter(kit)));
    return limiter;
  }

  private constructor(kit: GuardKit) {
    const { policy, store = new MemoryCostLimitStore(), onStoreFailure, timeoutMs } = kit.options.costLimit;
    this.#kit = kit;
    this.#handlers = new LimitedHandlers(policy);
    this.#order = new UserOrder(kit.hookErrors);
    this.#settlements = new Settlements(kit, this.#learning, this.#order);
    const onInsured = (): void => {
      // What is refused is counted where that is done.
      if (onStoreFailure !== 'refuse') kit.refusals.count('cost-limit', 'store-down', 'none', true);
    };
    this.#store = new InsuredStore(store, { onStoreFailure, timeoutMs, onInsured }, kit.hookErrors);
  }

  /** @throws the error of the transport where it is refused */
  admit(execution: ExecutionContext, guard: Type): Verdict {
    const handler = this.#handlers.of(execution);
    if (handler === undefined) return true;
    const context = this.#kit.contextOf(execution);
    // Also one that is closed: a client that leaves while an earlier guard is at work has its handler run, and
    // would have it for nothing.
    if (context === undefined) {
      // Nothing would say what it has cost.
      this.#kit.hookErrors.say(
        `@CostLimit of ${nameOf(execution)}`,
        'no context was found, so the limit does not apply',
      );
      return true;
    }
    const field = fieldOf(execution);
    if (field !== undefined && isNested(field) && !handler.isDeclared) return true;
    const account = this.#accountOf(context);
    const reservation = this.#reservationOf(account, handler);
    // The guard of the class and that of the application are asked about one and the same.
    const occasion = field ?? handler;
    if (reservation.occasions.has(occasion)) return reservation.turn ?? true;
    reservation.occasions.add(occasion);
    const question = { execution, guard, account, handler, reservation };
    const { turn } = reservation;
    if (turn === undefined) return this.#ask(question);
    return reservation.when(turn.then(always, always), () => this.#ask(question));
  }

  /** Waits for what is being settled. Never rejects. */
  close(): Promise<void> {
    return (this.#closing ??= this.#store.close());
  }

  #accountOf(context: RequestContext): Account {
    const accounts = context as unknown as Record<symbol, Account | undefined>;
    return (accounts[this.#account] ??= {
      context,
      reservations: [],
      fields: new RateLimitFields(context.response),
    });
  }

  #reservationOf({ context, reservations }: Account, { policy }: LimitedHandler): Reservation {
    const known = reservations.find(reservation => reservation.policy.name === policy.name);
    if (known !== undefined) return known;
    const reservation = new Reservation(policy, context, this.#store);
    reservations.push(reservation);
    return reservation;
  }

  #ask(question: Question): Verdict {
    const { execution, guard, account, handler, reservation } = question;
    if (reservation.isUnlimited) return true;
    if (reservation.plan !== undefined) return this.#take(question, reservation.plan);
    const { policy } = handler;
    const caller = this.#kit.callers.keyOf(policy.by, execution, account.context);
    // It would share a bucket with all others that have left.
    if (caller === undefined) {
      return this.#kit.refuseLeft(execution, left(policy.name), policy.dryRun ?? this.#kit.options.dryRun);
    }
    reservation.key = `${policy.key}|${caller}`;
    if (policy.by === 'user' && caller.startsWith('x') && !account.context.isClosed)
      this.#order.noUser(execution, guard);
    const { contextService, hookErrors } = this.#kit;
    return reservation.when(planOf(policy, account.context, contextService, hookErrors), plan => {
      if (plan === undefined) return this.#goOnWithout(question);
      reservation.isUnlimited = isUnlimited(plan);
      if (reservation.isUnlimited) return true;
      reservation.plan = plan;
      return this.#take(question, plan);
    });
  }

  /** No store and no plan come to the same: there is nothing to tell who may go on. */
  #goOnWithout(question: Question): true {
    const { onStoreFailure } = this.#kit.options.costLimit;
    if (onStoreFailure !== 'refuse') return true;
    const { policy } = question.handler;
    return this.#refuse(question, storeDown(policy.name), { policy: policy.name });
  }

  #take(question: Question, plan: CostLimitPlan): Verdict {
    const { account, handler, reservation } = question;
    const { key, reserved } = reservation;
    // Its own: the policies of two fields may have one name, and so one bucket.
    const { policy } = handler;
    const bound = hardPrice(account.context, policy.prices);
    // One that is above the burst bounds nothing here: it is a net below, and would let in one at a time.
    const hard = bound !== undefined && bound <= plan.burst ? bound : undefined;
    const price = hard ?? Math.max(policy.estimate ?? 0, handler.costs.p95);
    if (hard === undefined && policy.estimate === undefined && !handler.costs.isKnown) {
      const place = `${handler.name} ${key}`;
      if (!this.#learning.enter(place, account.context)) return this.#refuseToLearn(question, plan);
      reservation.learning.push(place);
    }
    // A price above the burst is one that is asked for when the bucket is full, or nobody would ever be let in.
    const points = Math.min(plan.burst, reserved + price) - reserved;
    return reservation.when(this.#store.take({ key, ...plan, need: points, take: points }), taken =>
      this.#judge(question, plan, points, taken),
    );
  }

  #judge(question: Question, plan: CostLimitPlan, points: number, { admitted, level, from }: Taken): true {
    const { account, handler, reservation } = question;
    if (level === undefined && !admitted) return this.#goOnWithout(question);
    if (admitted) {
      reservation.reserve(points, from);
      if (level !== undefined) this.#answer(question, plan, level);
      reservation.handlers.push(handler);
      this.#settlements.watch(account.context, reservation);
      return true;
    }
    const { policy } = handler;
    const seconds = secondsFor(points - (level ?? 0), plan.restorePerSecond);
    this.#answer(question, plan, level ?? 0, seconds);
    return this.#refuse(question, spent(policy.name, retryAfter(seconds)), {
      policy: policy.name,
      per: perOf(policy.by, !reservation.key.startsWith('x', policy.key.length + 1)),
      needed: Math.ceil(points),
      left: Math.max(0, Math.floor(level ?? 0)),
      burst: plan.burst,
      restorePerSecond: plan.restorePerSecond,
    });
  }

  #refuseToLearn(question: Question, plan: CostLimitPlan): Verdict {
    const { handler, reservation } = question;
    const { policy, costs } = handler;
    const look = this.#store.take({ key: reservation.key, ...plan, need: -Infinity, take: 0 });
    return reservation.when(look, ({ level }) => {
      const refusal = learning(policy.name);
      if (level !== undefined) this.#answer(question, plan, level, refusal.retryAfterSeconds);
      return this.#refuse(question, refusal, { policy: policy.name, known: costs.count });
    });
  }

  /** In a dry run the work goes on, takes nothing, and shows what it costs. */
  #refuse(
    { execution, account, handler, reservation }: Question,
    refusal: Refusal,
    details: RefusalDetails,
  ): true {
    const isDry = handler.policy.dryRun ?? this.#kit.options.dryRun;
    if (!isDry && !reservation.isWatched) this.#settlements.leave(account.context, reservation);
    this.#kit.refuse(execution, refusal, isDry, details);
    if (!reservation.isWatched) reservation.isOverdrawn = true;
    reservation.handlers.push(handler);
    this.#settlements.watch(account.context, reservation);
    return true;
  }

  #answer({ account, reservation }: Question, plan: CostLimitPlan, level: number, seconds?: number): void {
    const { policy, key } = reservation;
    this.#kit.hookErrors.guard('@CostLimit() headers', () =>
      account.fields.set(policy.name, rateLimitItems(policy.name, key, plan, level, seconds)),
    );
  }
}

/** Who has a bucket, never which one it is; whoever is not identified has one by address. */
function perOf(by: CallerBy, isIdentified: boolean): string {
  if (by === 'ip') return 'ip address';
  if (!isIdentified) return 'ip address of callers that are not identified';
  if (by === 'user') return 'user';
  return typeof by === 'function' ? 'result of the by function' : 'value of a context key';
}
