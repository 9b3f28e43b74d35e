import { performance } from 'node:perf_hooks';

/** Methods kept for one unit of work; the rest is counted as one. */
const MAX_METHODS = 100;
const OTHER = 'other';

/** Cost of the calls of one provider method. */
export interface TracedCallRecord {
  /** Class and method, such as `OrdersService.find`; `other` for all methods beyond the first 100. */
  readonly call: string;
  /** Number of calls. */
  readonly count: number;
  /** Sum of the durations in milliseconds; concurrent and nested calls are each counted in full. */
  readonly totalMs: number;
  /** The same, minus the time in which at least one traced call inside was running. */
  readonly selfMs: number;
  /** Calls that threw or rejected. */
  readonly errors: number;
}

/**
 * Running cost of one method.
 *
 * A clock reading is taken off a sum when something begins and added when it ends, so what is under
 * way is charged up to now without a list of it.
 */
interface MethodCost {
  readonly name: string;
  count: number;
  errors: number;
  /** Calls under way. */
  open: number;
  totalMs: number;
  /** Calls under way with at least one call inside under way. */
  covered: number;
  coveredMs: number;
}

/** Counts the calls of traced methods in one unit of work. */
export class CallTrace {
  /** `performance.now()` of the close; 0 while calls are counted. */
  endMs = 0;
  /** Gives the call that runs now; whoever counts the first one sets it. */
  callInForce: ((trace: CallTrace) => TracedCall | undefined) | undefined = undefined;
  readonly #methods = new Map<string, MethodCost>();

  /** @param caller the call that this one is made in, of the same unit of work */
  begin(name: string, caller: TracedCall | undefined): TracedCall {
    const cost = this.#methods.get(name) ?? this.#add(name);
    return new TracedCall(this, cost, caller, performance.now());
  }

  /** Nothing is counted from here on; what is under way is charged up to now. */
  close(now: number): void {
    this.endMs = now;
  }

  /** The innermost method that runs now; `undefined` outside of all, and beyond the first 100. */
  methodInForce(): string | undefined {
    const name = this.callInForce?.(this)?.name;
    return name === OTHER ? undefined : name;
  }

  /** What was called so far, most self time first; a call under way counts up to now. */
  records(): TracedCallRecord[] {
    const now = this.endMs || performance.now();
    const records = [...this.#methods].map(([call, cost]) => {
      const totalMs = Math.max(0, cost.totalMs + cost.open * now);
      const selfMs = Math.max(0, totalMs - cost.coveredMs - cost.covered * now);
      return { call, count: cost.count, totalMs, selfMs, errors: cost.errors };
    });
    return records.sort((a, b) => b.selfMs - a.selfMs);
  }

  #add(name: string): MethodCost {
    const key = this.#methods.size < MAX_METHODS ? name : OTHER;
    let cost = this.#methods.get(key);
    if (cost === undefined) {
      cost = { name: key, count: 0, errors: 0, open: 0, totalMs: 0, covered: 0, coveredMs: 0 };
      this.#methods.set(key, cost);
    }
    return cost;
  }
}

/** One call of a traced method. */
export class TracedCall {
  readonly trace: CallTrace;
  readonly #cost: MethodCost;
  /** The call around. */
  #caller: TracedCall | undefined;
  #isOpen = true;
  /** Calls inside that are under way. */
  #inside = 0;
  /** What it gave back, while that is pending. */
  #promise: unknown = undefined;
  /** The last call inside that gave back a promise. */
  #lastPending: TracedCall | undefined = undefined;
  /** The call around that gave back the same promise, and so ends with this one. */
  #follower: TracedCall | undefined = undefined;

  constructor(trace: CallTrace, cost: MethodCost, caller: TracedCall | undefined, now: number) {
    this.trace = trace;
    this.#cost = cost;
    cost.count += 1;
    cost.open += 1;
    cost.totalMs -= now;
    // What a call has left running goes on inside the next one around.
    this.#caller = TracedCall.#openFrom(caller);
    if (this.#caller !== undefined) this.#caller.#cover(now);
  }

  get name(): string {
    return this.#cost.name;
  }

  /** The call lasts until `end()`, which is called when this promise has settled. */
  pend(promise: unknown): void {
    this.#promise = promise;
    if (this.#caller !== undefined) this.#caller.#lastPending = this;
  }

  /** Ends the call, or lets it last as long as the call inside whose promise it gives back. */
  giveBack(result: unknown): void {
    const inner = this.#lastPending;
    if (inner === undefined || inner.#promise !== result || !inner.#isOpen) {
      this.end(false);
      return;
    }
    inner.#follower = this;
    this.pend(result);
  }

  end(failed: boolean): void {
    const isCounted = this.trace.endMs === 0;
    const now = isCounted ? performance.now() : 0;
    // A loop, as a method may hand on its own promise through thousands of calls.
    let next = this.#close(isCounted, failed, now);
    while (next !== undefined) next = next.#close(isCounted, failed, now);
  }

  #close(isCounted: boolean, failed: boolean, now: number): TracedCall | undefined {
    const follower = this.#follower;
    const caller = this.#caller;
    this.#isOpen = false;
    // A timer that lives on holds the call in its store, and must not hold what was given back.
    this.#promise = this.#lastPending = this.#follower = undefined;
    // Nor all the calls that have led to it, where each begins before the one around it has ended.
    this.#caller = TracedCall.#openFrom(caller);
    if (!isCounted) return follower;
    const cost = this.#cost;
    cost.open -= 1;
    cost.totalMs += now;
    if (failed) cost.errors += 1;
    if (this.#inside > 0) this.#uncover(now);
    if (caller !== undefined && caller.#isOpen) {
      caller.#inside -= 1;
      if (caller.#inside === 0) caller.#uncover(now);
    }
    return follower;
  }

  static #openFrom(call: TracedCall | undefined): TracedCall | undefined {
    while (call !== undefined && !call.#isOpen) call = call.#caller;
    return call;
  }

  #cover(now: number): void {
    this.#inside += 1;
    if (this.#inside > 1) return;
    this.#cost.covered += 1;
    this.#cost.coveredMs -= now;
  }

  #uncover(now: number): void {
    this.#cost.covered -= 1;
    this.#cost.coveredMs += now;
  }
}
