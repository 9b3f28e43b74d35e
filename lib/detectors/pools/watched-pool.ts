import { performance } from 'node:perf_hooks';
import { clearTimeout, setTimeout } from '../../kernel/real-timers';
import { callSitesOf, captureStack, type RawStack } from '../../kernel/call-site';
import type { RequestContext } from '../../context/request-context';
import { Lease } from './lease';
import { summarizeHolders } from './holders';
import type { PoolHolder, PoolWait } from '../../cost/pool-wait';
import { WaitList } from './wait-list';
import { shareWaits, type WaitShare } from './wait-shares';
import { sharedName } from '../../kernel/protocol';
import { deadlocks } from './said-waits';
import type { Waiter } from './waiter';

/** On a connection, for as long as it lives: a WeakMap costs 125 ns more. */
const SLOT = Symbol.for(sharedName('connection'));

/** How often is looked at who waits and who holds, while somebody does. */
const SAMPLE_MS = 100;

interface Connection {
  [SLOT]?: Lease;
}

/** What the pool watch does for each of its pools. */
export interface PoolWatcher {
  /** Whether anybody watches: what is taken while nobody does is not seen to be given back. */
  readonly isInUse: boolean;
  /** Has `sweep()` called from time to time, until it says that nothing is held. */
  activate(pool: WatchedPool): void;
  /** Runs something outside of the request that happens to be served. */
  outside<T>(fn: () => T): T;
  /** Says that something of ours has failed. */
  hookError(error: unknown): void;
  /** @param asksAt gives the line that asks for the connection, where it holds one already */
  reportWait(waiter: Waiter, wait: PoolWait, asksAt: () => string | undefined): void;
  /** Whether somebody wants to hear of it. */
  readonly hearsOfShares: boolean;
  /** Says who held connections while others waited. */
  tellShares(shares: readonly WaitShare[], nowMs: number): void;
}

/** A pool of which nothing is given out, while somebody waits who holds a part of it. */
export interface Standstill {
  readonly waiter: Waiter;
  readonly wait: PoolWait;
  /** Milliseconds since a connection was given out last. */
  readonly stillMs: number;
  readonly asksAt: string | undefined;
}

/** Who waits for the connections of one pool, and who holds them. */
export class WatchedPool {
  /** The most connections that it may have. */
  size = 0;
  /** Calls that wait. */
  waiting = 0;
  readonly driver: string;
  readonly #watcher: PoolWatcher;
  readonly #connections: Lease[] = [];
  readonly #queue = new WaitList();
  /** Where those ask who hold a connection of a pool that is full: they may wait for each other. */
  readonly #asking = new WeakMap<Waiter, RawStack>();
  #timer: NodeJS.Timeout | undefined;
  #sampling: NodeJS.Timeout | undefined;
  #sampledMs = 0;

  constructor(driver: string, watcher: PoolWatcher) {
    this.driver = driver;
    this.#watcher = watcher;
  }

  /** For how long the first in line has waited, in milliseconds; 0 where nobody does. */
  longestWaitMs(nowMs: number): number {
    const { first } = this.#queue;
    return first === undefined ? 0 : Math.max(0, nowMs - first.askedMs);
  }

  /** The connections that are held now. */
  get leases(): Lease[] {
    return this.#connections.filter(({ isHeld }) => isHeld);
  }

  /** `undefined` where it cannot be known: a frozen connection, or one that comes after the application was closed. */
  hold(connection: object, context: RequestContext | undefined, nowMs: number): Lease | undefined {
    if (!this.#watcher.isInUse) return undefined;
    const lease = (connection as Connection)[SLOT] ?? this.#watch(connection);
    if (lease === undefined) return undefined;
    lease.take(context, nowMs);
    if (!lease.isListed) {
      lease.isListed = true;
      this.#connections.push(lease);
      this.#watcher.activate(this);
    }
    return lease;
  }

  #watch(connection: object): Lease | undefined {
    try {
      const value = new Lease();
      // Not enumerable: the application may log its connections, or compare them.
      Object.defineProperty(connection, SLOT, { value, configurable: true });
      return value;
    } catch (error) {
      this.#watcher.hookError(error);
      return undefined;
    }
  }

  /** Forgets the connections that are not held; whether any are. */
  sweep(look: (lease: Lease) => void): boolean {
    let kept = 0;
    for (const lease of this.#connections) {
      if (lease.isHeld) {
        this.#connections[kept] = lease;
        kept += 1;
        look(lease);
      } else {
        lease.isListed = false;
      }
    }
    this.#connections.length = kept;
    return kept > 0;
  }

