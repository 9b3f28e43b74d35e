import { invalidOption } from '../../kernel/errors';
import { checkFunction, checkObject, readWhole } from '../../kernel/option-checks';
import type { CostLimitLevel, CostLimitStore, CostLimitTake } from './cost-limit-store';

const CALL = 'new MemoryCostLimitStore';
const MAX_KEYS = 100_000;

/** Options of `new MemoryCostLimitStore()`. */
export interface MemoryCostLimitOptions {
  /**
   * Maximum number of buckets; beyond that, the least recently used are dropped and are full when they come back.
   * @default 100,000, about 20 MB
   */
  readonly maxKeys?: number;
  /**
   * Clock in milliseconds.
   * @default performance.now
   */
  readonly now?: () => number;
}

interface Bucket {
  readonly level: number;
  readonly atMs: number;
}

/**
 * Stores the buckets of `@CostLimit()` in this process, so that each process counts for itself. The default store.
 *
 * @throws AsyncContextError `ASYNC_CONTEXT_INVALID_OPTION`
 *
 * @example
 * AsyncContextModule.forRoot({ guards: { costLimit: { store: new MemoryCostLimitStore({ maxKeys: 10_000 }) } } });
 */
export class MemoryCostLimitStore implements CostLimitStore {
  readonly #maxKeys: number;
  readonly #now: () => number;
  /** The least recently used one comes first. Full ones are not in it. */
  readonly #buckets = new Map<string, Bucket>();

  constructor(options: MemoryCostLimitOptions = {}) {
    checkObject('', options, ['maxKeys', 'now'], CALL);
    const { maxKeys = MAX_KEYS, now = () => performance.now() } = options;
    this.#maxKeys = readWhole('maxKeys', maxKeys, 1, 10_000_000, CALL);
    if (now === null) throw invalidOption('now', now, 'Use a function, or omit it.', CALL);
    checkFunction('now', now, CALL);
    this.#now = now;
  }

  /** Number of buckets that were not full when they were last accessed. */
  get size(): number {
    return this.#buckets.size;
  }

  take({ key, burst, restorePerSecond, need, take }: CostLimitTake): CostLimitLevel {
    const atMs = this.#now();
    const known = this.#buckets.get(key);
    const level = known === undefined ? burst : refilled(known, burst, restorePerSecond, atMs);
    const admitted = level >= need;
    const left = admitted ? Math.min(burst, level - take) : level;
    if (known !== undefined) this.#buckets.delete(key);
    // Also one that is refused: a debtor who comes again and again is not the one to be forgotten. It stays as it
    // was, so that no fraction is rounded off each time.
    if (left < burst) this.#keep(key, admitted ? { level: left, atMs } : (known ?? { level: left, atMs }));
    return { admitted, level: left };
  }

  #keep(key: string, bucket: Bucket): void {
    if (this.#buckets.size >= this.#maxKeys) {
      const [oldest] = this.#buckets.keys();
      this.#buckets.delete(oldest as string);
    }
    this.#buckets.set(key, bucket);
  }
}

/** A clock that goes back takes nothing away. */
function refilled(bucket: Bucket, burst: number, restorePerSecond: number, nowMs: number): number {
  const restored = (Math.max(0, nowMs - bucket.atMs) / 1_000) * restorePerSecond;
  return Math.min(burst, bucket.level + restored);
}
