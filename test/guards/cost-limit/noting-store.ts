import { type CostLimitLevel, type CostLimitTake, MemoryCostLimitStore } from 'nestjs-async-context';

/** Notes what is taken; its clock stands still. */
export class NotingStore extends MemoryCostLimitStore {
  readonly takes: CostLimitTake[] = [];
  readonly #sums = new Map<string, number>();

  /** @param now in milliseconds */
  constructor(now: () => number = () => 0) {
    super({ now });
  }

  override take(take: CostLimitTake): CostLimitLevel {
    const answer = super.take(take);
    this.takes.push(take);
    if (answer.admitted) this.#sums.set(take.key, (this.#sums.get(take.key) ?? 0) + take.take);
    return answer;
  }

  /** Points that are gone by now, from all buckets whose key has this in it. */
  sum(key: string): number {
    const sums = [...this.#sums].filter(([known]) => known.includes(key)).map(([, sum]) => sum);
    return sums.reduce((all, one) => all + one, 0);
  }
}
