import { performance } from 'node:perf_hooks';
import type { ModulesContainer } from '@nestjs/core';
import type { ResolvedOptions } from './resolved-options';
import { rememberingLimitHook, throwingLimitHook } from '../budget/limit-hooks';
import { BudgetResolver, type ResolvedBudget } from '../budget/budget-resolver';
import { currentRedirect } from '../context/charge-redirect';
import { readBudgetOf } from '../budget/query-budget.decorator';
import { knownStop, type StopRules, stopOf } from '../budget/work-stop';
import { type ContextHost, type ContextSeed, ContextService } from '../context/context.service';
import type { Carrier } from '../context/carrier';
import { contextStorage } from '../context/context-storage';
import {
  type ContextHandler,
  type ContextKind,
  type ContextUser,
  RequestContext,
} from '../context/request-context';
import { isThenable } from '../kernel/thenable';
import type { CarrierWay } from '../propagation/carrier/carrier-term';
import { activeSpan, type ExtractedContext } from '../w3c/open-telemetry';
import { isRequestId, RequestIdSource } from '../context/request-id';
import { CallTrace } from '../cost/call-trace';
import { buildCostRecord } from '../record/cost-record-builder';
import { GrowthHistory } from '../cost/growth-history';
import { describeQuery, type MeasuredQuery } from '../cost/measured-query';
import { RecentMap } from '../kernel/recent-map';
import type { HookErrorReporter } from '../reporting/hook-error-reporter';
import { LateLog } from '../reporting/late-log';
import { OwnError } from '../kernel/own-error';
import type { ResourceSampler } from '../detectors/resources/resource-monitor';
import type { PoolLimits } from '../cost/pool-wait';
import { isCostLimited } from '../guards/cost-limit/declared-cost-limit';
import { noteAddress } from '../guards/caller/noted-address';
import type { Breakers } from '../guards/breaker/breakers';
import type { OverloadMonitor } from '../guards/overload/overload-monitor';
import { noteOpened } from '../instrumentation/agent-calls';
import { recordSampler } from '../sinks/record-sampler';
import { Propagation } from '../propagation/http/propagation';
import { SinkQueue } from '../sinks/sink-queue';
import { checkedSeed } from './checked-seed';
import { Closer, type DriversOfProcess } from './closer';
import { Observers } from './observers';
import { watchGuards } from './guard-watch';
import { answerHardErrors } from './hard-answer';
import { IncomingDeadline } from './incoming-deadline';
import { Handler, Handlers, nextHandlerNumber } from '../handlers/handlers';
import type { UnhandledErrorAnswer } from './unhandled-error-answer';
import { routePattern } from './route-pattern';
import { runToEnd } from './settle';
import { addValues, WorkCarriers } from './work-carriers';

/** Names of work that no handler of Nest took: a name may hold a date. */
const MAX_NAMED = 1_000;
const MAX_NAME = 200;

