import { AsyncResource } from 'node:async_hooks';
import { performance } from 'node:perf_hooks';
import { currentRedirect } from '../../context/charge-redirect';
import { contextStorage } from '../../context/context-storage';
import { oncePerProcess } from '../../kernel/once-per-process';
import { clearTimeout, setTimeout } from '../../kernel/real-timers';
import type { RequestContext } from '../../context/request-context';
import { callSitesOf, viaOf } from '../../kernel/call-site';
import type { Statement } from '../../sql/statement';
import type { OwnQueryHandle } from '../../cost/query-handle';
import { HookErrorReporter } from '../../reporting/hook-error-reporter';
import type { Report } from '../../reporting/report-text';
import { type ReportKind, reports } from '../../reporting/reports';
import { AcquiringLines } from '../../context/acquiring-lines';
import { Acquisition } from './acquisition';
import { describeLeak } from './connection-leak-report';
import { HeldQuery } from './held-query';
import { type Lease, nameOf } from './lease';
import type { PoolLimits, PoolWait } from '../../cost/pool-wait';
import { describeWait } from './pool-wait-report';
import { DEADLOCKS, deadlocks, POOL_WAITS, saidWaits } from './said-waits';
import type { WaitShare } from './wait-shares';
import type { Waiter } from './waiter';
import { leaseOf, WatchedPool } from './watched-pool';
import { sharedName } from '../../kernel/protocol';
import { ReportLogger } from '../../reporting/report-logger';

const LEAKS: ReportKind = {
  name: 'connections not released',
  one: 'connection not released',
  isError: false,
};
/** On a pool. */
const WATCHED = Symbol.for(sharedName('pool'));
const SWEEP_MS = 1_000;
/** Of `connectionLeakMs`: how often is looked, and when a connection is suspected, at the latest. */
const SWEEPS = 4;
const MAX_WAITS = 5;
/** For so long a wait is left to the end of its unit of work, and so many are looked at again. */
const STUCK_MS = 5_000;
const MAX_STUCK = 100;

type StackBoundary = (...args: never[]) => unknown;

/** Hears of who holds connections while others wait for them. */
export type ShareListener = (shares: readonly WaitShare[], nowMs: number) => void;

/** Knows the pools of the process: one for all applications, as they may share a pool. */
export class PoolWatch {
  readonly #hookErrors = new HookErrorReporter();
  readonly #logger = new ReportLogger('ConnectionPool');
  // A timer that is begun in a request would keep that request's store.
  readonly #outside = new AsyncResource('nestjs-async-context.pools');
  readonly #users = new Map<object, PoolLimits>();
  readonly #active = new Set<WatchedPool>();
  readonly #shareListeners = new Set<ShareListener>();
  /** Of work that no handler has taken, or not yet. */
  readonly #lines = new AcquiringLines();
  #sweepMs = SWEEP_MS;
  #timer: NodeJS.Timeout | undefined;
  #mayBeStuck = 0;

  get isInUse(): boolean {
    return this.#users.size > 0;
  }

  use(user: object, limits: PoolLimits): void {
    this.#users.set(user, limits);
    this.#setPace();
  }

