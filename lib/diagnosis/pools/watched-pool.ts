import { clearTimeout, setTimeout } from '../../context/real-timers';
import type { RequestContext } from '../../context/request-context';
import type { Checkout } from './checkout';
import type { Holding } from './holding';
import { summarizeHolders } from './holders';
import type { PoolWait } from './pool-wait';
import { shareWaits, type WaitShare } from './wait-shares';
import { sharedName } from '../../context/protocol';

/** On a connection, for as long as it lives: a WeakMap costs 125 ns more. */
const SLOT = Symbol.for(sharedName('connection'));

/** How often is looked at who waits and who holds, while somebody does. */
const SAMPLE_MS = 100;

/** One connection of a pool. */
interface Slot {
  holding: Holding | undefined;
  /** Whether its pool knows of it. */
  isListed: boolean;
}

interface Connection {
  [SLOT]?: Slot;
}

/** What the pool watch does for each of its pools. */
export interface PoolWatcher {
  /** Has `sweep()` called from time to time, until it says that nothing is held. */
  activate(pool: WatchedPool): void;
  /** Runs something outside of the request that happens to be served. */
  outside<T>(fn: () => T): T;
  /** Says that something of ours has failed. */
  fault(error: unknown): void;
  reportWait(checkout: Checkout, wait: PoolWait): void;
  /** Whether somebody wants to hear of it. */
  readonly hearsOfShares: boolean;
  /** Says who held connections while others waited. */
  tellShares(shares: readonly WaitShare[], nowMs: number): void;
}

/** Who waits for the connections of one pool, and who holds them. */
export class WatchedPool {
  /** The most connections that it may have. */
  size = 0;
  /** Calls that wait. */
  waiting = 0;
  readonly driver: string;
  readonly #watcher: PoolWatcher;
  readonly #slots: Slot[] = [];
  /** Those that have not been reported, in the order of their start. */
  readonly #waiters = new Set<Checkout>();
  /** All that wait, in the order of their start. */
  readonly #queue = new Set<Checkout>();
  #timer: NodeJS.Timeout | undefined;
  #sampling: NodeJS.Timeout | undefined;
  #sampledMs = 0;

  constructor(driver: string, watcher: PoolWatcher) {
    this.driver = driver;
    this.#watcher = watcher;
  }

  /** For how long the first in line has waited, in milliseconds; 0 where nobody does. */
  longestWaitMs(nowMs: number): number {
    const [first] = this.#queue;
    return first === undefined ? 0 : Math.max(0, nowMs - first.sinceMs);
  }

  /** The connections that are held now. */
  get holdings(): Holding[] {
    return this.#slots.flatMap(({ holding }) => holding ?? []);
  }

  hold(connection: object, holding: Holding): void {
    try {
      this.#hold(connection, holding);
    } catch (error) {
      // A frozen connection.
      this.#watcher.fault(error);
    }
  }

  #hold(connection: object, holding: Holding): void {
    const slot = (connection as Connection)[SLOT] ?? makeSlot(connection);
    slot.holding = holding;
    if (slot.isListed) return;
    slot.isListed = true;
    this.#slots.push(slot);
    this.#watcher.activate(this);
  }

  /** Forgets the connections that are not held; whether any are. */
  sweep(look: (holding: Holding) => void): boolean {
    let kept = 0;
    for (const slot of this.#slots) {
      if (slot.holding === undefined) {
        slot.isListed = false;
      } else {
        this.#slots[kept] = slot;
        kept += 1;
        look(slot.holding);
      }
    }
    this.#slots.length = kept;
    return kept > 0;
  }

  enqueue(checkout: Checkout): void {
    this.waiting += 1;
    this.#queue.add(checkout);
    if (this.#sampling === undefined && this.#watcher.hearsOfShares) this.#sampleLater(checkout.sinceMs);
    if (checkout.poolWaitMs === 0) return;
    this.#waiters.add(checkout);
    if (this.#timer === undefined) this.#arm(checkout.poolWaitMs);
  }

  dequeue(checkout: Checkout): void {
    this.waiting -= 1;
    this.#queue.delete(checkout);
    this.#waiters.delete(checkout);
  }

  forget(): void {
    clearTimeout(this.#timer);
    clearTimeout(this.#sampling);
    this.#timer = undefined;
    this.#sampling = undefined;
    this.#waiters.clear();
    this.#queue.clear();
    for (const slot of this.#slots) {
      slot.holding = undefined;
      slot.isListed = false;
    }
    this.#slots.length = 0;
  }

  /** The part of the connections that one unit of work holds, from 0 to 1. */
  shareOf(context: RequestContext): number {
    let held = 0;
    for (const { holding } of this.#slots) if (holding?.context === context) held += 1;
    return this.size === 0 ? 0 : held / this.size;
  }

  #sampleLater(nowMs: number): void {
    this.#sampledMs = nowMs;
    this.#sampling = this.#watcher.outside(() => setTimeout(() => this.#sample(), SAMPLE_MS).unref());
  }

  /** So it costs the requests nothing; a wait that is over before it is looked at does no harm. */
  #sample(): void {
    this.#sampling = undefined;
    if (this.#queue.size === 0) return;
    const now = performance.now();
    // Of a time in which the event loop was blocked, whoever held a connection could not give it back.
    const passedMs = Math.min(now - this.#sampledMs, 2 * SAMPLE_MS);
    this.#sampleLater(now);
    this.#watcher.tellShares(shareWaits(this.#queue, this.holdings, passedMs), now);
  }

  #arm(delayMs: number): void {
    this.#timer = this.#watcher.outside(() => setTimeout(() => this.#look(), delayMs).unref());
  }

  /** Only the oldest are looked at: a thousand that wait cost no more than one. */
  #look(): void {
    this.#timer = undefined;
    const now = performance.now();
    let found: Pick<PoolWait, 'held' | 'holders'> | undefined;
    for (const checkout of this.#waiters) {
      const leftMs = checkout.sinceMs + checkout.poolWaitMs - now;
      // Node's timers may come early, by less than a millisecond.
      if (leftMs >= 1) {
        this.#arm(leftMs);
        return;
      }
      this.#waiters.delete(checkout);
      const { holdings } = this;
      found ??= { held: holdings.length, holders: summarizeHolders(holdings, now) };
      const wait: PoolWait = {
        driver: this.driver,
        waitedMs: now - checkout.sinceMs,
        size: this.size,
        waiting: this.waiting,
        own: holdings.filter(({ context }) => context === checkout.context).length,
        ...found,
      };
      checkout.wait = wait;
      this.#watcher.reportWait(checkout, wait);
    }
  }
}

/** What a connection is held for, if it was checked out. */
export function holdingOf(connection: object): Holding | undefined {
  return (connection as Connection)[SLOT]?.holding;
}

/** Says that a connection was given back. */
export function releaseHolding(connection: object): void {
  const slot = (connection as Connection)[SLOT];
  if (slot !== undefined) slot.holding = undefined;
}

function makeSlot(connection: object): Slot {
  const slot: Slot = { holding: undefined, isListed: false };
  // Not enumerable: the application may log its connections, or compare them.
  Object.defineProperty(connection, SLOT, { value: slot, configurable: true });
  return slot;
}
