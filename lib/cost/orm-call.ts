import { AsyncLocalStorage } from 'node:async_hooks';
import { isPromise } from 'node:util/types';
import { sharedName } from '../kernel/protocol';
import { callSiteOf, captureStack, type RawStack, viaOf } from '../kernel/call-site';

type Give = (stack: RawStack) => void;

/** A call of an ORM under way. */
interface OrmCall {
  /** Asks for the stack that the application has made the call with. */
  want(give: Give): void;
}

/** What all copies of the package in one process share. */
interface Shared {
  /** Not until an ORM is called that needs it. */
  storage: AsyncLocalStorage<OrmCall> | undefined;
  /** The call that sends its queries before it gives anything back. */
  atOnce: OrmCall | undefined;
}

const NAME = Symbol.for(sharedName('orm calls'));
const holder = globalThis as { [key: symbol]: Shared | undefined };
const shared: Shared = (holder[NAME] ??= { storage: undefined, atOnce: undefined });

/** One whose stack was taken where it began. */
class BegunCall implements OrmCall {
  #stack: RawStack | undefined;

  constructor(stack: RawStack) {
    this.#stack = stack;
  }

  want(give: Give): void {
    if (this.#stack !== undefined) give(this.#stack);
  }

  /** A connection that it has opened carries it on, and must not hold what its functions were called on. */
  end(): void {
    this.#stack = undefined;
  }
}

/** One that is told by whom it was awaited when it ends. */
class AwaitedCall implements OrmCall {
  #wanted: Give[] | undefined;
  #isOpen = true;

  get isWanted(): boolean {
    return this.#wanted !== undefined;
  }

  want(give: Give): void {
    if (this.#isOpen) (this.#wanted ??= []).push(give);
  }

  end(stackBoundary: (...args: never[]) => unknown): void {
    // A connection that it has opened carries it on, to what others ask for.
    this.#isOpen = false;
    const wanted = this.#wanted;
    if (wanted === undefined) return;
    this.#wanted = undefined;
    try {
      const stack = captureStack(stackBoundary);
      for (const give of wanted) give(stack);
    } catch {
      // No line is better than an error in place of what the application has asked for.
    }
  }
}

/**
 * Runs what an ORM does for one call of the application. Queries inside that have nothing of the application on their
 * stacks may ask for that of the call, which is taken at its end, and only then: there V8 follows the promise to
 * whoever awaits it. Where the call begins, a thenable that is awaited has nobody above it.
 */
export function runOrmCall<T>(work: () => T): T {
  return run(new AwaitedCall(), work);
}

/**
 * The same for an ORM that sends its queries before it gives back a promise. Nothing is put around that one unless it
 * is asked for: a storage and a promise more cost a query 0.5 to 3 µs.
 */
export function runOrmCallAtOnce<T>(work: () => T): T {
  const call = new AwaitedCall();
  const around = shared.atOnce;
  shared.atOnce = call;
  let result: T;
  try {
    result = work();
  } finally {
    shared.atOnce = around;
  }
  return call.isWanted && isPromise(result) ? (settle(call, result) as T) : result;
}

/** The same where nothing leads from the promise to whoever awaits it, and the stack was taken at the begin. */
export function runOrmCallFrom<T>(stack: RawStack, work: () => T): T {
  return run(new BegunCall(stack), work);
}

/**
 * Gives the stack of the ORM's call, at once or when it ends, to a query whose own has nothing of the application.
 * Without such a call nothing is given.
 */
export function wantCaller(stack: RawStack, give: Give): void {
  const call = shared.atOnce ?? shared.storage?.getStore();
  if (call === undefined || callSiteOf(stack) !== undefined) return;
  // It is on the stack of the query alone: that of the call is taken at its end.
  const via = viaOf(stack);
  call.want(caller => {
    caller.via ??= via;
    give(caller);
  });
}

function run<T>(call: AwaitedCall | BegunCall, work: () => T): T {
  const result = (shared.storage ??= new AsyncLocalStorage()).run(call, work);
  // What else it gives is not awaited, and has been done here.
  if (isPromise(result)) return settle(call, result) as T;
  call.end(run);
  return result;
}

/** By `await`, which hands on what happened, and stands between in the chain that V8 follows. */
async function settle<T>(call: AwaitedCall | BegunCall, promise: Promise<T>): Promise<T> {
  try {
    return await promise;
  } finally {
    call.end(settle);
  }
}