/** Opens and closes the units of work of one application. */
export class UnitsOfWork implements ContextHost {
  readonly poolLimits: PoolLimits;
  readonly comparesValues: boolean;
  readonly handlers: Handlers;
  readonly requestIds: RequestIdSource;
  readonly queue: SinkQueue<RequestContext>;
  /** With `answerUnhandledErrors`. */
  unhandledErrorAnswer: UnhandledErrorAnswer | undefined = undefined;
  /** With `forRoot({ overload })`. */
  overloadMonitor: OverloadMonitor | undefined = undefined;
  readonly carriesOnMessages: boolean;
  readonly incomingDeadline: IncomingDeadline;
  readonly #options: ResolvedOptions;
  readonly #hookErrors: HookErrorReporter;
  readonly #observers: Observers;
  readonly closer: Closer;
  readonly #lateLog: LateLog;
  readonly #budgets: BudgetResolver;
  /** Stands for work that no handler took: a 404, a refused request, `contextService.run()`. */
  readonly #nobody: Handler;
  /** By name, as `contextService.run()` gives it. */
  readonly #named = new RecentMap<ContextHandler>(MAX_NAMED);
  readonly #carriers: WorkCarriers;
  readonly sampledShare: number;
  /** With `logFields`. */
  readonly logFieldsOf: ((context: RequestContext) => unknown) | undefined;
  /** With `propagate.hosts`, until the application is closed. */
  outgoing: Propagation | undefined = undefined;
  /** What the application's functions of budgets are given. */
  readonly #service = new ContextService(this);
  readonly #stopRules: StopRules = {
    ask: (limits, where) =>
      this.#hookErrors.ask(`the @QueryBudget function on ${where}`, () => {
        const given: unknown = limits(this.#service);
        // A promise is none, and is reported as what it is.
        return isThenable(given) ? (given as never) : readBudgetOf(given, where);
      }),
    put: (context, budget) => setBudget(context, budget, this.#stopRules),
    stoppedLate: (context, breach) => this.closer.noteLateBreach(context, breach),
  };
  readonly #close = (context: RequestContext): void => this.close(context);

  /**
   * Called before the first request, operation or message, while set. Not before a job: `onApplicationBootstrap()` may
   * have `@RunInContext()` while other modules still start.
   */
  onFirstOpened: (() => void) | undefined = undefined;
  /** Picks the units of work whose resources are looked at, while the monitor runs. */
  sampler: ResourceSampler | undefined = undefined;

  constructor(
    options: ResolvedOptions,
    modules: ModulesContainer,
    hookErrors: HookErrorReporter,
    instrumentations: DriversOfProcess,
  ) {
    this.#options = options;
    this.poolLimits = options.pools;
    this.comparesValues = options.findings.compareValues;
    this.carriesOnMessages = options.propagate.messages;
    this.incomingDeadline = new IncomingDeadline(options.deadline, hookErrors, (context, atMs, from) =>
      this.limitTime(context, atMs, from),
    );
    this.#hookErrors = hookErrors;
    this.#observers = new Observers(options.sinks, hookErrors);
    this.#lateLog = new LateLog(options.lateAfterMs);
    const { logFields } = options;
    if (logFields !== undefined) {
      // Its work after an `await` may log, which would ask it again, and again.
      let isAsync = false;
      const ask = (): unknown =>
        hookErrors.ask('logFields', () => {
          const given: unknown = isAsync ? undefined : logFields(this.#service);
          isAsync ||= isThenable(given);
          return given;
        });
      this.logFieldsOf = context =>
        contextStorage.getStore() === context ? ask() : contextStorage.run(context, ask);
    }
    this.requestIds = new RequestIdSource(options.requestId, hookErrors);
    this.#budgets = new BudgetResolver(
      options.budget,
      options.onExceeded === 'throw' ? throwingLimitHook : rememberingLimitHook,
      options.enabled,
    );
    const areLimited = options.guards.costLimit.policy !== undefined;
    this.handlers = new Handlers(this.#budgets, modules, (type, method) =>
      isCostLimited(type, method, areLimited),
    );
    this.#carriers = new WorkCarriers(options, hookErrors);
    this.sampledShare = options.propagate.sampled;
    if (!options.propagate.hosts.isEmpty) {
      this.outgoing = new Propagation(options.propagate, options.requestId.header, {
        carrierOf: context => this.carrierOf(context),
        deadlineOf: context => this.deadlineOf(context),
        deadlineHeader: options.deadline.header,
      });
    }
    this.#nobody = new Handler('', this.#budgets, {}, false);
    this.queue = new SinkQueue<RequestContext>({
      sinks: options.sinks,
      ...options.sinkQueue,
      toRecord: buildCostRecord,
      weigh: recordSampler(options.sinkQueue.sample ?? 1),
      hookErrors,
    });
    this.closer = new Closer(options, hookErrors, this.queue, this.#observers, instrumentations);
  }

  /** Unless `guards.breaker` is `false`. */
  get breakers(): Breakers | undefined {
    return this.closer.breakers;
  }

  flush(timeoutMs: number): Promise<void> {
    return this.queue.flush(timeoutMs);
  }

  logFieldFailed(where: string, error: unknown): void {
    this.#hookErrors.report(where, error);
  }

  userOf(request: object): ContextUser | undefined {
    const { user } = this.#options;
    if (user === undefined) return undefined;
    return this.#hookErrors.ask('user', () => user(request));
  }

  routeOf(request: object): string | undefined {
    return this.#hookErrors.ask('route', () => routePattern(request));
  }

  noteLate(context: RequestContext, what: string, stackBoundary: (...args: never[]) => unknown): void {
    this.#hookErrors.guard('late work', () => this.#lateLog.note(context, what, stackBoundary));
  }

  answerUnhandledError(context: RequestContext, error: unknown): boolean {
    return this.unhandledErrorAnswer?.give(context, error) ?? false;
  }

  /** Runs `fn` in a unit of work of its own, which ends when its result has settled. */
  runSeeded<T>(seed: ContextSeed, fn: () => T, handler?: Handler): T {
    const parent = contextStorage.getStore();
    const id = isRequestId(seed.requestId) ? seed.requestId : this.requestIds.next();
    // Before it is opened: a value that is refused leaves nothing open.
    const checked = checkedSeed(seed);
    const context = this.open(seed.kind ?? 'job', id);
    if (parent?.isOf(this) === true) {
      if (seed.inherit !== undefined) inherit(context, parent, seed.inherit);
      context.parentRequestId = parent.requestId;
      // Its own span below the one that is at work, also where OpenTelemetry knows that one only.
      context.traceParent = activeSpan() ?? parent.trace;
      context.knownTrace = undefined;
      context.baggage = parent.baggage;
      const deadlineMs = parent.isClosed ? undefined : this.deadlineOf(parent);
      if (deadlineMs !== undefined)
        this.limitTime(context, deadlineMs, 'the unit of work that started it', parent);
    }
    const within = this.seed(context, checked, handler);
    context.time.runs();
    try {
      return runToEnd(context, within === undefined ? fn : () => within(fn), this.#close);
    } finally {
      // It goes on where the work was begun.
      parent?.time.runs();
    }
  }

  /** Gives a unit of work what a seed says, and tells what its work is to be run in, as `adopt()` does. */
  seed(context: RequestContext, seed: ContextSeed, handler?: Handler): ExtractedContext['run'] | undefined {
    const within = seed.carrier === undefined ? undefined : this.adopt(context, seed.carrier);
    if (handler !== undefined) this.setHandler(context, handler);
    if (seed.handler !== undefined) this.#setName(context, seed.handler);
    if (seed.user !== undefined) context.user = seed.user;
    if (seed.values !== undefined) addValues(context, seed.values);
    return within;
  }

  /** What travels of a unit of work to another service or a job, with the id that is sent. Never throws. */
  carrierOf(context: RequestContext, requestId = context.requestId): Carrier {
    return this.#carriers.carrierOf(context, requestId);
  }

  /** Whether something travels with jobs. */
  get propagatesJobs(): boolean {
    return this.#options.propagate.jobs;
  }

  jobCarrierOf(context: RequestContext): Carrier | undefined {
    return this.propagatesJobs ? this.carrierOf(context) : undefined;
  }

  /** Makes a unit of work go on from what has travelled here; see `WorkCarriers`. Never throws. */
  adopt(
    context: RequestContext,
    carrier: unknown,
    way: CarrierWay = 'jobs',
  ): ExtractedContext['run'] | undefined {
    return this.#carriers.adopt(context, carrier, way);
  }

  /** The same for what came with an HTTP request, which anybody may send: only what is signed. Never throws. */
  adoptSigned(context: RequestContext, carrier: Carrier): void {
    this.#carriers.adoptSigned(context, carrier);
  }

  /** Counts a query that the application measured itself. */
  recordQuery(context: RequestContext, query: MeasuredQuery): void {
    this.#hookErrors.guard('contextService.record()', () => {
      const { rows = 0, durationMs } = query;
      if (!(rows >= 0) || !(durationMs >= 0)) {
        throw new OwnError('rows and durationMs must be numbers of at least 0');
      }
      const apart = context.isClosed ? undefined : currentRedirect()?.ledger;
      (apart ?? context.cost).record(describeQuery(query), rows, durationMs);
    });
  }

  open(
    kind: ContextKind,
    requestId: string = this.requestIds.next(),
    method?: string,
    outer?: RequestContext,
  ): RequestContext {
    const context = this.prepare(kind, requestId, method, outer);
    this.announce(context);
    return context;
  }

  /** Opens one that nobody is told of yet: it may come to nothing, see `drop()`. */
  prepare(
    kind: ContextKind,
    requestId: string = this.requestIds.next(),
    method?: string,
    outer?: RequestContext,
  ): RequestContext {
    if (this.onFirstOpened !== undefined && kind !== 'job') this.#noteFirst();
    const context = new RequestContext(this, kind, requestId, outer);
    noteOpened(context);
    context.method = method;
    context.knownTrace = activeSpan();
    if (this.sampler !== undefined) context.resources = this.sampler.sample();
    if (this.#options.providerCalls) context.cost.callTrace = new CallTrace();
    setBudget(context, this.#nobody.budget(method), this.#stopRules);
    return context;
  }

  #noteFirst(): void {
    const note = this.onFirstOpened;
    this.onFirstOpened = undefined;
    note?.();
  }

  /** Tells the sinks that look at units of work of one that was prepared. */
  announce(context: RequestContext): void {
    if (!this.#observers.isEmpty) this.#observers.begins(context);
  }

  /** Whether a unit of work has asked for nothing so far. */
  isUntouched({ cost, resources, unhandledErrors, closeCallbacks }: RequestContext): boolean {
    if (resources !== undefined || closeCallbacks !== undefined || unhandledErrors > 0) return false;
    return (
      cost.shapes === undefined &&
      cost.calls === undefined &&
      cost.apart === undefined &&
      cost.remote === undefined &&
      cost.transactions === 0
    );
  }

  /** Lets go of a unit of work that was prepared and came to nothing: it leaves no record. */
  drop(context: RequestContext): void {
    context.endMs = performance.now();
    context.time.close(context.endMs);
    context.cost.isClosed = true;
    context.release(false);
  }

  /** Says which handler took the work; its budget is in force from here on. */
  setHandler(context: RequestContext, handler: Handler): void {
    if (context.application !== this) this.#take(context);
    context.handler = handler;
    context.cost.history = handler.history;
    setBudget(context, handler.budget(context.method), this.#stopRules);
    if (handler.isLimited) noteAddress(context);
  }

  /** A request that another application on the same adapter was the first to see. */
  #take(context: RequestContext): void {
    const opener = context.application;
    context.application = this;
    if (this.#options.providerCalls) context.cost.callTrace ??= new CallTrace();
    this.#observers.take(context, opener);
  }

  handOver(context: RequestContext, observers: readonly object[]): void {
    this.#observers.leave(context, observers);
  }

  observes(observer: object): boolean {
    return this.#observers.has(observer);
  }

  /** Says what the work is called that no handler of Nest took. */
  #setName(context: RequestContext, given: string): void {
    const name = String(given).slice(0, MAX_NAME);
    let named = this.#named.get(name);
    if (named === undefined) this.#named.set(name, (named = newNamed(name)));
    context.handler = named;
    context.cost.history = named.history;
  }

  /** Another handler of the same unit of work (a second root field of a GraphQL operation) brings its budget. */
  addHandler(context: RequestContext, handler: Handler): void {
    const budget = handler.budget(context.method);
    setBudget(
      context,
      this.#budgets.loosest((context.budget as ResolvedBudget | undefined) ?? budget, budget),
      this.#stopRules,
    );
    if (handler.isLimited) noteAddress(context);
  }

  /** Closes a unit of work: once, and never with an error. */
  close(context: RequestContext): void {
    if (context.application !== this) return context.application.close(context);
    if (!context.isClosed) this.closer.close(context);
  }

  signalOf(context: RequestContext): AbortSignal {
    return stopOf(context, this.#stopRules).signal();
  }

  deadlineOf(context: RequestContext): number | undefined {
    const { outer } = context;
    const stop = knownStop(context);
    stop?.resolve();
    const [own, around] = [stop?.deadlineMs, outer && this.deadlineOf(outer)];
    return own === undefined || around === undefined ? (own ?? around) : Math.min(own, around);
  }

  /** @param of the unit of work that waits for it, where it is one of this process */
  limitTime(context: RequestContext, atMs: number, from: string, of?: RequestContext): void {
    answerHardErrors(context.kind);
    stopOf(context, this.#stopRules).limit(atMs, from, of);
  }

  onClose(context: RequestContext, fn: () => unknown): void {
    this.closer.onClose(context, fn);
  }
}

/** Copies of what the unit of work that calls has. */
function inherit(
  context: RequestContext,
  parent: RequestContext,
  what: NonNullable<ContextSeed['inherit']>,
): void {
  if (what === false) return;
  if (what === true || what.includes('user')) context.user = parent.knownUser();
  const values = [...(parent.values ?? [])].filter(
    ([key]) => what === true || (key !== 'user' && what.includes(key)),
  );
  if (values.length > 0) context.values = new Map(values);
}

function newNamed(name: string): ContextHandler {
  return { name, history: new GrowthHistory(), number: nextHandlerNumber() };
}

function setBudget(context: RequestContext, budget: ResolvedBudget, rules: StopRules): void {
  context.cost.ignored = budget.ignored;
  context.budget = budget;
  context.cost.limitHook = budget.limitHook;
  if (budget.byFunction !== undefined) watchGuards();
  if (budget.byFunction !== undefined || budget.hard !== undefined) {
    answerHardErrors(context.kind);
    stopOf(context, rules).use(budget);
  } else knownStop(context)?.use(budget);
}
