interface Waiter {
  readonly over: (hasSlot: boolean) => void;
  readonly timer: NodeJS.Timeout;
}

/** Those who hold a slot under one key, and those who wait for one, in the order in which they came. */
interface Lane {
  held: number;
  waiting: Set<Waiter> | undefined;
}

/**
 * So many slots for each key, and a queue for each that nobody overtakes in. A key that nobody holds a slot
 * under is forgotten, and there is a timer only for who waits.
 */
export class Bulkhead {
  readonly #limit: number;
  readonly #waitMs: number;
  readonly #lanes = new Map<string, Lane>();

  constructor(limit: number, waitMs: number) {
    this.#limit = limit;
    this.#waitMs = waitMs;
  }

  /** Keys that are in use. */
  get keys(): number {
    return this.#lanes.size;
  }

  /** Slots that are held under a key. */
  held(key: string): number {
    return this.#lanes.get(key)?.held ?? 0;
  }

  /** Takes a slot, if one is free. While somebody waits none is: it goes from hand to hand. */
  take(key: string): boolean {
    const lane = this.#lanes.get(key);
    if (lane === undefined) {
      this.#lanes.set(key, { held: 1, waiting: undefined });
      return true;
    }
    if (lane.held >= this.#limit) return false;
    lane.held += 1;
    return true;
  }

  /**
   * Waits for a slot where `take()` had none.
   *
   * @param over is told once whether there is one: it is taken then
   * @returns what leaves the queue before its time
   */
  wait(key: string, over: (hasSlot: boolean) => void): () => void {
    const lane = this.#lanes.get(key);
    if (lane === undefined) throw new Error('nobody has to wait for a slot that is free');
    const waiting = (lane.waiting ??= new Set());
    const leave = (): void => {
      if (!waiting.delete(waiter)) return;
      clearTimeout(waiter.timer);
      over(false);
    };
    const waiter: Waiter = { over, timer: setTimeout(leave, this.#waitMs).unref() };
    waiting.add(waiter);
    return leave;
  }

  /** Gives a slot back: to who has waited longest, or to nobody. */
  giveBack(key: string): void {
    const lane = this.#lanes.get(key);
    if (lane === undefined) return;
    const [next] = lane.waiting ?? [];
    if (next !== undefined) {
      lane.waiting?.delete(next);
      clearTimeout(next.timer);
      next.over(true);
      return;
    }
    lane.held -= 1;
    if (lane.held === 0) this.#lanes.delete(key);
  }
}
