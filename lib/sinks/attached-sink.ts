import type {
  Attribution,
  EventLoopDelay,
  OverloadState,
  RefusalCount,
  SinkStats,
} from '../record/process-figures';
import type { CostRecordSink } from './cost-record.sink';

/** What a sink can ask of an application that hands it records; `ProcessFigures` is one. */
export interface SinkApplication {
  /** How the calls of all drivers of the process were charged. */
  readonly attribution: Attribution;
  /** How late the event loop of the process was; absent before the application serves. */
  readonly eventLoopDelay?: EventLoopDelay | undefined;
  /** What became of the records of each of its sinks. */
  readonly sinkStats?: readonly SinkStats[];
  /** What its guards have refused, and in a dry run would have. */
  readonly refusals?: readonly RefusalCount[];
  /** How the process fares; absent without `forRoot({ overload })`. */
  readonly overload?: OverloadState | undefined;
}

/**
 * A sink that looks further than its records, at the figures of its application.
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
  /** Called once for each application that has the sink, when it is made. */
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
