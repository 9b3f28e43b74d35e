import { Injectable } from '@nestjs/common';

/** How the calls of one driver were attributed since the process started. */
export interface DriverAttribution {
  /** Charged to the unit of work that made them. */
  readonly charged: number;
  /** Made by a unit of work after it was closed. */
  readonly late: number;
  /** Made outside of any unit of work while an application was serving. */
  readonly lost: number;
}

/** How the calls of all drivers were attributed since the process started. */
export interface Attribution extends DriverAttribution {
  /** By package name of the driver. */
  readonly drivers: Readonly<Record<string, DriverAttribution>>;
}

/**
 * Delay of the event loop in milliseconds, while work was open, since the application started to serve. The
 * measurement stops one second after the last unit of work has ended, and resumes with the next one.
 */
export interface EventLoopDelay {
  readonly meanMs: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly maxMs: number;
}

/** What became of the records of one sink; `produced = delivered + dropped + queued`. */
export interface SinkStats {
  /** Name of the sink. */
  readonly sink: string;
  /** Records produced for it. */
  readonly produced: number;
  /** Records that it has accepted. A write that failed halfway is repeated, so it may hold some of them twice. */
  readonly delivered: number;
  /** Lost records: the queue was full, the sink rejected them for too long, or the shutdown timed out. */
  readonly dropped: number;
  /** Records that are queued or being written. */
  readonly queued: number;
  /** Records that `sinkQueue.sample` omitted; not included in `produced`. */
  readonly sampledOut: number;
}

/** How often a guard has refused a handler since the application started. */
export interface RefusalCount {
  /** `user`, `cost-limit`, `concurrency`, `breaker` or `overload`. */
  readonly by: string;
  readonly reason: string;
  /** `OrdersController.list`; `none` if the route was not known yet. */
  readonly handler: string;
  /** Whether it was a dry run, which refuses nothing. */
  readonly dryRun: boolean;
  readonly count: number;
}

/** Load of the process, with `forRoot({ overload })`. */
export interface OverloadState {
  /** Whether requests are shed; in a dry run, whether they would be. */
  readonly isOverloaded: boolean;
  /** Share of arriving requests that are shed, from 0 to 0.95. */
  readonly shedShare: number;
  /** Shortest delay of the event loop within the last 100 ms, in milliseconds. */
  readonly delayMs: number;
  /** Shortest waiting time of the first in line for a pool connection within the last 100 ms, in milliseconds. */
  readonly poolWaitMs: number;
  /** Requests shed since the application started to serve; in a dry run, requests that would have been shed. */
  readonly shed: number;
  readonly dryRun: boolean;
}

/** Where the figures come from. */
export type FigureSources = { readonly [K in keyof ProcessFigures]: () => ProcessFigures[K] };

/**
 * Figures of the process and of its application, beside those of single units of work. They are for metrics, health
 * checks and tests; the Prometheus and OpenTelemetry sinks export them.
 *
 * @example
 * const figures = app.get(ProcessFigures);
 * const isBusy = (figures.eventLoopDelay?.p99Ms ?? 0) > 200 || figures.overload?.isOverloaded === true;
 * expect(figures.attribution.lost).toBe(0);
 */
@Injectable()
export class ProcessFigures {
  readonly #from: FigureSources;

  /** Nest creates it; applications inject it. */
  constructor(from: FigureSources) {
    this.#from = from;
  }

  /** Attribution of the calls of each driver since the process started. A test can assert that `lost` is 0. */
  get attribution(): Attribution {
    return this.#from.attribution();
  }

  /** Delay of the event loop; `undefined` before the first measurement. */
  get eventLoopDelay(): EventLoopDelay | undefined {
    return this.#from.eventLoopDelay();
  }

  /**
   * Delivery of cost records so far, for each sink, in the order of `forRoot({ sinks })`.
   *
   * @example
   * const lost = figures.sinkStats.reduce((sum, { dropped }) => sum + dropped, 0);
   */
  get sinkStats(): readonly SinkStats[] {
    return this.#from.sinkStats();
  }

  /**
   * Refusals of the guards since the application started, including those of a dry run, by guard, reason and
   * handler.
   *
   * @example
   * const refused = figures.refusals.filter(({ dryRun }) => !dryRun).reduce((sum, { count }) => sum + count, 0);
   */
  get refusals(): readonly RefusalCount[] {
    return this.#from.refusals();
  }

  /** Load of the process; `undefined` without `forRoot({ overload })`. */
  get overload(): OverloadState | undefined {
    return this.#from.overload();
  }
}
