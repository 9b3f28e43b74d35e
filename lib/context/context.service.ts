import { performance } from 'node:perf_hooks';
import { Injectable } from '@nestjs/common';
import { contextMissing, userMissing } from '../kernel/errors';
import type { MeasuredQuery } from '../cost/measured-query';
import type { RequestCost } from '../cost/request-cost';
import { currentRedirect, runAgain, runRedirected } from './charge-redirect';
import { readBaggage } from '../w3c/baggage';
import type { Carrier } from './carrier';
import { checkedValue } from './checked-value';
import type { ContextKey } from './context-key';
import { contextStorage } from './context-storage';
import type { ContextApplication, ContextKind, ContextUser, RequestContext } from './request-context';
import { runAndNote } from './thrown-context';

/** How `run()` and `@RunInContext()` begin a unit of work. */
export interface ContextSeed {
  /**
   * Id of the unit of work.
   * @default a new one
   */
  readonly requestId?: string;
  /** @default 'job' */
  readonly kind?: ContextKind;
  /** Name for log lines and records, such as `NightlyReport.run`. */
  readonly handler?: string;
  readonly user?: ContextUser;
  /** What arrived from the caller; see `carry()`. */
  readonly carrier?: Carrier;
  /**
   * What the unit of work copies from the one that calls it: `true` for the user and all values, or a list of keys,
   * where `'user'` stands for the user. Changes inside stay inside. The carrier and the seed take precedence.
   * @default nothing
   */
  readonly inherit?: boolean | readonly (ContextKey<unknown> | string)[];
  /** Values that `get()` returns; validated as by `set()`. */
  readonly values?: Iterable<readonly [key: ContextKey<unknown> | string, value: unknown]>;
}

const NOTHING: Carrier = Object.freeze({});

/** How long `flush()` waits for the sinks unless it is told otherwise, in milliseconds. */
const FLUSH_WITHIN_MS = 1_000;

/** What `ContextService` asks of the application it belongs to. */
export interface ContextHost extends ContextApplication {
  runSeeded<T>(seed: ContextSeed, fn: () => T): T;
  carrierOf(context: RequestContext): Carrier;
  recordQuery(context: RequestContext, query: MeasuredQuery): void;
  /** Calls `fn` after the close, or at once where it is closed. */
  onClose(context: RequestContext, fn: () => unknown): void;
  signalOf(context: RequestContext): AbortSignal;
  /** When a unit of work is to be over, by `performance.now()`. */
  deadlineOf(context: RequestContext): number | undefined;
  /** Writes the records of what has ended, to all sinks. */
  flush(timeoutMs: number): Promise<void>;
}

/**
 * Gives any provider, including ordinary singletons, access to the unit of work that it runs in.
 *
 * @example
 * @Injectable()
 * export class InvoiceService {
 *   constructor(private readonly context: ContextService) {}
 *
 *   total() {
 *     this.logger.log(`${this.context.requestId} for ${this.context.user?.id}`);
 *   }
 * }
 */
@Injectable()
export class ContextService {
  readonly #host: ContextHost;

  /** Nest creates it; applications inject it. */
  constructor(host: ContextHost) {
    this.#host = host;
  }

  /** Whether this code runs in a unit of work of this application. */
  get isActive(): boolean {
    return this.#current() !== undefined;
  }

  /** The id that is returned in `x-request-id`. */
  get requestId(): string | undefined {
    return this.#current()?.requestId;
  }

  /**
   * Id of the distributed trace, 32 hexadecimal digits: from OpenTelemetry if it traces this process, else from a
   * valid incoming W3C `traceparent`, else a new one.
   */
  get traceId(): string | undefined {
    return this.#current()?.trace.traceId;
  }

  /** Id of this unit of work in its trace, 16 hexadecimal digits: the parent of its outgoing calls. */
  get spanId(): string | undefined {
    return this.#current()?.trace.spanId;
  }

