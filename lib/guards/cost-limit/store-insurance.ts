import { runUncharged } from '../../context/charge-redirect';
import { isThenable, whenSettled } from '../../kernel/thenable';
import type { HookErrorReporter } from '../../reporting/hook-error-reporter';
import { OwnError } from '../../kernel/own-error';
import type { CostLimitLevel, CostLimitStore, CostLimitTake } from './cost-limit-store';
import { MemoryCostLimitStore } from './memory-cost-limit.store';

/** For so long after a failure a store is not asked. */
const REST_MS = 1_000;
/** Buckets whose settlement waits for a store that has failed. */
const MAX_OWED = 10_000;
const WHERE = 'the @CostLimit() store';

/** Where points were taken: what is settled goes there as well. */
export type TakenFrom = 'store' | 'memory' | 'nowhere';

/** What came of asking for points. */
export interface Taken {
  readonly admitted: boolean;
  /** Nobody knows it where nobody was asked. */
  readonly level: number | undefined;
  readonly from: TakenFrom;
}

/** What is in force while a store fails. */
export interface Insurance {
  readonly onStoreFailure: 'memory' | 'admit' | 'refuse';
  readonly timeoutMs: number;
  /** Told of each request that the store was not, or not in time, there for. */
  onInsured(): void;
}

/**
 * Asks a store, and goes on without it while it fails or is slow. After a failure one request in a second tries
 * it again, so that the others do not wait.
 */
export class InsuredStore {
  readonly #store: CostLimitStore;
  readonly #insurance: Insurance;
  readonly #hookErrors: HookErrorReporter;
  readonly #memory = new MemoryCostLimitStore();
  readonly #settling = new Set<Promise<void>>();
  /** What was to be settled while the store was at rest, by key. */
  readonly #owed = new Map<string, CostLimitTake>();
  #restsSinceMs: number | undefined;
  #isTrying = false;

  constructor(store: CostLimitStore, insurance: Insurance, hookErrors: HookErrorReporter) {
    this.#store = store;
    this.#insurance = insurance;
    this.#hookErrors = hookErrors;
  }

  /** Takes points, if there are enough. Never throws, and never rejects. */
  take(take: CostLimitTake): Taken | Promise<Taken> {
    if (this.#isAtRest()) return this.#insure(take);
    let answer: CostLimitLevel | Promise<CostLimitLevel>;
    try {
      answer = runUncharged(() => this.#store.take(take));
      if (!isThenable(answer)) return this.#read(answer);
    } catch (error) {
      return this.#fail(error, take);
    }
    return this.#inTime(answer as PromiseLike<CostLimitLevel>, take);
  }

  /** Takes points, or gives them back, whatever the level is; nobody waits for it. Never throws. */
  settle(from: TakenFrom, settlement: CostLimitTake): void {
    if (from === 'nowhere') return;
    if (from === 'memory') this.#memory.take(settlement);
    else if (this.#restsSinceMs !== undefined) this.#owe(settlement);
    else this.#send(settlement);
  }

  /** Waits for what is being settled, for as long as that may take. Never rejects. */
  async close(): Promise<void> {
    if (this.#owed.size > 0) this.#resume();
    await Promise.all(this.#settling);
    await this.#hookErrors.settle(WHERE, () => this.#store.close?.());
  }

  #send(settlement: CostLimitTake): void {
    try {
      const answer = runUncharged(() => this.#store.take(settlement));
      if (!isThenable(answer)) {
        this.#read(answer);
        return;
      }
      const settling = this.#inTime(answer as PromiseLike<CostLimitLevel>, undefined).then(() => undefined);
      this.#settling.add(settling);
      void settling.then(() => this.#settling.delete(settling));
    } catch (error) {
      this.#fail(error, undefined);
    }
  }

  /** @param take what is given back where the answer comes too late; a settlement is right at any time */
  #inTime(answer: PromiseLike<CostLimitLevel>, take: CostLimitTake | undefined): Promise<Taken> {
    const { timeoutMs } = this.#insurance;
    return new Promise(resolve => {
      let isLate = false;
      let hasAnswered = false;
      const giveUp = (): void => {
        if (hasAnswered) return;
        isLate = true;
        resolve(this.#fail(new OwnError(`it did not answer within ${timeoutMs} ms`), take));
      };
      // Where the event loop was blocked, timers come before an answer that has been there for long: it is read first.
      const timer = setTimeout(() => setImmediate(giveUp), timeoutMs).unref();
      const answered = (): void => {
        hasAnswered = true;
        clearTimeout(timer);
      };
      const failed = (error: unknown): void => {
        answered();
        if (!isLate) resolve(this.#fail(error, take));
      };
      whenSettled(
        answer,
        level => {
          if (isLate) return this.#giveBack(level, take);
          try {
            const taken = this.#read(level);
            answered();
            resolve(taken);
          } catch (error) {
            failed(error);
          }
        },
        failed,
      );
    });
  }

  #giveBack(level: CostLimitLevel, take: CostLimitTake | undefined): void {
    if (take === undefined || take.take === 0 || (level as CostLimitLevel | undefined)?.admitted !== true)
      return;
    this.settle('store', { ...take, need: -Infinity, take: -take.take });
  }

  /** @throws OwnError for what is no answer */
  #read(answer: CostLimitLevel): Taken {
    const { admitted, level } = ((answer as unknown) ?? {}) as Partial<CostLimitLevel>;
    if (typeof admitted !== 'boolean' || typeof level !== 'number' || Number.isNaN(level)) {
      throw new OwnError('take() did not return { admitted, level }');
    }
    if (this.#restsSinceMs !== undefined) this.#resume();
    return { admitted, level, from: 'store' };
  }

  #isAtRest(): boolean {
    if (this.#restsSinceMs === undefined) return false;
    const restedMs = performance.now() - this.#restsSinceMs;
    // A clock that a test has faked since may have gone back.
    if (this.#isTrying || (restedMs >= 0 && restedMs < REST_MS)) return true;
    this.#isTrying = true;
    return false;
  }

  #resume(): void {
    this.#restsSinceMs = undefined;
    this.#isTrying = false;
    const owed = [...this.#owed.values()];
    this.#owed.clear();
    for (const settlement of owed) this.settle('store', settlement);
  }

  #owe(settlement: CostLimitTake): void {
    const owed = this.#owed.get(settlement.key);
    if (owed === undefined && this.#owed.size >= MAX_OWED) return;
    this.#owed.set(settlement.key, { ...settlement, take: settlement.take + (owed?.take ?? 0) });
  }

  #fail(error: unknown, take: CostLimitTake | undefined): Taken {
    this.#restsSinceMs = performance.now();
    this.#isTrying = false;
    this.#hookErrors.report(WHERE, error);
    return take === undefined ? NOWHERE : this.#insure(take);
  }

  #insure(take: CostLimitTake): Taken {
    this.#insurance.onInsured();
    const { onStoreFailure } = this.#insurance;
    if (onStoreFailure === 'memory') return { ...this.#memory.take(take), from: 'memory' };
    return onStoreFailure === 'admit' ? NOWHERE : REFUSED;
  }
}

const NOWHERE: Taken = Object.freeze({ admitted: true, level: undefined, from: 'nowhere' });
const REFUSED: Taken = Object.freeze({ admitted: false, level: undefined, from: 'nowhere' });
