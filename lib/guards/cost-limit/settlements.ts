import type { RequestContext } from '../../context/request-context';
import type { GuardKit } from '../guard-kit';
import { settleLate } from './late-settlement';
import type { Learning } from './learning';
import type { Reservation } from './reservation';
import type { UserOrder } from './user-order';

/** Work that does not end is settled so often; then it is let go. */
const MOST_HOLDS = 10;

/** Settles reservations when their units of work are over, and learns what their handlers cost. */
export class Settlements {
  readonly #kit: GuardKit;
  readonly #learning: Learning;
  readonly #order: UserOrder;

  constructor(kit: GuardKit, learning: Learning, order: UserOrder) {
    this.#kit = kit;
    this.#learning = learning;
    this.#order = order;
  }

  /** Once for each. */
  watch(context: RequestContext, reservation: Reservation): void {
    if (reservation.isWatched) return;
    reservation.isWatched = true;
    // Or a client that leaves before the rows are asked for would have them for nothing.
    context.cost.countsAfter = true;
    this.#whenOver(context, reservation, 1);
  }

  /** Another of the caller may be let in. */
  leave(context: RequestContext, reservation: Reservation): void {
    for (const place of reservation.learning.splice(0)) this.#learning.leave(place, context);
  }

  #whenOver(context: RequestContext, reservation: Reservation, hold: number): void {
    const { maxHoldMs, name } = reservation.policy;
    this.#kit.whenOver(context, maxHoldMs, hasEnded => {
      this.#kit.hookErrors.guard('@CostLimit() settlement', () => {
        const points = reservation.settle();
        this.leave(context, reservation);
        if (hasEnded) return this.#end(context, reservation, points);
        this.#kit.hookErrors.say(
          `@CostLimit() of ${name}`,
          `a request is still running after ${hold * maxHoldMs} ms; its cost so far is charged now, the rest later`,
        );
        if (hold < MOST_HOLDS) this.#whenOver(context, reservation, hold + 1);
      });
    });
  }

  #end(context: RequestContext, reservation: Reservation, points: number | undefined): void {
    const { handlers, policy, key } = reservation;
    const [first] = handlers;
    if (points === undefined || first === undefined) return;
    // Which field of an operation has cost what is not known.
    for (const { costs } of handlers) costs.add(points / handlers.length);
    settleLate(context, () => void reservation.settle());
    if (policy.by === 'user' && key.startsWith(`${policy.key}|x`) && context.userId !== undefined) {
      this.#order.userCameLater(first.name);
    }
  }
}
