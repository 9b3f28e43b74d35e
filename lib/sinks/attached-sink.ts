import type {
  Attribution,
  EventLoopDelay,
  OverloadState,
  RefusalCount,
  SinkStats,
} from '../record/process-figures';
import type { CostRecordSink } from './cost-record.sink';

/** What a sink can read from an application that sends it records; `ProcessFigures` implements it. */
export interface SinkApplication {
  /** How the calls of all drivers of the process were attributed. */
  readonly attribution: Attribution;
  /** Delay of the event loop of the process; absent before the application serves. */
  readonly eventLoopDelay?: EventLoopDelay | undefined;
  /** Delivery of the records of each of its sinks. */
  readonly sinkStats?: readonly SinkStats[];
  /** Refusals of its guards, including those of a dry run. */
  readonly refusals?: readonly RefusalCount[];
  /** Load of the process; absent without `forRoot({ overload })`. */
  readonly overload?: OverloadState | undefined;
}

/**
 * A sink that also reads figures of its application.
 *
 * @example
 * class LostCallsSink implements AttachedSink {
 *   readonly name = 'lost-calls';
 *   #application?: SinkApplication;
 *   attach(application: SinkApplication): void {
 *     this.#application = application;
 *   }
 *   write(): void {
 *     console.log(this.#application?.attribution.lost);
 *   }
 * }
 */
export interface AttachedSink extends CostRecordSink {
  /** Called once for each application that has the sink, when the application is created. */
  attach(application: SinkApplication): void;
}

/** Tells the sinks that want to know whose records they get. */
export function attachSinks(
  sinks: readonly CostRecordSink[],
  application: SinkApplication,
  guard: (where: string, call: () => unknown) => unknown,
): void {
  for (const sink of sinks as readonly (CostRecordSink & Partial<AttachedSink>)[]) {
    if (sink.attach === undefined) continue;
    guard(`sink ${sink.name}, attach()`, () => sink.attach?.(application));
  }
}
