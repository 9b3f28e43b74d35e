import type { RequestContext } from '../../context/request-context';
import { isThenable } from '../../kernel/thenable';
import type { CostLimitPlan, CostLimitPolicy } from './cost-limit-policy';
import { pointsOf } from './cost-prices';
import type { LimitedHandler } from './limited-handlers';
import type { InsuredStore, TakenFrom } from './store-insurance';

/** Statuses of a request that was turned away: its handler has not run. */
const TURNED_AWAY: ReadonlySet<number | undefined> = new Set([401, 403]);
/** The same by the class of its error, for what has no status. */
const TURNED_AWAY_BY: ReadonlySet<string | undefined> = new Set([
  'UnauthorizedException',
  'ForbiddenException',
]);

/** What one unit of work has taken of the bucket of one policy. */
export class Reservation {
  /** Absent until it is known, and where there is no limit. */
  plan: CostLimitPlan | undefined = undefined;
  isUnlimited = false;
  /** Of the bucket. */
  key = '';
  /** Points that were taken before the handlers ran. */
  reserved = 0;
  from: TakenFrom = 'nowhere';
  /** Whether there were too few points in a dry run: then nothing is taken afterwards, either. */
  isOverdrawn = false;
  isWatched = false;
  /** The field of an operation, or the handler, that was let in: each guard that runs twice for it asks once. */
  readonly occasions = new Set<object>();
  readonly handlers: LimitedHandler[] = [];
  readonly learning: string[] = [];
  /** While a store is asked; a second field waits for the first. */
  #turn: Promise<true> | undefined = undefined;
  readonly policy: CostLimitPolicy;
  readonly #context: RequestContext;
  readonly #store: InsuredStore;
  #charged = 0;

  constructor(policy: CostLimitPolicy, context: RequestContext, store: InsuredStore) {
    this.policy = policy;
    this.#context = context;
    this.#store = store;
  }

  reserve(points: number, from: TakenFrom): void {
    this.reserved += points;
    this.#charged += points;
    this.from = from;
    this.isOverdrawn = false;
  }

  /** While something is waited for: whoever is asked about it in the meantime waits for that. */
  get turn(): Promise<true> | undefined {
    return this.#turn;
  }

  /** Goes on with what something gives, at once where it is there. */
  when<T>(value: T | PromiseLike<T>, then: (value: T) => true | Promise<true>): true | Promise<true> {
    if (!isThenable(value)) return then(value as T);
    const turn: Promise<true> = Promise.resolve(value as PromiseLike<T>).then(then);
    this.#turn = turn;
    const clear = (): void => {
      if (this.#turn === turn) this.#turn = undefined;
    };
    turn.then(clear, clear);
    return turn;
  }

  /** Charges what it has cost by now and has not paid; gives what it has cost, or nothing where that is free. */
  settle(): number | undefined {
    const isFree = isTurnedAway(this.#context);
    const points = isFree ? 0 : pointsOf(this.#context.cost, this.policy.prices);
    const take = points - this.#charged;
    if (take !== 0 && this.plan !== undefined && !this.isOverdrawn) {
      this.#charged = points;
      this.#store.settle(this.from, { key: this.key, ...this.plan, need: -Infinity, take });
    }
    return isFree ? undefined : points;
  }
}

/** Of the fields of an operation some may have run where others were refused. */
function isTurnedAway({ kind, refused, status, error }: RequestContext): boolean {
  if (kind === 'graphql') return false;
  return refused !== undefined || TURNED_AWAY.has(status) || (kind !== 'http' && TURNED_AWAY_BY.has(error));
}
