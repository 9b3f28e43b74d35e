import { Injectable } from '@nestjs/common';

/** How the calls of one driver were attributed since the process started. */
export interface DriverAttribution {
  /** To the unit of work that made them. */
  readonly charged: number;
  /** To a unit of work that was closed already. */
  readonly late: number;
  /** To nothing: they were made outside of any unit of work while an application was serving. */
  readonly lost: number;
}

/** How the calls of all drivers were attributed since the process started. */
export interface Attribution extends DriverAttribution {
  /** By name of the driver's package. */
  readonly drivers: Readonly<Record<string, DriverAttribution>>;
}

/**
 * How late the event loop was while work was open, since the application started to serve, in milliseconds. The
 * measurement stops a second after the last unit of work has ended and resumes with the next.
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
  /** Records that were meant for it. */
  readonly produced: number;
  /** Records that it has taken. A write that failed halfway is repeated, so it may hold some twice. */
  readonly delivered: number;
  /** Records that are lost: the queue was full, the sink refused them for too long, or time was up. */
  readonly dropped: number;
  /** Records that wait, or are being written. */
  readonly queued: number;
  /** Records that `sinkQueue.sample` left out; they are not among those produced. */
  readonly sampledOut: number;
}

/** How often a guard has refused the work of a handler since the application started. */
export interface RefusalCount {
  /** `user`, `cost-limit`, `concurrency`, `breaker` or `overload`. */
  readonly by: string;
  readonly reason: string;
  /** `OrdersController.list`; `none` where no route was known yet. */
  readonly handler: string;
  /** Whether it was a dry run, which refuses nothing. */
  readonly dryRun: boolean;
  readonly count: number;
}

/** How the process copes with its load, with `forRoot({ overload })`. */
export interface OverloadState {
  /** Whether requests are shed; in a dry run, whether they would be. */
  readonly isOverloaded: boolean;
  /** Share of the arrivals that is shed, from 0 to 0.95. */
  readonly shedShare: number;
  /** The shortest delay of the event loop within the last 100 ms, in milliseconds. */
  readonly delayMs: number;
  /** The shortest wait of the first in line for a connection of a pool within that time, in milliseconds. */
  readonly poolWaitMs: number;
  /** Requests that were shed since the application serves; in a dry run, would have been. */
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

  /** Nest makes it; applications inject it. */
  constructor(from: FigureSources) {
    this.#from = from;
  }

  /** How the calls of each driver were attributed since the process started. A test can hold `lost` at zero. */
  get attribution(): Attribution {
    return this.#from.attribution();
  }

  /** How late the event loop was; `undefined` before the first measurement. */
  get eventLoopDelay(): EventLoopDelay | undefined {
    return this.#from.eventLoopDelay();
  }

  /**
   * What became of the cost records so far, for each sink, in the order of `forRoot({ sinks })`.
   *
   * @example
   * const lost = figures.sinkStats.reduce((sum, { dropped }) => sum + dropped, 0);
   */
  get sinkStats(): readonly SinkStats[] {
    return this.#from.sinkStats();
  }

  /**
   * What the guards have refused since the application started, and in a dry run would have, by guard, reason and
   * handler.
   *
   * @example
   * const refused = figures.refusals.filter(({ dryRun }) => !dryRun).reduce((sum, { count }) => sum + count, 0);
   */
  get refusals(): readonly RefusalCount[] {
    return this.#from.refusals();
  }

  /** How the process copes with its load; `undefined` without `forRoot({ overload })`. */
  get overload(): OverloadState | undefined {
    return this.#from.overload();
  }
}
