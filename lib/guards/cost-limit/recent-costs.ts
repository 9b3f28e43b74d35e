/** Costs that are kept of a handler. */
const KEPT = 100;
/** From so many on it is known what a handler costs. */
const ENOUGH = 20;
/** From then on it is calculated again after so many: sorting takes 4 µs. */
const STEP = 10;

/** What the last 100 units of work of a handler have cost, in points. */
export class RecentCosts {
  readonly #costs = new Float64Array(KEPT);
  #count = 0;
  #p95: number | undefined = 0;

  /** Whether there were 20 by now. */
  get isKnown(): boolean {
    return this.#count >= ENOUGH;
  }

  /** How many there were by now, also those that are not kept. */
  get count(): number {
    return this.#count;
  }

  /** Of 20 of them, one has cost more; 0 while there was none. */
  get p95(): number {
    return (this.#p95 ??= this.#calculate());
  }

  add(points: number): void {
    this.#costs[this.#count % KEPT] = points;
    this.#count += 1;
    if (this.#count <= ENOUGH || this.#count % STEP === 0) this.#p95 = undefined;
  }

  #calculate(): number {
    const kept = this.#costs.slice(0, Math.min(this.#count, KEPT)).sort();
    return kept[Math.ceil(kept.length * 0.95) - 1] ?? 0;
  }
}
