import { MemoryCostLimitStore } from 'nestjs-async-context';

/** The price list of `@CostLimit()`, of what the handlers here use. */
const pointsOf = ({ queries, blockedMs = 0 }) =>
  queries.count + queries.late + queries.rows * 0.01 + queries.durationMs * 0.1 + blockedMs;

/** Comparable between processes, and finer than `Date.now()`. */
const now = () => performance.timeOrigin + performance.now();
const userOf = key => key.slice(key.indexOf('|u:') + 3);

/**
 * What one process has taken of buckets, and what its requests have cost by their records: two accounts that know
 * nothing of each other.
 */
export class Books {
  name = 'books';
  context;
  #reserved = new Map();
  /** Points that each user was charged, reserved and settled, wherever the bucket was. */
  #charged = {};
  #requests = [];
  #refused = {};
  #takes = 0;
  #lastTakeMs = 0;

  constructor(store) {
    this.store = { take: take => this.#note('store', take, () => store.take(take)) };
    // The buckets that are in force while the store is away are the limiter's own.
    const { take: takeOfMemory } = MemoryCostLimitStore.prototype;
    const note = this.#noteAnswer.bind(this);
    MemoryCostLimitStore.prototype.take = function (take) {
      const beganMs = now();
      return note('memory', take, beganMs, takeOfMemory.call(this, take));
    };
  }

  async #note(from, take, ask) {
    const beganMs = now();
    const id = this.context.requestId;
    const answer = await ask();
    this.#takes += 1;
    this.#lastTakeMs = now();
    return this.#noteAnswer(from, take, beganMs, answer, id);
  }

  #noteAnswer(from, { key, need, take }, beganMs, answer, id = this.context.requestId) {
    if (!answer.admitted) return answer;
    const user = userOf(key);
    this.#charged[user] = (this.#charged[user] ?? 0) + take;
    // A settlement asks for nothing. What was too late for the store is of the memory.
    if (need > -Infinity && this.#reserved.get(id)?.from !== 'memory') {
      this.#reserved.set(id, { from, points: take, beganMs, answeredMs: now() });
    }
    return answer;
  }

  write(records) {
    for (const record of records) {
      const { requestId, refused, userId: user, startedAt, durationMs } = record;
      const reservation = this.#reserved.get(requestId);
      this.#reserved.delete(requestId);
      if (refused !== undefined) {
        this.#refused[refused.reason] = (this.#refused[refused.reason] ?? 0) + 1;
        continue;
      }
      const endedMs = Date.parse(startedAt) + durationMs;
      this.#requests.push({ user, spent: pointsOf(record), endedMs, ...reservation });
    }
  }

  summary() {
    return {
      requests: this.#requests,
      refused: this.#refused,
      charged: this.#charged,
      takes: this.#takes,
      lastTakeMs: this.#lastTakeMs,
    };
  }
}
