import type { ModulesContainer } from '@nestjs/core';
import type { ResolvedOptions } from './resolved-options';
import { rememberingLimitHook, throwingLimitHook } from '../budget/limit-hooks';
import { findBreaches } from '../budget/budget-check';
import { fingerprintOf } from '../budget/fingerprint';
import { BudgetResolver, type ResolvedBudget } from '../budget/budget-resolver';
import { currentRedirect } from '../context/charge-redirect';
import { readBudgetOf } from '../budget/query-budget.decorator';
import { knownStop, type StopRules, stopOf } from '../budget/work-stop';
import { type ContextHost, type ContextSeed, ContextService } from '../context/context.service';
import { contextStorage, eventLoop } from '../context/context-storage';
import {
  type ContextHandler,
  type ContextKind,
  type ContextUser,
  RequestContext,
} from '../context/request-context';
import { type Carrier, CONTEXT, SIGNATURE } from '../context/carrier';
import type { CarrierRules } from '../propagation/carrier/carrier-rules';
import { readCarrier } from '../propagation/carrier/carrier-reader';
import { isThenable } from '../kernel/thenable';
import { CarrierSigner } from '../propagation/carrier/carrier-signer';
import type { CarrierWay } from '../propagation/carrier/carrier-term';
import { writeCarrier } from '../propagation/carrier/carrier-writer';
import { activeSpan, type ExtractedContext, extractContext } from '../w3c/open-telemetry';
import { isRequestId, RequestIdSource } from '../context/request-id';
import { CallTrace } from '../cost/call-trace';
import type { BreachRecord } from '../cost/cost-record';
import { buildCostRecord } from '../record/cost-record-builder';
import { GrowthHistory } from '../cost/growth-history';
import { describeQuery, type MeasuredQuery } from '../cost/measured-query';
import { RecentMap } from '../kernel/recent-map';
import type { HookErrorReporter } from '../reporting/hook-error-reporter';
import { LateLog } from '../reporting/late-log';
import { OwnError } from '../kernel/own-error';
import { WorkLog } from './report/work-log';
import type { ResourceSampler } from '../detectors/resources/resource-monitor';
import type { PoolLimits } from '../cost/pool-wait';
import { isCostLimited } from '../guards/cost-limit/declared-cost-limit';
import { noteAddress } from '../guards/caller/noted-address';
import type { Breakers } from '../guards/breaker/breakers';
import type { OverloadMonitor } from '../guards/overload/overload-monitor';
import { noteOpened } from '../instrumentation/agent-calls';
import { recordSampler } from '../sinks/record-sampler';
import type { CanonicalLog } from '../reporting/canonical-log';
import { Propagation } from '../propagation/http/propagation';
import { observersAmong, type ObservingSink } from '../sinks/observing-sink';
import { SinkQueue } from '../sinks/sink-queue';
import { checkedSeed } from './checked-seed';
import { type CloseStep, takeSteps } from './close-steps';
import { watchGuards } from './guard-watch';
import { answerHardErrors } from './hard-answer';
import { IncomingDeadline } from './incoming-deadline';
import { Handler, Handlers, nextHandlerNumber } from '../handlers/handlers';
import { type PlatformRequest, rawOf } from '../context/remembered-context';
import type { UnhandledErrorAnswer } from './unhandled-error-answer';
import { routePattern } from './route-pattern';
import { runToEnd } from './settle';