  leave(user: object): void {
    this.#users.delete(user);
    this.#setPace();
    if (this.#users.size > 0) return;
    // What is given back from here on is not seen.
    clearTimeout(this.#timer);
    this.#timer = undefined;
    for (const pool of this.#active) pool.forget();
    this.#active.clear();
  }

  acquisition(
    pool: object,
    driver: string,
    size: number,
    stackBoundary: StackBoundary,
  ): Acquisition | undefined {
    const watched = this.of(pool, driver, size);
    if (watched === undefined) return undefined;
    const context = contextStorage.getStore();
    const lines = this.#linesOf(context);
    const stack = context === undefined ? undefined : lines.see(stackBoundary);
    return new Acquisition(watched, context, ledgerOf(context), lines, stack);
  }

  /** A pool, as it is known here; `undefined` while nobody wants to hear of pools. */
  of(pool: object, driver: string, size: number): WatchedPool | undefined {
    if (!this.isInUse) return undefined;
    const watched = (pool as { [WATCHED]?: WatchedPool })[WATCHED] ?? this.#watch(pool, driver);
    watched.size = size;
    return watched;
  }

  /** Notes what a connection is in, or what one is asked for; gives the handle to be ended. */
  note(on: object, statement: Statement, charge: OwnQueryHandle | undefined): OwnQueryHandle | undefined {
    if (on instanceof Acquisition) {
      on.statement = statement;
      // It counts its wait itself.
      if (charge !== undefined) on.ledger = undefined;
      return charge;
    }
    const lease = leaseOf(on);
    return lease === undefined ? charge : new HeldQuery(lease, statement, charge);
  }

  activate(pool: WatchedPool): void {
    this.#active.add(pool);
    this.#timer ??= this.outside(() => setTimeout(() => this.#sweep(), this.#sweepMs).unref());
  }

  /** For how long somebody has waited for a connection of any pool, in milliseconds; 0 where nobody does. */
  longestWaitMs(nowMs: number): number {
    let longestMs = 0;
    for (const pool of this.#active) longestMs = Math.max(longestMs, pool.longestWaitMs(nowMs));
    return longestMs;
  }

  /** The wait that is longest now, and who holds its pool; `undefined` where nobody waits. */
  longestWait(nowMs: number): PoolWait | undefined {
    const [longest] = [...this.#active].sort((a, b) => b.longestWaitMs(nowMs) - a.longestWaitMs(nowMs));
    return longest?.firstWait(nowMs);
  }

  /** The largest part of a pool that a unit of work holds now, from 0 to 1. */
  shareOf(context: RequestContext): number {
    let share = 0;
    for (const pool of this.#active) share = Math.max(share, pool.shareOf(context));
    return share;
  }

  /** @returns what ends it */
  hear(listener: ShareListener): () => void {
    this.#shareListeners.add(listener);
    return () => void this.#shareListeners.delete(listener);
  }

  get hearsOfShares(): boolean {
    return this.#shareListeners.size > 0;
  }

  tellShares(shares: readonly WaitShare[], nowMs: number): void {
    for (const listener of this.#shareListeners) listener(shares, nowMs);
  }

  hookError(error: unknown): void {
    this.#hookErrors.report('watching a connection pool', error);
  }

  outside<T>(fn: () => T): T {
    return this.#outside.runInAsyncScope(fn);
  }

  reportWait(waiter: Waiter, wait: PoolWait, asksAt: () => string | undefined): void {
    const { context } = waiter;
    if (context === undefined || this.#users.size === 0) return;
    const waits = (context.poolWaits ??= []);
    if (waits.length < MAX_WAITS) waits.push(wait);
    // Its end tells of it; but that of a deadlock, or of what waits for good, does not come.
    if (wait.own > 0 || context.isClosed) this.#sayWait(context, wait, asksAt);
    else this.#sayIfStuck(waiter, wait);
  }

  #sayIfStuck(waiter: Waiter, wait: PoolWait): void {
    if (this.#mayBeStuck >= MAX_STUCK) return;
    this.#mayBeStuck += 1;
    const look = (): void => {
      this.#mayBeStuck -= 1;
      const { context } = waiter;
      if (context === undefined || context.isClosed || waiter.wait !== wait) return;
      waiter.note(wait, performance.now());
      this.#sayWait(context, wait);
    };
    this.outside(() => setTimeout(look, STUCK_MS).unref());
  }

  #sayWait(context: RequestContext, wait: PoolWait, asksAt?: () => string | undefined): void {
    saidWaits.add(wait);
    const kind = deadlocks.has(wait) ? DEADLOCKS : POOL_WAITS;
    const suppressed = reports.admit(kind, `${nameOf(context)}, ${wait.driver}`, wait.waitedMs);
    if (suppressed === undefined) return;
    this.#say(kind, context, () => describeWait(context, wait, { suppressed, asksAt: asksAt?.() }));
  }

  /** A deadlock does not end: what is said of it once is easily overlooked. */
  #sayStandstill(pool: WatchedPool, now: number): void {
    const { waiter, wait, stillMs, asksAt } = pool.standstill(now, STUCK_MS) ?? {};
    const context = waiter?.context;
    if (context === undefined || wait === undefined) return;
    const subject = `${nameOf(context)}, ${wait.driver}, standstill`;
    if (!reports.wouldAdmit(DEADLOCKS, subject)) return;
    const suppressed = reports.admit(DEADLOCKS, subject, wait.waitedMs) ?? 0;
    this.#say(DEADLOCKS, context, () => describeWait(context, wait, { suppressed, asksAt, stillMs }));
  }

  #watch(pool: object, driver: string): WatchedPool {
    const value = new WatchedPool(driver, this);
    Object.defineProperty(pool, WATCHED, { value, configurable: true });
    return value;
  }

  #linesOf(context: RequestContext | undefined): AcquiringLines {
    const handler = context?.handler;
    return handler === undefined ? this.#lines : (handler.acquiringLines ??= new AcquiringLines());
  }

  #setPace(): void {
    const limits = [...this.#users.values()].map(({ connectionLeakMs }) => connectionLeakMs);
    const least = Math.min(SWEEP_MS * SWEEPS, ...limits.filter(limit => limit > 0));
    this.#sweepMs = Math.max(1, Math.floor(least / SWEEPS));
  }

  #sweep(): void {
    this.#timer = undefined;
    const now = performance.now();
    for (const pool of this.#active) {
      try {
        const isHeld = pool.sweep(lease => this.#look(pool, lease, now));
        if (isHeld) this.#sayStandstill(pool, now);
        if (isHeld) this.activate(pool);
        else this.#active.delete(pool);
      } catch (error) {
        // Out of a timer, it would end the process.
        this.#active.delete(pool);
        this.hookError(error);
      }
    }
  }

  #look(pool: WatchedPool, lease: Lease, now: number): void {
    const { context } = lease;
    if (context === undefined || context.endMs === 0 || lease.isReported) return;
    const limit = context.application.poolLimits?.connectionLeakMs ?? 0;
    if (limit === 0) return;
    // What a closed request acquires counts from then on.
    const outlivedMs = now - Math.max(context.endMs, lease.sinceMs);
    if (!lease.isSuspect && outlivedMs >= Math.min(SWEEP_MS, limit / SWEEPS)) {
      lease.isSuspect = true;
      lease.lines?.suspect();
    }
    if (outlivedMs >= limit) this.#reportLeak(pool, context, lease, outlivedMs, now);
  }

  #reportLeak(
    pool: WatchedPool,
    context: RequestContext,
    lease: Lease,
    outlivedMs: number,
    now: number,
  ): void {
    lease.line ??= lease.stack && callSitesOf(lease.stack)[0];
    const via = lease.stack && viaOf(lease.stack);
    // It keeps the objects of its request.
    lease.stack = undefined;
    const line = lease.line ?? lease.lines?.describe();
    const subject = `${nameOf(context)}, ${pool.driver}, ${line}`;
    // What the bound of all reports keeps back is asked again at the next sweep: it is said once only.
    if (!reports.wouldAdmit(LEAKS, subject) && !reports.isWithinWindow(LEAKS, subject)) return;
    lease.isReported = true;
    const suppressed = reports.admit(LEAKS, subject, outlivedMs);
    if (suppressed === undefined) return;
    const leak = { driver: pool.driver, lease, line, via, outlivedMs, heldMs: now - lease.sinceMs };
    this.#say(LEAKS, context, () => describeLeak(context, leak, suppressed));
  }

  /** The line belongs to the request that it speaks of. */
  #say({ isError }: ReportKind, context: RequestContext, describe: () => Report): void {
    contextStorage.run(context, () => {
      try {
        this.#logger.write(isError ? 'error' : 'warn', describe());
      } catch (error) {
        this.hookError(error);
      }
    });
  }
}

/** The one of the process. */
export function poolWatch(): PoolWatch {
  return oncePerProcess('pools', () => new PoolWatch());
}

function ledgerOf(context: RequestContext | undefined): Acquisition['ledger'] {
  if (context === undefined || context.isClosed) return undefined;
  const redirect = currentRedirect();
  return redirect === undefined ? context.cost : redirect.ledger;
}
