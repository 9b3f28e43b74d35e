import type { RequestContext } from '../../context/request-context';

/** Lets in one at a time, of each caller, to a handler that nobody knows the cost of. */
export class Learning {
  readonly #running = new Map<string, RequestContext>();

  /** Whether nothing else of the caller runs there; several fields of one operation are one. */
  enter(key: string, context: RequestContext): boolean {
    const running = this.#running.get(key);
    if (running === undefined) this.#running.set(key, context);
    return running === undefined || running === context;
  }

  leave(key: string, context: RequestContext): void {
    if (this.#running.get(key) === context) this.#running.delete(key);
  }
}
