import type { ResolvedBreaker } from './breaker-options';

/** Callers that come again at once would meet the only request that may try. */
const JITTER = 0.2;
/** From which part of a pool on one handler leaves too little to the others. */
const TOO_MUCH_OF_A_POOL = 0.5;

/** Why a handler is refused. */
export type BreakerCause = 'blocked' | 'connections' | 'failures';

/** What one request has done. */
export interface Outcome {
  readonly failed: boolean;
  readonly blockedMs: number;
  /** Its client left before there was an answer: that says nothing of the handler. */
  readonly aborted: boolean;
  /**
   * Of one that tries: milliseconds for which it has held connections, as if each had been the whole pool. Half a
   * pool of ten for a second is 500.
   */
  readonly wholePoolMs?: number;
}

/** What the requests of half a window have done. */
export interface Tally {
  requests: number;
  failures: number;
  blockedMs: number;
  connectionsMs: number;
}

const newTally = (): Tally => ({ requests: 0, failures: 0, blockedMs: 0, connectionsMs: 0 });

/**
 * Says of one handler whether it is refused: closed until its requests do too much harm, then open, then half open
 * for one request at a time that may try, until one shows that it does no harm any more. It is told the time.
 */
export class Breaker {
  readonly #limits: ResolvedBreaker;
  readonly #random: () => number;
  #current = newTally();
  #previous = newTally();
  #turnMs = 0;
  #cause: BreakerCause | undefined;
  #openedMs = 0;
  #untilMs = 0;
  #probe: object | undefined;
  /** Requests that came since it opened. */
  #arrivals = 0;

  constructor(limits: ResolvedBreaker, random: () => number = Math.random) {
    this.#limits = limits;
    this.#random = random;
  }

  /** Absent while it is closed. */
  get cause(): BreakerCause | undefined {
    return this.#cause;
  }

  /** Requests that came since it opened. */
  get arrivals(): number {
    return this.#arrivals;
  }

  get openedMs(): number {
    return this.#openedMs;
  }

  /** What the window holds. */
  get sums(): Readonly<Tally> {
    const [now, before] = [this.#current, this.#previous];
    return {
      requests: now.requests + before.requests,
      failures: now.failures + before.failures,
      blockedMs: now.blockedMs + before.blockedMs,
      connectionsMs: now.connectionsMs + before.connectionsMs,
    };
  }

  /** Counts a request that has ended; whether that opens it. */
  learn({ failed, blockedMs, aborted }: Outcome, nowMs: number): boolean {
    if (this.#cause !== undefined) return false;
    this.#turn(nowMs);
    if (!aborted) this.#current.requests += 1;
    if (failed) this.#current.failures += 1;
    this.#current.blockedMs += blockedMs;
    return (failed || blockedMs > 0) && this.#judge(nowMs);
  }

  /**
   * Counts its part of what another handler has waited for connections; whether that opens it.
   *
   * @param ofAllMs what all handlers have waited for each other within the window: where each has a small part in
   * it the pool is too small, and none is to blame
   */
  learnWait(waitedMs: number, ofAllMs: number, nowMs: number): boolean {
    if (this.#cause !== undefined) return false;
    this.#turn(nowMs);
    this.#current.connectionsMs += waitedMs;
    return this.#judge(nowMs, 2 * this.sums.connectionsMs >= ofAllMs);
  }

  /** Whether a request may come in while it is not closed: as the one that tries, or not at all. */
  admit(request: object, nowMs: number): 'probe' | 'refused' {
    this.#arrivals += 1;
    if (nowMs < this.#untilMs || this.#probe !== undefined) return 'refused';
    this.#probe = request;
    return 'probe';
  }

  /** Lets another request try; the one that does may still be judged. */
  giveBack(request: object): void {
    if (this.#probe === request) this.#probe = undefined;
  }

  /** Judges a request that has tried; whether that closes it. */
  judge(request: object, outcome: Outcome, nowMs: number): boolean {
    this.giveBack(request);
    if (this.#cause === undefined) return false;
    const { failed, blockedMs, wholePoolMs = 0 } = outcome;
    if (failed || this.#wouldBlock(blockedMs, nowMs) || this.#wouldHold(wholePoolMs, nowMs)) {
      this.#stayOpen(nowMs);
      return false;
    }
    if (outcome.aborted) return false;
    this.#cause = undefined;
    this.#probe = undefined;
    this.#current = newTally();
    this.#previous = newTally();
    return true;
  }

  /** Milliseconds until one may try. */
  leftMs(nowMs: number): number {
    return Math.max(0, this.#untilMs - nowMs);
  }

  /** Whether all that have come meanwhile would have blocked the loop for too long, had each been like this one. */
  #wouldBlock(blockedMs: number, nowMs: number): boolean {
    const { blockedMs: limit } = this.#limits;
    return limit > 0 && blockedMs * this.#arrivalsPerWindow(nowMs) >= limit;
  }

  /**
   * Whether all that have come meanwhile would hold half of a pool at a time, had each been like this one: what is
   * held at a time is how many come, times how long each holds (Little's law).
   */
  #wouldHold(wholePoolMs: number, nowMs: number): boolean {
    const { connectionsMs: limit, windowMs } = this.#limits;
    if (limit === 0 || this.#cause !== 'connections') return false;
    return wholePoolMs * this.#arrivalsPerWindow(nowMs) >= TOO_MUCH_OF_A_POOL * windowMs;
  }

  #arrivalsPerWindow(nowMs: number): number {
    const { windowMs } = this.#limits;
    return (this.#arrivals * windowMs) / Math.max(windowMs, nowMs - this.#openedMs);
  }

  #judge(nowMs: number, isToBlame = false): boolean {
    this.#cause = this.#find(isToBlame);
    if (this.#cause === undefined) return false;
    this.#openedMs = nowMs;
    this.#arrivals = 0;
    this.#stayOpen(nowMs);
    return true;
  }

  /** @param isToBlame whether most of what others have waited for connections was because of it */
  #find(isToBlame: boolean): BreakerCause | undefined {
    const { requests, failures, blockedMs, connectionsMs } = this.sums;
    const limits = this.#limits;
    if (limits.blockedMs > 0 && blockedMs >= limits.blockedMs) return 'blocked';
    if (isToBlame && limits.connectionsMs > 0 && connectionsMs >= limits.connectionsMs) return 'connections';
    if (limits.failureShare === 0 || requests < limits.minRequests) return undefined;
    return failures >= limits.failureShare * requests ? 'failures' : undefined;
  }

  #stayOpen(nowMs: number): void {
    this.#untilMs = nowMs + this.#limits.openMs * (1 + JITTER * this.#random());
  }

  /** Two halves, so that what is forgotten is forgotten by halves. */
  #turn(nowMs: number): void {
    const halfMs = this.#limits.windowMs / 2;
    const pastMs = nowMs - this.#turnMs;
    if (pastMs < halfMs) return;
    this.#previous = pastMs < 2 * halfMs ? this.#current : newTally();
    this.#current = newTally();
    this.#turnMs = pastMs < 2 * halfMs ? this.#turnMs + halfMs : nowMs;
  }
}
