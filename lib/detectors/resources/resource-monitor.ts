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
  readonly #host: ResourceMonitorHost;
  readonly #hookErrors: HookErrorReporter;
  #watch: ResourceWatch | undefined;
  #isClosed = false;

  /** Nest makes it; applications inject it. */
  constructor(host: ResourceMonitorHost, hookErrors: HookErrorReporter) {
    this.#host = host;
    this.#hookErrors = hookErrors;
  }

  /** Whether it runs. */
  get isRunning(): boolean {
    return this.#watch !== undefined;
  }

  /** What was left open beyond the bounds (1,000 of a handler, 10,000 in all) since the start, and is not looked at. */
  get untracked(): number {
    return this.#watch?.untracked ?? 0;
  }

  /**
   * Looks at a share of the units of work that open from now on. One that runs begins anew. An
   * application that was closed starts none.
   *
   * @throws AsyncContextError `ASYNC_CONTEXT_INVALID_OPTION` for an option that cannot be
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

  /** Ends it at once, and forgets what was found. */
  stop(): void {
    this.#host.sampler = undefined;
    this.#watch?.stop();
    this.#watch = undefined;
  }

  /** What is open now and was left open, most first. Empty while it does not run. */
  report(): readonly ResourceLeak[] {
    return this.#leftOpen(left => left.keptBy === undefined);
  }

  /**
   * What packages and Node have opened within units of work and keep, most first. It stays about the
   * same where a pool keeps it; where it grows with the requests, one pool or client is made for each.
   */
  kept(): readonly ResourceLeak[] {
    return this.#leftOpen(left => left.keptBy !== undefined);
  }

  /**
   * Runs `fn`; what it opens before it returns is meant to stay open.
   *
   * @example
   * const monitor = app.get(ResourceMonitor);
   * const refresh = monitor.exempt(() => setInterval(() => orders.list(), 60_000));
   */
  exempt<T>(fn: () => T): T {
    return lazy.hook().withoutNotes(fn);
  }

  /** Nest calls it: ends it for good, with its application. */
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