  enqueue(waiter: Waiter): void {
    this.waiting += 1;
    this.#queue.add(waiter);
    // Where connections are given at once, nothing of this is asked; the stack costs 2 to 5 µs.
    if (this.#connections.length >= this.size && this.#isHolder(waiter)) this.#noteAsking(waiter);
    if (this.#sampling === undefined && this.#watcher.hearsOfShares) this.#sampleLater(waiter.askedMs);
    if (this.#timer !== undefined) return;
    const { poolWaitMs } = waiter;
    if (poolWaitMs > 0) this.#arm(poolWaitMs);
  }

  #noteAsking(waiter: Waiter): void {
    try {
      this.#asking.set(waiter, captureStack(this.enqueue));
    } catch {
      // Near the end of the stack; it is reported without its line.
    }
  }

  dequeue(waiter: Waiter, nowMs: number): void {
    this.waiting -= 1;
    this.#queue.remove(waiter);
    // It keeps the objects of its request.
    this.#asking.delete(waiter);
    if (waiter.wait === undefined) return;
    waiter.note(waiter.wait, nowMs);
    waiter.wait = undefined;
  }

  forget(): void {
    clearTimeout(this.#timer);
    clearTimeout(this.#sampling);
    this.#timer = undefined;
    this.#sampling = undefined;
    this.#queue.clear();
    for (const lease of this.#connections) {
      lease.giveBack();
      lease.isListed = false;
    }
    this.#connections.length = 0;
  }

  /** The part of the connections that one unit of work holds, from 0 to 1. */
  shareOf(context: RequestContext): number {
    let held = 0;
    for (const one of this.#connections) if (one.isHeld && one.context === context) held += 1;
    return this.size === 0 ? 0 : held / this.size;
  }

  /** The first in line of a deadlock; `undefined` while connections are given out. */
  standstill(nowMs: number, afterMs: number): Standstill | undefined {
    if (this.#queue.first === undefined) return undefined;
    const { leases } = this;
    const movedMs = Math.max(...leases.map(({ sinceMs }) => sinceMs));
    if (leases.length < this.size || nowMs - movedMs < afterMs) return undefined;
    for (const waiter of this.#queue) {
      if (waiter.poolWaitMs === 0 || waiter.waitedMs(nowMs) < afterMs || !this.#isHolder(waiter)) continue;
      const wait = this.#describe(waiter, nowMs, leases);
      if (deadlocks.has(wait))
        return { waiter, wait, stillMs: nowMs - movedMs, asksAt: this.#asksAt(waiter) };
    }
    return undefined;
  }

  /** Who holds the pool, seen by the first that waits for it. */
  firstWait(nowMs: number): PoolWait | undefined {
    const { first } = this.#queue;
    return first && this.#describe(first, nowMs, this.leases);
  }

  #isHolder({ context }: Waiter): boolean {
    if (context === undefined) return false;
    return this.#connections.some(lease => lease.isHeld && lease.context === context);
  }

  /** Whether nothing is left to be given, and each who holds a part of it waits for more: whoever works gives it back. */
  #isDeadlock(leases: readonly Lease[]): boolean {
    if (leases.length < this.size) return false;
    const waiting = new Set<RequestContext | undefined>();
    for (const { context } of this.#queue) waiting.add(context);
    return leases.every(
      ({ context, state }) => context !== undefined && state !== 'running' && waiting.has(context),
    );
  }

  #asksAt(waiter: Waiter): string | undefined {
    const stack = this.#asking.get(waiter);
    return stack && callSitesOf(stack)[0];
  }

  #describe(
    waiter: Waiter,
    nowMs: number,
    leases: readonly Lease[],
    holders = summarizeHolders(leases, nowMs),
  ): PoolWait {
    const wait: PoolWait = {
      driver: this.driver,
      waitedMs: 0,
      size: this.size,
      held: leases.length,
      waiting: this.waiting,
      // What runs a statement comes back by itself.
      own: leases.filter(({ context, state }) => context === waiter.context && state !== 'running').length,
      ownWaiting: this.#waitingOf(waiter.context),
      holders,
    };
    waiter.note(wait, nowMs);
    if (wait.own > 0 && this.#isDeadlock(leases)) deadlocks.add(wait);
    return wait;
  }

  #sampleLater(nowMs: number): void {
    this.#sampledMs = nowMs;
    this.#sampling = this.#watcher.outside(() => setTimeout(() => this.#sample(), SAMPLE_MS).unref());
  }

  /** So it costs the requests nothing; a wait that is over before it is looked at does no harm. */
  #sample(): void {
    this.#sampling = undefined;
    if (this.#queue.first === undefined) return;
    const now = performance.now();
    // Of a time in which the event loop was blocked, whoever held a connection could not give it back.
    const passedMs = Math.min(now - this.#sampledMs, 2 * SAMPLE_MS);
    this.#sampleLater(now);
    this.#watcher.tellShares(shareWaits(this.#queue, this.leases, passedMs), now);
  }

  #arm(delayMs: number): void {
    this.#timer = this.#watcher.outside(() => setTimeout(() => this.#look(), delayMs).unref());
  }

  #waitingOf(context: RequestContext | undefined): number {
    let count = 0;
    for (const waiter of this.#queue) if (waiter.context === context) count += 1;
    return count;
  }

  /** Only the oldest are looked at: a thousand that wait cost no more than one. */
  #look(): void {
    this.#timer = undefined;
    const now = performance.now();
    let found: readonly Lease[] | undefined;
    let holders: readonly PoolHolder[] | undefined;
    for (let waiter = this.#queue.next; waiter !== undefined; waiter = this.#queue.next) {
      const { poolWaitMs } = waiter;
      // A timer is late where the event loop was blocked.
      const leftMs = poolWaitMs - waiter.waitedMs(now);
      // Node's timers may come early, by less than a millisecond.
      if (poolWaitMs > 0 && leftMs >= 1) {
        this.#arm(leftMs);
        return;
      }
      this.#queue.pass();
      // Of an application that does not want to hear of it, or of none.
      if (poolWaitMs === 0) continue;
      const leases = (found ??= this.leases);
      holders ??= summarizeHolders(leases, now);
      const wait = this.#describe(waiter, now, leases, holders);
      waiter.wait = wait;
      this.#watcher.reportWait(waiter, wait, () => this.#asksAt(waiter));
    }
  }
}

/** What a connection is held for, if it is. */
export function leaseOf(connection: object): Lease | undefined {
  const lease = (connection as Connection)[SLOT];
  return lease?.isHeld === true ? lease : undefined;
}

/** Says that a connection was given back. */
export function releaseLease(connection: object): void {
  (connection as Connection)[SLOT]?.giveBack();
}
