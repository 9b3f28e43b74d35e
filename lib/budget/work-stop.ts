import { setMaxListeners } from 'node:events';
import { performance } from 'node:perf_hooks';
import { contextStorage } from '../context/context-storage';
import type { RequestContext } from '../context/request-context';
import { isThenable, whenSettled } from '../kernel/thenable';
import type { CallDimension } from '../cost/call-ledger';
import type { CostGate, CostLedger } from '../cost/cost-ledger';
import type { BreachRecord } from '../cost/cost-record';
import type { Statement } from '../sql/statement';
import type { ResolvedLimit } from '../cost/resolved-limit';
import { keepBreachStack } from './breach-stack';
import type { BudgetFunction, BudgetLimits } from './budget';
import { findBreaches } from './budget-check';
import type { AskBudget, ResolvedBudget } from './budget-resolver';
import { DEADLINE, deadlineInForce, DEFAULT_STATUS, type HardBudget } from './hard-budget';
import { QueryBudgetExceededError } from './query-budget-exceeded.error';
import { limitInForce } from './limit-in-force';
import { isKeptBack, markUndo, releasesLock } from './refused-commit';

type StackBoundary = (...args: never[]) => unknown;

/** How long after its end what a unit of work has begun is still stopped. */
const STOPPED_FOR_MS = 60_000;
const NOTHING_SENT = 'the deadline has passed';

/** When a unit of work is to be over, and who says so. */
interface Deadline {
  /** By `performance.now()`. */
  readonly atMs: number;
  readonly from: string;
  /** Whose it is: nobody waits any more once that is over. Without, it is there to stay. */
  readonly of?: RequestContext | undefined;
}

/** What the stop of a unit of work asks of its application. */
export interface StopRules {
  /** Asks a function of the application for the limits of this unit of work. Never throws. */
  readonly ask: AskBudget;
  /** Puts a budget in force that a function has given. */
  put(context: RequestContext, budget: ResolvedBudget): void;
  /** Says that a unit of work was stopped after its close. */
  stoppedLate(context: RequestContext, breach: BreachRecord): void;
}

/** Stops one unit of work at its hard limits and at its deadline, once and for good. */
export class WorkStop implements CostGate {
  /** What has stopped it. */
  breach: BreachRecord | undefined = undefined;
  /** Guards of it that run: until they are done the user may not be known. */
  guarding = 0;
  readonly #context: RequestContext;
  readonly #rules: StopRules;
  readonly #asked = new Map<BudgetFunction, BudgetLimits | undefined>();
  #hard: HardBudget | undefined = undefined;
  #byFunction: ResolvedBudget['byFunction'] = undefined;
  #given: Deadline | undefined = undefined;
  #declared: Deadline | undefined = undefined;
  #controller: AbortController | undefined = undefined;
  #timer: NodeJS.Timeout | undefined = undefined;
  #leaveOuter: (() => void) | undefined = undefined;
  /** Whether its client has left, which closes it, and its handler has not settled. */
  #worksOn = false;
  /** Queries that it has made since. */
  #lateQueries = 0;

  constructor(context: RequestContext, rules: StopRules) {
    this.#context = context;
    this.#rules = rules;
  }

  /** Of the HTTP answer. */
  get status(): number {
    return this.#hard?.status ?? DEFAULT_STATUS;
  }

  /** When it is to be over, by `performance.now()`. */
  get deadlineMs(): number | undefined {
    return this.#deadline()?.atMs;
  }

  /** Its handler is known, or another one has come to it. */
  use(budget: ResolvedBudget): void {
    this.#hard = budget.hard;
    this.#byFunction = budget.byFunction;
    const declared = deadlineInForce(budget.hard);
    this.#declared = declared && { atMs: this.#context.startMs + declared.limit, from: declared.from };
    this.#arm();
  }

