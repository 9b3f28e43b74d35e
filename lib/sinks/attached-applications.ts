import type { SinkApplication } from './attached-sink';

/**
 * The applications whose figures a sink of metrics shows whenever it is asked.
 *
 * It keeps none of them: a registry lives as long as the process. One that is closed stays as long as
 * somebody else keeps it, so that what is collected at the very end has its last figures.
 */
export class AttachedApplications implements Iterable<SinkApplication> {
  readonly #references = new Set<WeakRef<SinkApplication>>();

  add(application: SinkApplication): void {
    for (const known of this) if (known === application) return;
    this.#references.add(new WeakRef(application));
  }

  /** All applications of a process share its drivers and its event loop: any of them knows the figures. */
  get any(): SinkApplication | undefined {
    for (const application of this) return application;
    return undefined;
  }

  /** Of the applications that look at it, the largest share of requests that one sheds. */
  get shedShare(): number | undefined {
    let most: number | undefined;
    for (const { overload } of this) {
      if (overload !== undefined) most = Math.max(most ?? 0, overload.shedShare);
    }
    return most;
  }

  *[Symbol.iterator](): Iterator<SinkApplication> {
    for (const reference of this.#references) {
      const application = reference.deref();
      if (application === undefined) this.#references.delete(reference);
      else yield application;
    }
  }
}
