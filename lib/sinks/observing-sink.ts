import type { ContextKind } from '../context/request-context';
import type { Trace } from '../context/trace';
import type { BreachRecord, CostRecord } from '../cost/cost-record';
import type { RequestCost } from '../cost/request-cost';
import type { CostRecordSink } from './cost-record.sink';

/** A unit of work that is open or about to close. */
export interface ObservedUnit {
  readonly requestId: string;
  readonly kind: ContextKind;
  /** Absent until it is known, and without a handler. */
  readonly handler: { readonly name: string } | undefined;
  /** Method and pattern; known at the end. */
  readonly route: string | undefined;
  /** HTTP method. */
  readonly method: string | undefined;
  /** Position in a distributed trace; created on first access. */
  readonly trace: Trace;
  readonly cost: RequestCost;
  /** Whether it was slow; known at the end. */
  readonly isSlow: boolean;
  /** Known at the end. */
  readonly breaches: readonly BreachRecord[];
}

/**
 * A sink that observes units of work while they are open, because what is active around them, such as a span, is gone
 * when their records arrive. Both methods run as part of the request, so they must be fast.
 *
 * @example
 * class OpenWorkSink implements ObservingSink {
 *   readonly name = 'open-work';
 *   open = 0;
 *   begins(): void {
 *     this.open += 1;
 *   }
 *   ends(): void {
 *     this.open -= 1;
 *   }
 *   write(): void {}
 * }
 */
export interface ObservingSink extends CostRecordSink {
  /** A unit of work has begun; what was active around it is still active. */
  begins(unit: ObservedUnit): void;
  /**
   * A unit of work has ended, and its breaches and slowness are known. For an HTTP request this is called before other
   * `close` listeners, such as the one with which OpenTelemetry ends its span.
   *
   * @param record builds the record as of now, which takes 10 µs or more
   */
  ends(unit: ObservedUnit, record: () => CostRecord): void;
}

/** Those of the sinks that look further than their records. */
export function observersAmong(sinks: readonly CostRecordSink[]): readonly ObservingSink[] {
  return (sinks as readonly (CostRecordSink & Partial<ObservingSink>)[]).filter(
    (sink): sink is ObservingSink => sink.begins !== undefined && sink.ends !== undefined,
  );
}
