import { Injectable, Logger, type OnApplicationShutdown } from '@nestjs/common';
import { invalidOption } from '../async-context.errors';
import { contextStorage } from '../context/context-storage';
import type { ResourceNotes } from '../context/request-context';
import type { FaultReporter } from './fault-reporter';
import { OncePerWindow } from './once-per-window';
import { OpenedResources } from './opened-resources';
import { takeHookFault, useResourceHook, withoutNotes } from './resource-hook';
import { ResourceLeakReport } from './resource-leak-report';
import { type LeftOpen, ResourceLedger } from './resource-ledger';
import { readResourceMonitorOptions, type ResourceMonitorOptions } from './resource-monitor-options';
import type { ResourceType } from './resource-types';

/** What one handler has left open at one line of the application, now. */
export interface ResourceLeak {
  /** `OrdersController.watch`; the route or the kind of work that no handler took. */
  readonly handler: string;
  readonly type: ResourceType;
  /** `orders.service.ts:47 poll`, in the source where a source map leads there. */
  readonly callSite: string | undefined;
  /** How many are open now, of the units of work that were looked at. */
  readonly count: number;
  /** Milliseconds since the end of the unit of work of the oldest. */
  readonly oldestMs: number;
  /** The package, or the module of Node, that keeps them for itself, such as a pool; of no leak. */
  readonly keptBy: string | undefined;
}

/** Picks the units of work that are looked at, when they open. */
export interface ResourceSampler {
  sample(): ResourceNotes | undefined;
}

/** What the monitor asks of the application it belongs to. */
export interface ResourceMonitorHost {
  sampler: ResourceSampler | undefined;
}

/** Between two looks at what is open. */
const SWEEP_MS = { least: 10, most: 1_000 };
/** A timeout ends by itself; so many of one line at a time pile up. */
const TIMEOUTS_THAT_PILE_UP = 10;

/**
 * Finds what units of work open and do not close: timers, sockets, servers, file handles, streams,
 * child processes, watchers and workers, by handler and line. For finding leaks, not for steady
 * production: docs/resource-monitor.md says what it costs.
 *
 * Off until it is started. What is still open `leakMs` after the end of its unit of work is a
 * warning in the log, once a minute for each handler, type and line. What packages and Node keep,
 * such as the connections of a pool, is none.
 *
 * @example
 * const monitor = app.get(ResourceMonitor);
 * monitor.start({ sample: 1, leakMs: 2_000 });
 * setTimeout(() => {
 *   console.table(monitor.report());
 *   monitor.stop();
 * }, 60_000).unref();
 */
@Injectable()
export class ResourceMonitor implements OnApplicationShutdown {
  readonly #logger = new Logger('ResourceMonitor');
  readonly #host: ResourceMonitorHost;
  readonly #faults: FaultReporter;
  #run: { readonly ledger: ResourceLedger; readonly stop: () => void } | undefined;
  #isClosed = false;

  /** Nest makes it; applications inject it. */
  constructor(host: ResourceMonitorHost, faults: FaultReporter) {
    this.#host = host;
    this.#faults = faults;
  }

  /** Whether it runs. */
  get isRunning(): boolean {
    return this.#run !== undefined;
  }

  /** What was opened beyond the bounds (1,000 of a handler, 10,000 in all) since the start, and is not looked at. */
  get untracked(): number {
    return this.#run?.ledger.untracked ?? 0;
  }

  /**
   * Looks at a share of the units of work that open from now on. One that runs begins anew. An
   * application that was closed starts none.
   *
   * @throws AsyncContextError `ASYNC_CONTEXT_INVALID_OPTION` for an option that cannot be
   */
  start(options: ResourceMonitorOptions = {}): void {
    const { sample, leakMs } = readResourceMonitorOptions(options, (path, value, remedy) =>
      invalidOption(path, value, remedy, 'ResourceMonitor.start'),
    );
    this.stop();
    if (this.#isClosed) return;
    const ledger = new ResourceLedger(leakMs);
    const windows = new OncePerWindow(60_000);
    const look = (): void =>
      void this.#faults.guard('resource monitor', () => this.#warn(ledger, windows, sample));
    const everyMs = Math.min(SWEEP_MS.most, Math.max(SWEEP_MS.least, leakMs / 2));
    // Outside of the request that may have asked for it: a timer keeps its context.
    const timer = contextStorage.run(undefined as never, () => setInterval(look, everyMs));
    timer.unref();
    const release = useResourceHook();
    this.#host.sampler = {
      sample: () => (Math.random() < sample ? new OpenedResources(ledger) : undefined),
    };
    this.#run = {
      ledger,
      stop: () => {
        clearInterval(timer);
        release();
        ledger.stop();
      },
    };
  }

  /** Ends it at once, and forgets what was found. */
  stop(): void {
    const run = this.#run;
    this.#run = undefined;
    this.#host.sampler = undefined;
    run?.stop();
  }

  /** What is open now and was left open, most first. Empty where it does not run. */
  report(): readonly ResourceLeak[] {
    return this.#left(left => left.keptBy === undefined);
  }

  /**
   * What packages and Node have opened within units of work and keep, most first. It stays about the
   * same where a pool keeps it; where it grows with the requests, one pool or client is made for each.
   */
  kept(): readonly ResourceLeak[] {
    return this.#left(left => left.keptBy !== undefined);
  }

  /**
   * Runs `fn`; what it opens before it returns is meant to stay open.
   *
   * @example
   * const monitor = app.get(ResourceMonitor);
   * const refresh = monitor.exempt(() => setInterval(() => orders.list(), 60_000));
   */
  exempt<T>(fn: () => T): T {
    return withoutNotes(fn);
  }

  /** Nest calls it: ends it for good, with its application. */
  onApplicationShutdown(): void {
    this.#isClosed = true;
    this.stop();
  }

  #left(isWanted: (left: LeftOpen) => boolean): ResourceLeak[] {
    const all = this.#faults.guard('resource monitor', () => this.#run?.ledger.leftOpen()) ?? [];
    return all
      .filter(isWanted)
      .sort((a, b) => b.count - a.count)
      .map(({ handler, type, callSite, count, oldestMs, keptBy }) => ({
        handler,
        type,
        callSite,
        count,
        oldestMs,
        keptBy,
      }));
  }

  #warn(ledger: ResourceLedger, windows: OncePerWindow, sample: number): void {
    const fault = takeHookFault();
    if (fault !== undefined) this.#faults.report('resource monitor', fault);
    for (const left of ledger.leftOpen()) {
      if (!ledger.grown.has(left.key) || left.keptBy !== undefined) continue;
      if (left.type === 'timeout' && left.count < TIMEOUTS_THAT_PILE_UP) continue;
      if (windows.admit(left.key) === undefined) continue;
      ledger.grown.delete(left.key);
      this.#logger.warn(new ResourceLeakReport(left, sample));
    }
  }
}
