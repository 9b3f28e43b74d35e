import { invalidOption } from '../../kernel/errors';
import { checkFunction, checkObject, readWhole } from '../../kernel/option-checks';
import type { CostLimitLevel, CostLimitStore, CostLimitTake } from './cost-limit-store';

const CALL = 'new MemoryCostLimitStore';
const MAX_KEYS = 100_000;

/** Options of `new MemoryCostLimitStore()`. */
export interface MemoryCostLimitOptions {
  /**
   * The most buckets that are kept; of those beyond, the least recently used go, and are full when they come back.
   * @default 100,000, some 20 MB
   */
  readonly maxKeys?: number;
  /**
   * The clock, in milliseconds.
   * @default performance.now
   */
  readonly now?: () => number;
}

interface Bucket {
  readonly level: number;
  readonly atMs: number;
}

/**
 * Keeps the buckets of `@CostLimit()` in this process, each process for itself. It is the default.
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
    if (now === null) throw invalidOption('now', now, 'Use a function, or leave it out.', CALL);
    checkFunction('now', now, CALL);
    this.#now = now;
  }

  /** How many buckets are not full, or were not when they were last asked. */
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
