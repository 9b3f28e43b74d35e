import type { ContextApplication, RequestContext } from '../context/request-context';
import { recordAtClose } from '../record/record-at-close';
import type { HookErrorReporter } from '../reporting/hook-error-reporter';
import type { CostRecordSink } from '../sinks/cost-record.sink';
import { observersAmong, type ObservingSink } from '../sinks/observing-sink';

/** The sinks that look at units of work while they are open. */
export class Observers {
  readonly #sinks: readonly ObservingSink[];
  readonly #hookErrors: HookErrorReporter;

  constructor(sinks: readonly CostRecordSink[], hookErrors: HookErrorReporter) {
    this.#sinks = observersAmong(sinks);
    this.#hookErrors = hookErrors;
  }

  get isEmpty(): boolean {
    return this.#sinks.length === 0;
  }

  get all(): readonly object[] {
    return this.#sinks;
  }

  begins(context: RequestContext): void {
    this.#tell('begins', observer => observer.begins(context));
  }

  ends(context: RequestContext): void {
    this.#tell('ends', observer => observer.ends(context, () => recordAtClose(context)));
  }

  /** Another application takes a unit of work that was opened here: those that it has as well go on looking. */
  leave(context: RequestContext, others: readonly object[]): void {
    this.#tell('ends', observer => {
      if (!others.includes(observer)) observer.ends(context, () => recordAtClose(context));
    });
  }

  /** The application of these takes a unit of work that another one has opened. */
  take(context: RequestContext, opener: ContextApplication): void {
    opener.handOver(context, this.#sinks);
    this.#tell('begins', observer => {
      if (!opener.observes(observer)) observer.begins(context);
    });
  }

  has(observer: object): boolean {
    return this.all.includes(observer);
  }

  #tell(what: string, tell: (observer: ObservingSink) => void): void {
    for (const observer of this.#sinks)
      this.#hookErrors.guard(`sink ${observer.name}, ${what}()`, () => tell(observer));
  }
}