  /**
   * Somebody else waits for it no longer than this: who has called, or the unit of work around it.
   *
   * @param of that unit of work
   */
  limit(atMs: number, from: string, of?: RequestContext): void {
    if (this.#given !== undefined && this.#given.atMs <= atMs) return;
    this.#given = { atMs, from, of };
    this.#arm();
  }

  /**
   * Asks what is declared as a function, once it may be asked.
   *
   * @param isClosing whether its context is about to let go of what the function asks for
   */
  resolve(isClosing = false): void {
    const resolve = this.#byFunction;
    if (resolve === undefined || this.guarding > 0 || (this.#context.isClosed && !isClosing)) return;
    // What it asks for in turn stands under the limits of outside.
    this.#byFunction = undefined;
    const ask: AskBudget = (limits, where) => {
      if (!this.#asked.has(limits)) this.#asked.set(limits, this.#rules.ask(limits, where));
      return this.#asked.get(limits);
    };
    this.#rules.put(
      this.#context,
      contextStorage.run(this.#context, () => resolve(ask)),
    );
  }

  admit(ledger: CostLedger, statement: Statement, stackBoundary: StackBoundary): void {
    if (!isOwnWork()) return;
    this.resolve();
    if (this.breach === undefined) {
      if (!this.isAtWork || !this.#isOverdue()) return;
      this.#passDeadline(statement.shape, ledger, stackBoundary);
    }
    if (this.#isLongOver()) return;
    this.keepBack(statement);
  }

  /** What is asked of a connection of it once it is stopped, whoever asks. */
  keepBack(statement: Statement): void {
    if (statement.kind === 'transaction' ? !isKeptBack(statement) : releasesLock(statement.shape)) return;
    throw this.#refusal(statement);
  }

  check(ledger: CostLedger, what: string, stackBoundary: StackBoundary): void {
    const { limits = [] } = this.#hard ?? {};
    if (limits.length === 0 || !this.isAtWork || !isOwnWork()) return;
    const [breach] = ledger.isClosed ? this.#findLate(limits, ledger) : findBreaches(limits, ledger);
    if (breach === undefined || releasesLock(what)) return;
    keepBreachStack(ledger, stackBoundary);
    this.stop(breach, what);
    throw this.#refusal({ shape: what, kind: 'read' });
  }

  /** Or a client would be rid of the limits by leaving. What else is asked for after the close is not told apart. */
  #findLate(limits: readonly ResolvedLimit[], ledger: CostLedger): BreachRecord[] {
    this.#lateQueries += 1;
    const used = ledger.queries + this.#lateQueries;
    const declared = limits.find(({ dimension }) => dimension === 'queries');
    const limit = declared && limitInForce(declared, Date.now());
    if (limit === undefined || used <= limit.limit) return [];
    return [{ dimension: limit.dimension, used, limit: limit.limit, from: limit.from }];
  }

  /** A lock in a cache is to be released also by a unit of work that has made too many queries. */
  checkCall(
    ledger: CostLedger,
    dimension: CallDimension,
    target: string,
    stackBoundary: StackBoundary,
  ): void {
    if (!isOwnWork()) return;
    this.resolve();
    const limits = this.#hard?.limits.filter(limit => limit.dimension === dimension) ?? [];
    const [breach] = findBreaches(limits, ledger);
    if (breach === undefined) return;
    keepBreachStack(ledger, stackBoundary);
    this.stop(breach, target);
    throw new QueryBudgetExceededError(breach, target, true);
  }

  /** Also stops what awaits it: they are one piece of work, in one transaction. */
  stop(breach: BreachRecord, what: string): void {
    if (this.breach !== undefined) return;
    this.breach = Object.freeze({ ...breach, hard: true });
    const { outer, cost } = this.#context;
    if (outer !== undefined && outer.cost !== cost) stopOf(outer, this.#rules).stop(breach, what);
    this.#abort(new QueryBudgetExceededError(breach, what, true));
    if (this.#context.isClosed) this.#rules.stoppedLate(this.#context, this.breach);
  }

  /** Whether it is to do nothing more, also where its deadline has passed and nobody has noticed. */
  hasStopped(): boolean {
    if (this.breach === undefined && this.isAtWork && this.#isOverdue()) {
      this.#passDeadline(NOTHING_SENT);
    }
    return this.breach !== undefined && !this.#isLongOver();
  }

  /**
   * What it has begun and not awaited is stopped with it. But a timer that was made in it once, for all, would
   * have its queries rejected for as long as the process lives.
   */
  #isLongOver(): boolean {
    const { isClosed, endMs } = this.#context;
    return isClosed && !this.isAtWork && performance.now() - endMs > STOPPED_FOR_MS;
  }

  /** What the record says of it, at the close. */
  breaches(): readonly BreachRecord[] {
    if (this.breach !== undefined) return [this.breach];
    const { endMs } = this.#context;
    const breach = this.#isOverdue(endMs || performance.now()) ? this.#overdue() : undefined;
    return breach === undefined ? [] : [{ ...breach, hard: true }];
  }

  /** Aborts when it is stopped, at its deadline, and when its client leaves. */
  signal(): AbortSignal {
    if (this.#controller !== undefined) return this.#controller.signal;
    this.resolve();
    const { signal } = (this.#controller = new AbortController());
    // Node 20 warns of a leak from the 11th listener on, and a handler may ask for more than ten things at once.
    setMaxListeners(0, signal);
    const { breach } = this;
    if (breach !== undefined) this.#abort(new QueryBudgetExceededError(breach, NOTHING_SENT, true));
    if (this.#context.aborted) this.#abort(clientLeft());
    this.#follow();
    this.#arm();
    return signal;
  }

  /** It is over: nothing is to come any more. */
  close(): void {
    clearTimeout(this.#timer);
    this.#leaveOuter?.();
    if (!this.#context.aborted) return;
    this.#workOn();
    this.#abort(clientLeft());
  }

  /** Node works on where a client leaves. */
  #workOn(): void {
    const { handling } = this.#context;
    if (this.breach !== undefined || !isThenable(handling)) return;
    this.resolve(true);
    this.#worksOn = true;
    const end = (): void => void (this.#worksOn = false);
    whenSettled(handling, end, end);
  }

  /** Whether it is open, or its handler works on. */
  get isAtWork(): boolean {
    return !this.#context.isClosed || this.#worksOn;
  }

  #refusal(statement: Pick<Statement, 'shape' | 'kind' | 'dialect'>): QueryBudgetExceededError {
    const error = new QueryBudgetExceededError(this.breach as BreachRecord, statement.shape, true);
    markUndo(error, statement);
    return error;
  }

  #deadline(): Deadline | undefined {
    const given = this.#given?.of === undefined || mayWait(this.#given.of) ? this.#given : undefined;
    const declared = this.#declared;
    if (given === undefined || declared === undefined) return given ?? declared;
    return given.atMs < declared.atMs ? given : declared;
  }

  #isOverdue(now = performance.now()): boolean {
    const deadline = this.#deadline();
    return deadline !== undefined && now >= deadline.atMs;
  }

  #overdue(): BreachRecord | undefined {
    const deadline = this.#deadline();
    if (deadline === undefined) return undefined;
    const { startMs, elapsedMs } = this.#context;
    return {
      dimension: DEADLINE,
      used: Math.round(this.#worksOn ? performance.now() - startMs : elapsedMs),
      limit: Math.max(0, Math.round(deadline.atMs - startMs)),
      from: deadline.from,
    };
  }

  #passDeadline(what: string, ledger?: CostLedger, stackBoundary?: StackBoundary): void {
    const breach = this.#overdue();
    if (breach === undefined) return;
    if (ledger !== undefined && stackBoundary !== undefined) keepBreachStack(ledger, stackBoundary);
    this.stop(breach, what);
  }

  /** A timer is for those who listen: who asks for something is told by the clock. */
  #arm(): void {
    clearTimeout(this.#timer);
    const atMs = this.deadlineMs;
    const signal = this.#controller?.signal;
    if (atMs === undefined || signal === undefined || signal.aborted || this.#context.isClosed) return;
    this.#timer = setTimeout(
      () => {
        // Timers may come early, by less than a millisecond.
        if (this.#isOverdue()) this.#passDeadline(NOTHING_SENT);
        else this.#arm();
      },
      Math.max(1, Math.ceil(atMs - performance.now())),
    ).unref();
  }

  /** A part of a request ends with it. */
  #follow(): void {
    const { outer } = this.#context;
    const controller = this.#controller;
    if (outer === undefined || controller === undefined || this.#context.isClosed) return;
    const signal = stopOf(outer, this.#rules).signal();
    const abort = (): void => this.#abort(signal.reason);
    if (signal.aborted) return abort();
    signal.addEventListener('abort', abort, { once: true });
    this.#leaveOuter = () => signal.removeEventListener('abort', abort);
  }

  /** Who listens is code of the unit of work, whoever runs now. */
  #abort(reason: unknown): void {
    clearTimeout(this.#timer);
    const controller = this.#controller;
    if (controller === undefined || controller.signal.aborted) return;
    contextStorage.run(this.#context, () => controller.abort(reason));
  }
}

/** The stop of a unit of work; made when it is first asked for. */
export function stopOf(context: RequestContext, rules: StopRules): WorkStop {
  return knownStop(context) ?? makeStop(context, rules);
}

/** The same, where it was made. */
export function knownStop({ cost }: RequestContext): WorkStop | undefined {
  return cost.gate as WorkStop | undefined;
}

/** Whether it has been stopped; its transactions are not to be committed. */
export function isStopped(context: RequestContext | undefined): boolean {
  return context !== undefined && knownStop(context)?.hasStopped() === true;
}

/** Whether a unit of work may wait for what it has begun; its own deadline may be that of another one around it. */
function mayWait(context: RequestContext): boolean {
  const stop = knownStop(context);
  if (stop === undefined) return !context.isClosed;
  return stop.isAtWork && stop.deadlineMs !== undefined;
}

function makeStop(context: RequestContext, rules: StopRules): WorkStop {
  const stop = new WorkStop(context, rules);
  context.cost.gate = stop;
  const { outer } = context;
  const atMs = outer && knownStop(outer)?.deadlineMs;
  if (atMs !== undefined) stop.limit(atMs, 'the enclosing request');
  return stop;
}

/**
 * Whether it is certain whose work runs. What comes by way of a connection (a notification, a message) runs in the
 * context of who opened it, for as long as it lives: that is counted, but never stopped.
 */
function isOwnWork(): boolean {
  return contextStorage.certain(contextStorage.capture()) !== undefined;
}

function clientLeft(): DOMException {
  return new DOMException('The client disconnected before the response was complete', 'AbortError');
}
