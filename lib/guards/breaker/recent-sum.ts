/** The sum of the last window, in two halves, so that it forgets by halves. It is told the time. */
export class RecentSum {
  readonly #halfMs: number;
  #current = 0;
  #previous = 0;
  #turnMs = 0;

  constructor(windowMs: number) {
    this.#halfMs = windowMs / 2;
  }

  /** Adds, and gives the sum. */
  add(value: number, nowMs: number): number {
    const pastMs = nowMs - this.#turnMs;
    if (pastMs >= this.#halfMs) {
      const isNext = pastMs < 2 * this.#halfMs;
      this.#previous = isNext ? this.#current : 0;
      this.#current = 0;
      this.#turnMs = isNext ? this.#turnMs + this.#halfMs : nowMs;
    }
    this.#current += value;
    return this.#current + this.#previous;
  }
}