/** What this asks of the instrumentations of its application. */
interface DriversOfProcess {
  /** Installs those whose drivers were loaded since. */
  installLoaded(): void;
}

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
  /** Unless `guards.breaker` is `false`. */
  breakers: Breakers | undefined = undefined;
  /** With `forRoot({ overload })`. */
  overloadMonitor: OverloadMonitor | undefined = undefined;
  readonly carriesOnMessages: boolean;
  readonly incomingDeadline: IncomingDeadline;
  readonly #options: ResolvedOptions;
  readonly #hookErrors: HookErrorReporter;
  /** Absent where no sink looks at units of work themselves. */
  readonly #observers: readonly ObservingSink[] | undefined;
  readonly workLog: WorkLog;
  readonly #lateLog: LateLog;
  readonly #canonicalLog: CanonicalLog | undefined;
  readonly #budgets: BudgetResolver;
  /** Stands for work that no handler took: a 404, a refused request, `contextService.run()`. */
  readonly #nobody: Handler;
  /** By name, as `contextService.run()` gives it. */
  readonly #named = new RecentMap<ContextHandler>(MAX_NAMED);
  readonly #carrierRules: CarrierRules;
  readonly sampledShare: number;
  /** With `logFields`. */
  readonly logFieldsOf: ((context: RequestContext) => unknown) | undefined;
  /** With `propagate.hosts`, until the application is closed. */
  outgoing: Propagation | undefined = undefined;
  /** What the application's functions of budgets are given. */
  readonly #service = new ContextService(this);
  readonly #stopRules: StopRules = {
    ask: (limits, where) =>
      this.#hookErrors.ask(`the function of @QueryBudget on ${where}`, () => {
        const given: unknown = limits(this.#service);
        // A promise is none, and is reported as what it is.
        return isThenable(given) ? (given as never) : readBudgetOf(given, where);
      }),
    put: (context, budget) => setBudget(context, budget, this.#stopRules),
    stoppedLate: (context, breach) => this.#noteLateBreach(context, breach),
  };
  readonly #closing: readonly CloseStep[];
  readonly #close = (context: RequestContext): void => this.close(context);

  readonly #instrumentations: DriversOfProcess;
  /** Picks the units of work whose resources are looked at, while the monitor runs. */
  sampler: ResourceSampler | undefined = undefined;
  /** What else is to be done about what the first work has loaded. */
  onFirstServed: (() => void) | undefined = undefined;
  #hasServed = false;

  constructor(
    options: ResolvedOptions,
    modules: ModulesContainer,
    hookErrors: HookErrorReporter,
    instrumentations: DriversOfProcess,
  ) {
    this.#instrumentations = instrumentations;
    this.#options = options;
    this.poolLimits = options.pools;
    this.comparesValues = options.findings.compareValues;
    this.carriesOnMessages = options.propagate.messages;
    this.incomingDeadline = new IncomingDeadline(options.deadline, hookErrors, (context, atMs, from) =>
      this.limitTime(context, atMs, from),
    );
    this.#hookErrors = hookErrors;
    const observers = observersAmong(options.sinks);
    this.#observers = observers.length > 0 ? observers : undefined;
    this.workLog = new WorkLog({
      breachWindowMs: options.breachWindowMs,
      logsBreaches: typeof options.onExceeded !== 'function',
      minRepeats: options.findings.log === false ? Infinity : options.findings.min,
      isFull: options.reports === 'full',
      hasSinks: keepsRecords(options),
    });
    this.#lateLog = new LateLog(options.lateAfterMs);
    const { canonicalLog, logFields } = options;
    if (logFields !== undefined) {
      const ask = (): unknown => hookErrors.ask('logFields', () => logFields(this.#service));
      this.logFieldsOf = context =>
        contextStorage.getStore() === context ? ask() : contextStorage.run(context, ask);
    }
    if (canonicalLog !== false) {
      const logging = require('../reporting/canonical-log') as typeof import('../reporting/canonical-log');
      this.#canonicalLog = new logging.CanonicalLog(canonicalLog, hookErrors);
    }
    this.requestIds = new RequestIdSource(options.requestId, hookErrors);
    this.#budgets = new BudgetResolver(
      options.budget,
      options.onExceeded === 'throw' ? throwingLimitHook : rememberingLimitHook,
    );
    const areLimited = options.guards.costLimit.policy !== undefined;
    this.handlers = new Handlers(this.#budgets, modules, (type, method) =>
      isCostLimited(type, method, areLimited),
    );
    const { carrierSecrets: secrets, carrierUser, trustUnsignedCarriers } = options;
    this.#carrierRules = {
      signer: secrets && new CarrierSigner(secrets),
      term: options.carrierTerm,
      trustsUnsigned: trustUnsignedCarriers,
      user: carrierUser,
      hookErrors,
    };
    this.sampledShare = options.propagate.sampled;
    if (!options.propagate.hosts.isEmpty) {
      this.outgoing = new Propagation(options.propagate, options.requestId.header, {
        carrierOf: context => this.carrierOf(context),
        deadlineOf: context => this.deadlineOf(context),
        deadlineHeader: options.deadline.header,
      });
    }
    this.#nobody = new Handler('', this.#budgets, {}, false);
    this.#closing = this.#stepsOfClose();
    this.queue = new SinkQueue<RequestContext>({
      sinks: options.sinks,
      ...options.sinkQueue,
      toRecord: buildCostRecord,
      weigh: recordSampler(options.sinkQueue.sample ?? 1),
      hookErrors,
    });
  }

  flush(timeoutMs: number): Promise<void> {
    return this.queue.flush(timeoutMs);
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
        this.limitTime(context, deadlineMs, 'the unit of work that has begun it', parent);
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
    if (seed.values !== undefined) context.values = new Map([...(context.values ?? []), ...seed.values]);
    return within;
  }

  /** What travels of a unit of work to another service or a job, with the id that is sent. Never throws. */
  carrierOf(context: RequestContext, requestId = context.requestId): Carrier {
    return writeCarrier(context, this.#carrierRules, requestId);
  }

  /** Whether something travels with jobs. */
  get propagatesJobs(): boolean {
    return this.#options.propagate.jobs;
  }

  jobCarrierOf(context: RequestContext): Carrier | undefined {
    return this.propagatesJobs ? this.carrierOf(context) : undefined;
  }

  /**
   * Makes a unit of work go on from what has travelled here, as far as that is believed. Never throws.
   *
   * @param way how it has come, which says how old it may be
   * @returns what its work is to be run in, so that spans of OpenTelemetry have their parent; `undefined` where
   * there is nothing to it
   */
  adopt(
    context: RequestContext,
    carrier: unknown,
    way: CarrierWay = 'jobs',
  ): ExtractedContext['run'] | undefined {
    const { requestId, traceParent, baggage, user, values } = readCarrier(carrier, this.#carrierRules, way);
    const extracted = extractContext(carrier);
    if (requestId !== undefined) context.parentRequestId = requestId;
    if (baggage !== undefined) context.baggage = baggage;
    if (user !== undefined) context.user = user;
    if (values !== undefined) addValues(context, values);
    const parent = extracted?.parent ?? traceParent;
    if (parent === undefined) return undefined;
    context.traceParent = parent;
    // A span of a consumer that OpenTelemetry has opened for it already.
    if (context.knownTrace?.traceId === parent.traceId) return undefined;
    context.knownTrace = undefined;
    return extracted?.run;
  }

  /** The same for what came with an HTTP request, which anybody may send: only what is signed. Never throws. */
  adoptSigned(context: RequestContext, carrier: Carrier): void {
    if (carrier[CONTEXT] === undefined || carrier[SIGNATURE] === undefined) return;
    const rules = { ...this.#carrierRules, trustsUnsigned: false };
    const { requestId, user, values } = readCarrier(carrier, rules, 'http');
    if (user === undefined && values === undefined) return;
    if (requestId !== context.requestId) context.parentRequestId = requestId;
    context.carriedUser = user;
    if (values !== undefined) addValues(context, values);
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
    const context = new RequestContext(this, kind, requestId, outer);
    noteOpened(context);
    context.method = method;
    context.knownTrace = activeSpan();
    if (this.sampler !== undefined) context.resources = this.sampler.sample();
    if (this.#options.providerCalls) context.cost.callTrace = new CallTrace();
    setBudget(context, this.#nobody.budget(method), this.#stopRules);
    return context;
  }

  /** Tells the sinks that look at units of work of one that was prepared. */
  announce(context: RequestContext): void {
    if (this.#observers !== undefined) this.#tell('begins', observer => observer.begins(context));
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
    const observers = this.#observers ?? [];
    opener.handOver(context, observers);
    this.#tell('begins', observer => {
      if (!opener.observes(observer)) observer.begins(context);
    });
  }

  handOver(context: RequestContext, observers: readonly object[]): void {
    this.#tell('ends', observer => {
      if (!observers.includes(observer)) observer.ends(context, () => buildCostRecord(context));
    });
  }

  observes(observer: object): boolean {
    return (this.#observers as readonly object[] | undefined)?.includes(observer) === true;
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
    if (!context.isClosed) takeSteps(this.#closing, context, this.#hookErrors);
  }

  /**
   * What a close is made of. The record is offered before anything of the application is called, so that no
   * logger and no hook can keep it back.
   */
  #stepsOfClose(): readonly CloseStep[] {
    const steps: (CloseStep | false)[] = [
      { name: 'user and route of a unit of work', take: context => this.#identify(context) },
      { name: 'time of a unit of work', take: context => this.#end(context) },
      { name: 'signal of a unit of work', take: context => knownStop(context)?.close() },
      { name: 'queries of a handler', take: ({ cost }) => cost.history?.learn(cost) },
      { name: 'check of a budget', take: context => this.#checkBudget(context) },
      { name: 'record of a unit of work', take: context => this.queue.offer(context) },
      this.#options.guards.breaker !== undefined && {
        name: 'breaker of a handler',
        take: context => this.breakers?.learn(context),
      },
      { name: 'resource monitor', take: context => context.resources?.close(context) },
      this.#observers !== undefined && {
        name: 'sinks that observe',
        take: context =>
          this.#tell('ends', observer => observer.ends(context, () => buildCostRecord(context))),
      },
      typeof this.#options.onExceeded === 'function' && {
        name: 'onExceeded',
        take: context => this.#announce(context),
      },
      { name: 'report of a unit of work', take: context => this.workLog.note(context) },
      this.#canonicalLog !== undefined && {
        name: 'canonicalLog',
        take: context => this.#canonicalLog?.write(context),
      },
      { name: 'values of queries', take: ({ cost }) => cost.releaseValues() },
      { name: 'drivers that were loaded since', take: () => this.#hasServed || this.#afterFirst() },
      { name: 'onClose', take: context => this.#runCloseCallbacks(context) },
    ];
    return steps.filter(step => step !== false);
  }

  #identify(context: RequestContext): void {
    context.userId = context.currentUserId();
    context.route = context.currentRoute();
  }

  #end(context: RequestContext): void {
    // A clock that a test has faked may be at 0, which stands for open.
    context.endMs = performance.now() || Number.MIN_VALUE;
    context.cost.isClosed = true;
    context.time.close(context.endMs);
    context.cost.callTrace?.close(context.endMs);
    this.#judgeTime(context);
  }

  #tell(what: string, tell: (observer: ObservingSink) => void): void {
    for (const observer of this.#observers ?? []) {
      this.#hookErrors.guard(`sink ${observer.name}, ${what}()`, () => tell(observer));
    }
  }

  /** Drivers that the first work has loaded (`await import()` in a handler) are there for the second. */
  #afterFirst(): void {
    this.#hasServed = true;
    setImmediate(() => {
      this.#hookErrors.guard('drivers that were loaded since', () => this.#instrumentations.installLoaded());
      this.#hookErrors.guard('propagate', () => this.onFirstServed?.());
    }).unref();
  }

  #judgeTime(context: RequestContext): void {
    const { time, elapsedMs, kind } = context;
    if (time.stalledMs > 0 || time.blockedMs > 0) {
      context.blocks = eventLoop.blocksSince(context.startMs);
    }
    const { slowAfterMs } = this.#options;
    // A job takes as long as it takes.
    if (slowAfterMs === 0 || elapsedMs < slowAfterMs || kind === 'job') return;
    context.isSlow = !isStream(context);
  }

  #checkBudget(context: RequestContext): void {
    const limits = context.budget?.limits ?? [];
    const stop = knownStop(context);
    if (limits.length === 0 && stop === undefined) return;
    const breaches = [...findBreaches(limits, context.cost), ...(stop?.breaches() ?? [])];
    if (breaches.length === 0) return;
    context.breaches = Object.freeze(breaches.map(breach => Object.freeze(breach)));
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

  /** What the close has found is in the log already, and in the record where that is written. */
  #noteLateBreach(context: RequestContext, breach: BreachRecord): void {
    const before = context.breaches;
    context.breaches = Object.freeze([breach]);
    this.#announce(context);
    this.#hookErrors.guard('report of a unit of work', () => this.workLog.note(context, breach));
    context.breaches = Object.freeze([...before, breach]);
  }

  /** The application's own callback belongs to the request it speaks of. */
  #announce(context: RequestContext): void {
    const { onExceeded } = this.#options;
    if (typeof onExceeded !== 'function' || context.breaches.length === 0) return;
    contextStorage.run(context, () => {
      const record = buildCostRecord(context);
      const fingerprint = fingerprintOf(record.handler ?? record.route ?? record.kind, record.breaches);
      for (const breach of record.breaches) {
        this.#hookErrors.guard('onExceeded', () => onExceeded({ ...breach, fingerprint, record }));
      }
    });
  }

  onClose(context: RequestContext, fn: () => unknown): void {
    if (!context.isClosed) {
      (context.closeCallbacks ??= []).push(fn);
      return;
    }
    queueMicrotask(() => void contextStorage.run(context, () => this.#hookErrors.settle('onClose', fn)));
  }

  #runCloseCallbacks(context: RequestContext): void {
    const callbacks = context.closeCallbacks;
    if (callbacks === undefined) {
      context.release(this.#options.keepAfterClose);
      return;
    }
    // What the request holds stays until the last callback is done: it may be asynchronous.
    const ends = contextStorage.run(context, () =>
      callbacks.map(callback => this.#hookErrors.settle('onClose', callback)),
    );
    context.closeCallbacks = undefined;
    void Promise.all(ends).then(() => context.release(this.#options.keepAfterClose));
  }
}

/** Whether a record that a report points to is to be found: a sink has it, and is given all of them. */
function keepsRecords({ sinks, sinkQueue }: ResolvedOptions): boolean {
  return (sinkQueue.sample ?? 1) === 1 && sinks.some(({ everyRecord }) => everyRecord !== true);
}

/** Whether the client keeps it open for as long as it likes: server-sent events. */
function isStream({ handler, request }: RequestContext): boolean {
  if (handler?.isStream === true || request === undefined) return handler?.isStream === true;
  return rawOf(request as PlatformRequest).headers.accept?.includes('text/event-stream') === true;
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

function addValues(context: RequestContext, values: NonNullable<RequestContext['values']>): void {
  context.values = new Map([...(context.values ?? []), ...values]);
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