  /**
   * The incoming `baggage`, by key, decoded. Any upstream service can set it, so do not trust it.
   * https://www.w3.org/TR/baggage/
   */
  get baggage(): ReadonlyMap<string, string> {
    return readBaggage(this.#current()?.baggage);
  }

  /**
   * The user given to `setUser()`, else `request.user`, else the user that `forRoot({ user })` returns; `undefined`
   * after the close, unless `forRoot({ keepAfterClose: true })` is set.
   */
  get user(): ContextUser | undefined {
    return this.#current()?.currentUser();
  }

  get kind(): ContextKind | undefined {
    return this.#current()?.kind;
  }

  /** `OrdersController.list`; known in guards, but not yet in middleware. */
  get handler(): string | undefined {
    return this.#current()?.handler?.name;
  }

  /** Method and pattern (`GET /orders/:id`), never the raw URL. */
  get route(): string | undefined {
    return this.#current()?.currentRoute();
  }

  get startedAt(): Date | undefined {
    const context = this.#current();
    return context === undefined ? undefined : new Date(context.startedAt);
  }

  /** Milliseconds since the unit of work began; after the close, its duration. */
  get elapsedMs(): number | undefined {
    return this.#current()?.elapsedMs;
  }

  /**
   * Aborts when the work is no longer needed: a hard limit was exceeded or the deadline has passed (the reason is a
   * `QueryBudgetExceededError`), or the client of an HTTP request disconnected before the response was complete (an
   * `AbortError`). Created on first access; `undefined` outside of any unit of work.
   *
   * @example
   * const answer = await fetch('https://rates.internal/today', { signal: context.signal ?? null });
   */
  get signal(): AbortSignal | undefined {
    const context = this.#current();
    return context === undefined ? undefined : this.#host.signalOf(context);
  }

  /**
   * When the unit of work must end: the earliest of `hard: { deadlineMs }`, the deadline of a trusted caller
   * (`forRoot({ deadline })`) and, in `run()`, the deadline of the enclosing unit of work. Database queries after that
   * are rejected with `QueryBudgetExceededError`.
   *
   * @example
   * const until = context.deadline ?? new Date(Date.now() + 30_000);
   */
  get deadline(): Date | undefined {
    const context = this.#current();
    const atMs = context && this.#host.deadlineOf(context);
    return context === undefined || atMs === undefined
      ? undefined
      : new Date(context.startedAt + Math.round(atMs - context.startMs));
  }

  /**
   * Whole milliseconds until the deadline, 0 after it; `undefined` without a deadline.
   *
   * @example
   * if ((context.remainingMs ?? Infinity) < 200) return [];
   */
  get remainingMs(): number | undefined {
    const context = this.#current();
    const atMs = context && this.#host.deadlineOf(context);
    return atMs === undefined ? undefined : Math.max(0, Math.ceil(atMs - performance.now()));
  }

  /** Live counters: the cost of the unit of work so far. */
  get cost(): RequestCost | undefined {
    return this.#current()?.cost;
  }

  /** The value of a key. Keys are flat: `a.b` and `__proto__` are names like any other. */
  get<T>(key: ContextKey<T> | string): T | undefined {
    return this.#current()?.values?.get(key) as T | undefined;
  }

  /**
   * Sets a value, as transformed by the schema of its key.
   *
   * @throws AsyncContextError `ASYNC_CONTEXT_MISSING` outside of any unit of work, `ASYNC_CONTEXT_INVALID_VALUE` if
   * the schema of the key rejects the value
   */
  set<T>(key: ContextKey<T> | string, value: T): void {
    const context = this.#require('contextService.set()');
    const checked = checkedValue(key, value);
    (context.values ??= new Map()).set(key, checked);
  }

  has(key: ContextKey<unknown> | string): boolean {
    return this.#current()?.values?.has(key) ?? false;
  }

  /** Deletes a value and returns whether it existed. */
  delete(key: ContextKey<unknown> | string): boolean {
    return this.#current()?.values?.delete(key) ?? false;
  }

  /** @throws AsyncContextError `ASYNC_CONTEXT_MISSING` outside of any unit of work */
  setUser(user: ContextUser): void {
    this.#require('contextService.setUser()').outermost.user = user;
  }

  /** @throws AsyncContextError `ASYNC_CONTEXT_MISSING` outside of any unit of work */
  requireRequestId(): string {
    return this.#require('contextService.requireRequestId()').requestId;
  }

  /** @throws AsyncContextError `ASYNC_CONTEXT_MISSING` outside of any unit of work, or if it has no user */
  requireUser(): ContextUser {
    const user = this.#require('contextService.requireUser()').currentUser();
    // `null` and `false` are nobody, as Passport has it.
    if (!user) throw userMissing();
    return user;
  }

  /**
   * Runs `fn` in its own unit of work and returns its result. The unit of work closes when `fn` returns or, for a
   * promise or an observable, when that has settled or completed.
   *
   * It inherits only its place in the trace from the calling unit of work, unless `inherit` says otherwise.
   *
   * @throws AsyncContextError `ASYNC_CONTEXT_INVALID_VALUE` for a value that the schema of its key rejects
   *
   * @example
   * await context.run({ handler: 'NightlyReport.run' }, () => this.report());
   * await context.run({ handler: 'Import.row', inherit: ['user'] }, () => this.importRow());
   */
  run<T>(seed: ContextSeed, fn: () => T): T {
    return this.#host.runSeeded(seed, fn);
  }

  /**
   * What this unit of work sends to another service or a job: its place in the trace, its id, the values whose keys
   * have `carry: true`, and with `carrierSecret` its user. Outside of any unit of work it is empty.
   *
   * @example
   * const message = { text: 'paid', carrier: context.carry() };
   * socket.write(JSON.stringify(message));
   */
  carry(): Carrier {
    const context = this.#current();
    return context === undefined ? NOTHING : this.#host.carrierOf(context);
  }

  /**
   * Runs `fn` in its own unit of work, which continues from `carrier`: in its trace, with its request as parent, with
   * its values and, if it is trusted, its user. Invalid parts are ignored; the carrier may be anything, including
   * `undefined`. The same as `run({ carrier }, fn)`.
   *
   * @example
   * const message = JSON.parse('{}') as { text?: string; carrier?: Carrier };
   * await context.resume(message.carrier, async () => console.log(context.traceId, message.text));
   */
  resume<T>(carrier: Carrier | undefined, fn: () => T): T {
    return this.#host.runSeeded({ carrier: carrier ?? NOTHING }, fn);
  }

  /**
   * Returns `fn` bound to the current context; `this`, arguments and result are passed through. Outside of any unit
   * of work it returns `fn` itself.
   *
   * @example
   * socket.on('data', context.bind(chunk => this.read(chunk)));
   */
  bind<F extends (...args: never[]) => unknown>(fn: F): F {
    if (this.#current() === undefined) return fn;
    const captured = contextStorage.capture();
    const redirect = currentRedirect();
    const bound = function (this: unknown, ...args: never[]): unknown {
      return runAndNote(captured, () => runAgain(redirect, () => fn.apply(this, args)));
    };
    Object.defineProperty(bound, 'name', { value: fn.name, configurable: true });
    Object.defineProperty(bound, 'length', { value: fn.length, configurable: true });
    return bound as F;
  }

  /**
   * Captures the current context, or its absence, and returns a function that runs others in it.
   *
   * @example
   * const inside = context.snapshot();
   * emitter.on('done', () => inside(() => this.finish()));
   */
  snapshot(): <T>(fn: () => T) => T {
    // `run()` also without a store: `exit()` forgets on Node 20 and 22 that it has left as soon as
    // something inside it runs in another store.
    const captured = contextStorage.capture();
    const redirect = currentRedirect();
    return fn => runAndNote(captured, () => runAgain(redirect, fn));
  }

  /**
   * Calls `fn` after the response, still inside the context, also after an error or when the client disconnected.
   * If the unit of work is already closed, `fn` is called right away, in a microtask: a client may disconnect while a
   * guard still waits. Errors of `fn` are reported and go no further.
   *
   * @throws AsyncContextError `ASYNC_CONTEXT_MISSING` outside of any unit of work
   *
   * @example
   * context.onClose(() => this.audit.write(context.requestId));
   */
  onClose(fn: () => unknown): void {
    // A part of a request is over before the response.
    this.#host.onClose(this.#require('contextService.onClose()').outermost, fn);
  }

  /**
   * Counts a query of a client that has no instrumentation. Outside of any unit of work it does nothing.
   *
   * @example
   * context.record({ system: 'cassandra', collection: 'events', rows: 20, durationMs: 3.1 });
   */
  record(query: MeasuredQuery): void {
    const context = this.#current();
    if (context !== undefined) this.#host.recordQuery(context, query);
  }

  /**
   * Runs `fn` and counts its calls separately: in `record.uncounted`, under the reason, and towards no budget.
   * Outside of any unit of work it only runs `fn`.
   *
   * @example
   * const flags = await context.uncounted('feature flags, cached from next week on', () => this.flags.load());
   */
  uncounted<T>(reason: string, fn: () => T): T {
    const context = this.#current();
    return context === undefined ? fn() : runRedirected(context.cost.keepApart(reason), fn);
  }

  /**
   * Writes the records of everything that has ended so far. Call it where a process is frozen as soon as it has
   * responded (AWS Lambda), because the queue otherwise waits for `sinkQueue.intervalMs`.
   *
   * @param timeoutMs maximum duration in milliseconds; 1,000 by default. What a sink has not accepted by then stays
   * in its queue.
   *
   * @example
   * declare function handle(event: unknown): Promise<unknown>;
   * export const handler = (event: unknown) => handle(event).finally(() => context.flush());
   */
  async flush(timeoutMs: number = FLUSH_WITHIN_MS): Promise<void> {
    // A turn of the loop: an adapter may have its answer in the event that ends the request as well.
    await new Promise(resolve => setImmediate(resolve));
    await this.#host.flush(timeoutMs);
  }

  // Another application of the process has contexts of its own, which are none of ours.
  #current(): RequestContext | undefined {
    const context = contextStorage.getStore();
    return context !== undefined && context.isOf(this.#host) ? context : undefined;
  }

  #require(what: string): RequestContext {
    const context = this.#current();
    if (context === undefined) throw contextMissing(what);
    return context;
  }
}
