import type { ContextKind } from '../context/request-context';
import type { Trace } from '../context/trace';
import type { BreachRecord, CostRecord } from '../cost/cost-record';
import type { RequestCost } from '../cost/request-cost';
import type { CostRecordSink } from './cost-record.sink';

/** A unit of work that is open, or that ends just now. */
export interface ObservedUnit {
  readonly requestId: string;
  readonly kind: ContextKind;
  /** Absent until it is known, and where no handler takes the work. */
  readonly handler: { readonly name: string } | undefined;
  /** Method and pattern; known at the end. */
  readonly route: string | undefined;
  /** HTTP method. */
  readonly method: string | undefined;
  /** Where it stands in a distributed trace; made when it is first asked for. */
  readonly trace: Trace;
  readonly cost: RequestCost;
  /** Whether it took longer than a request should; known at the end. */
  readonly isSlow: boolean;
  /** Known at the end. */
  readonly breaches: readonly BreachRecord[];
}

/**
 * A sink that looks at units of work while they are open: what is active around them, such as a span, is
 * gone when their records come. Both calls are made on the way of a request, so they must be quick.
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
  /** A unit of work has begun; what was active around it still is. */
  begins(unit: ObservedUnit): void;
  /**
   * It is over, and judged. Of an HTTP request this comes before the listeners of others hear of its
   * `close`, among them the one with which OpenTelemetry ends its span.
   *
   * @param record makes the record as it is by now: 10 µs and more
   */
  ends(unit: ObservedUnit, record: () => CostRecord): void;
}

/** Those of the sinks that look further than their records. */
export function observersAmong(sinks: readonly CostRecordSink[]): readonly ObservingSink[] {
  return (sinks as readonly (CostRecordSink & Partial<ObservingSink>)[]).filter(
    (sink): sink is ObservingSink => sink.begins !== undefined && sink.ends !== undefined,
  );
}
