import type { Waiter } from './waiter';

/** Those that wait for a connection, in the order of their start: in and out take the same time for one and for thousands. */
export class WaitList {
  #first: Waiter | undefined = undefined;
  #last: Waiter | undefined = undefined;
  /** The first that has not been looked at. */
  #next: Waiter | undefined = undefined;

  get first(): Waiter | undefined {
    return this.#first;
  }

  /** The first that has not been looked at. */
  get next(): Waiter | undefined {
    return this.#next;
  }

  add(waiter: Waiter): void {
    const last = this.#last;
    waiter.before = last;
    if (last === undefined) this.#first = waiter;
    else last.after = waiter;
    this.#last = waiter;
    this.#next ??= waiter;
  }

  remove(waiter: Waiter): void {
    const { before, after } = waiter;
    // It was forgotten, with all the others.
    if (before === undefined && this.#first !== waiter) return;
    if (before === undefined) this.#first = after;
    else before.after = after;
    if (after === undefined) this.#last = before;
    else after.before = before;
    if (this.#next === waiter) this.#next = after;
    waiter.before = undefined;
    waiter.after = undefined;
  }

  /** Goes on to the one after the next. */
  pass(): void {
    this.#next = this.#next?.after;
  }

  /** Those that leave afterwards are in no list. */
  clear(): void {
    for (let at = this.#first; at !== undefined;) {
      const { after }: Waiter = at;
      at.before = undefined;
      at.after = undefined;
      at = after;
    }
    this.#first = undefined;
    this.#last = undefined;
    this.#next = undefined;
  }

  *[Symbol.iterator](): Iterator<Waiter> {
    for (let at = this.#first; at !== undefined; at = at.after) yield at;
  }
}
