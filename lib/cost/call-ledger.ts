import { performance } from 'node:perf_hooks';
import type { RawStack } from '../kernel/call-site';
import { type TimeAccount, WAITS } from './time-account';

/** Targets kept for one unit of work; the rest is counted in the totals alone. */
const MAX_TARGETS = 50;
const MAX_TARGET_LENGTH = 100;

/** Calls other than queries: a cache command, an outbound HTTP request, a published message. */
export type CallDimension = 'cache' | 'http' | 'messages';

/** A call under way; only the first end counts. */
export interface OpenCall {
  end(failed?: boolean, bytes?: number): void;
}

/** Running cost of one command, host or queue. */
export interface TargetCost {
  count: number;
  errors: number;
  durationMs: number;
  bytes: number;
  /** Where it was called when it began to repeat, if that was looked at. */
  stack?: RawStack | undefined;
}

/** The name that a target is counted by. */
export function nameOfTarget(target: string): string {
  return target.length > MAX_TARGET_LENGTH ? target.slice(0, MAX_TARGET_LENGTH) : target;
}

/** What the history of a handler knows repeated calls by; no statement begins with the name of a dimension. */
export function keyOfCalls(dimension: CallDimension, target: string): string {
  return `${dimension} ${target}`;
}

/** Counts the calls of one dimension of one unit of work. */
export class CallLedger {
  count = 0;
  errors = 0;
  durationMs = 0;
  busyMs = 0;
  bytes = 0;
  maxConcurrent = 0;
  late = 0;
  /** By command, host or queue, at most 50. */
  readonly targets = new Map<string, TargetCost>();
  readonly #time: TimeAccount | undefined;
  readonly #wait: number;
  #inFlight = 0;
  #busySince = 0;

  constructor(dimension: CallDimension, time: TimeAccount | undefined) {
    this.#wait = WAITS.indexOf(dimension);
    this.#time = time;
  }

  /** Begins a call that is counted already. */
  begin(target: string): CallCharge {
    const cost = this.#targetOf(target);
    if (cost !== undefined) cost.count += 1;
    const now = performance.now();
    if (this.#inFlight === 0) this.#busySince = now;
    this.#inFlight += 1;
    if (this.#inFlight > this.maxConcurrent) this.maxConcurrent = this.#inFlight;
    this.#time?.begin(this.#wait, now);
    return new CallCharge(this, cost, now);
  }

  /** Adds what a call turned out to cost. */
  settle(target: TargetCost | undefined, startMs: number, failed: boolean, bytes: number): void {
    const now = performance.now();
    this.#inFlight -= 1;
    this.#time?.end(this.#wait, now);
    if (this.#inFlight === 0) this.busyMs += now - this.#busySince;
    const durationMs = now - startMs;
    this.durationMs += durationMs;
    this.bytes += bytes;
    if (failed) this.errors += 1;
    if (target === undefined) return;
    target.durationMs += durationMs;
    target.bytes += bytes;
    if (failed) target.errors += 1;
  }

  #targetOf(target: string): TargetCost | undefined {
    const name = nameOfTarget(target);
    const known = this.targets.get(name);
    if (known !== undefined || this.targets.size >= MAX_TARGETS) return known;
    const cost = { count: 0, errors: 0, durationMs: 0, bytes: 0 };
    this.targets.set(name, cost);
    return cost;
  }
}

/** A call that was made and has not ended; it stays with its unit of work whatever runs when it ends. */
export class CallCharge implements OpenCall {
  readonly #ledger: CallLedger;
  readonly #target: TargetCost | undefined;
  readonly #startMs: number;
  #isSettled = false;

  constructor(ledger: CallLedger, target: TargetCost | undefined, startMs: number) {
    this.#ledger = ledger;
    this.#target = target;
    this.#startMs = startMs;
  }

  /** Ends the call; only the first end counts. */
  end(failed = false, bytes = 0): void {
    if (this.#isSettled) return;
    this.#isSettled = true;
    this.#ledger.settle(this.#target, this.#startMs, failed, bytes);
  }
}
