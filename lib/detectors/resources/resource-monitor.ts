import { Injectable, type OnApplicationShutdown } from '@nestjs/common';
import { invalidOption } from '../../kernel/errors';
import type { ResourceNotes } from '../../context/request-context';
import type { HookErrorReporter } from '../../reporting/hook-error-reporter';
import type { LeftOpen } from './resource-ledger';
import type { ResourceMonitorOptions } from './resource-monitor-options';
import type { ResourceType } from '../../context/request-context';
import type { ResourceWatch } from './resource-watch';

// Loaded with the first start: most applications never start it.
const lazy = {
  hook: () => require('./resource-hook') as typeof import('./resource-hook'),
  options: () => require('./resource-monitor-options') as typeof import('./resource-monitor-options'),
  watch: () => require('./resource-watch') as typeof import('./resource-watch'),
};

/** The resources that one handler has left open at one line of the application. */
export interface ResourceLeak {
  /** `OrdersController.watch`; without a handler, the route or the kind of the work. */
  readonly handler: string;
  readonly type: ResourceType;
  /** `orders.service.ts:47 poll`, in the source if a source map is available. */
  readonly callSite: string | undefined;
  /** How many are open now, counting only monitored units of work. */
  readonly count: number;
  /** Milliseconds since the end of the unit of work of the oldest resource. */
  readonly oldestMs: number;
  /** The package or Node module that keeps them for itself, such as a pool; absent for a leak. */
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

/**
 * Finds resources that units of work open and do not close: timers, sockets, servers, file handles, streams, child
 * processes, watchers and workers, by handler and line. Use it to find leaks, not permanently in production:
 * docs/resource-monitor.md shows its cost.
 *
 * It is off until it is started. A resource that is still open `leakMs` after the end of its unit of work causes a
 * warning in the log, once a minute for each handler, type and line. Resources that packages and Node keep for
 * themselves, such as the connections of a pool, are not leaks.
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
  readonly #host: ResourceMonitorHost;
  readonly #hookErrors: HookErrorReporter;
  #watch: ResourceWatch | undefined;
  #isClosed = false;

  /** Nest creates it; applications inject it. */
  constructor(host: ResourceMonitorHost, hookErrors: HookErrorReporter) {
    this.#host = host;
    this.#hookErrors = hookErrors;
  }

  /** Whether it is running. */
  get isRunning(): boolean {
    return this.#watch !== undefined;
  }

  /** Open resources beyond the bounds (1,000 per handler, 10,000 in all) since the start, which are not monitored. */
  get untracked(): number {
    return this.#watch?.untracked ?? 0;
  }

  /**
   * Monitors a share of the units of work that open from now on. If it is already running, it starts over. It does
   * not start in an application that was closed.
   *
   * @throws AsyncContextError `ASYNC_CONTEXT_INVALID_OPTION` for an invalid option
   */
  start(options: ResourceMonitorOptions = {}): void {
    const settings = lazy
      .options()
      .readResourceMonitorOptions(options, (path, value, remedy) =>
        invalidOption(path, value, remedy, 'ResourceMonitor.start'),
      );
    this.stop();
    if (this.#isClosed) return;
    this.#watch = new (lazy.watch().ResourceWatch)(settings, this.#hookErrors);
    this.#host.sampler = this.#watch;
  }

  /** Stops it at once and discards its findings. */
  stop(): void {
    this.#host.sampler = undefined;
    this.#watch?.stop();
    this.#watch = undefined;
  }

  /** What was left open and is still open, most first. Empty while it is not running. */
  report(): readonly ResourceLeak[] {
    return this.#leftOpen(left => left.keptBy === undefined);
  }

  /**
   * What packages and Node have opened within units of work and keep open, most first. The count stays about the same
   * if a pool keeps them; if it grows with the number of requests, each request creates a pool or client of its own.
   */
  kept(): readonly ResourceLeak[] {
    return this.#leftOpen(left => left.keptBy !== undefined);
  }

  /**
   * Runs `fn`; resources that it opens before it returns are meant to stay open.
   *
   * @example
   * const monitor = app.get(ResourceMonitor);
   * const refresh = monitor.exempt(() => setInterval(() => orders.list(), 60_000));
   */
  exempt<T>(fn: () => T): T {
    return lazy.hook().withoutNotes(fn);
  }

  /** Called by Nest: stops it for good when the application closes. */
  onApplicationShutdown(): void {
    this.#isClosed = true;
    this.stop();
  }

  #leftOpen(isWanted: (left: LeftOpen) => boolean): ResourceLeak[] {
    const all = this.#hookErrors.ask('resource monitor', () => this.#watch?.leftOpen()) ?? [];
    return all
      .filter(isWanted)
      .sort((a, b) => b.count - a.count)
      .map(({ handler, type, callSite, count, oldestMs, keptBy }) => {
        return { handler, type, callSite, count, oldestMs, keptBy };
      });
  }
}
