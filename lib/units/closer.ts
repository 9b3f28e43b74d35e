import { performance } from 'node:perf_hooks';
import { findBreaches } from '../budget/budget-check';
import { fingerprintOf } from '../budget/fingerprint';
import { knownStop } from '../budget/work-stop';
import { contextStorage, eventLoop } from '../context/context-storage';
import { type PlatformRequest, rawOf } from '../context/remembered-context';
import type { RequestContext } from '../context/request-context';
import type { BreachRecord } from '../cost/cost-record';
import type { Breakers } from '../guards/breaker/breakers';
import { dropRecordAtClose, recordAtClose, renewRecordAtClose } from '../record/record-at-close';
import type { CanonicalLog } from '../reporting/canonical-log';
import type { HookErrorReporter } from '../reporting/hook-error-reporter';
import type { SinkQueue } from '../sinks/sink-queue';
import { type CloseStep, takeSteps } from './close-steps';
import type { Observers } from './observers';
import { WorkLog } from './report/work-log';
import type { ResolvedOptions } from './resolved-options';

/** What this asks of the instrumentations of its application. */
export interface DriversOfProcess {
  /** Installs those whose drivers were loaded since. */
  installLoaded(): void;
}

/** Closes the units of work of one application: judges them, records them, and tells whoever is to know. */
export class Closer {
  readonly workLog: WorkLog;
  /** Unless `guards.breaker` is `false`. */
  breakers: Breakers | undefined = undefined;
  /** What else is to be done about what the first work has loaded. */
  onFirstServed: (() => void) | undefined = undefined;
  readonly #options: ResolvedOptions;
  readonly #hookErrors: HookErrorReporter;
  readonly #queue: SinkQueue<RequestContext>;
  readonly #observers: Observers;
  readonly #instrumentations: DriversOfProcess;
  readonly #canonicalLog: CanonicalLog | undefined;
  readonly #steps: readonly CloseStep[];
  #hasServed = false;

  constructor(
    options: ResolvedOptions,
    hookErrors: HookErrorReporter,
    queue: SinkQueue<RequestContext>,
    observers: Observers,
    instrumentations: DriversOfProcess,
  ) {
    this.#options = options;
    this.#hookErrors = hookErrors;
    this.#queue = queue;
    this.#observers = observers;
    this.#instrumentations = instrumentations;
    this.workLog = new WorkLog({
      breachWindowMs: options.breachWindowMs,
      logsBreaches: typeof options.onExceeded !== 'function',
      minRepeats: options.findings.log === false ? Infinity : options.findings.min,
      isFull: options.reports === 'full',
      hasSinks: keepsRecords(options),
    });
    const { canonicalLog } = options;
    if (canonicalLog !== false) {
      const logging = require('../reporting/canonical-log') as typeof import('../reporting/canonical-log');
      this.#canonicalLog = new logging.CanonicalLog(canonicalLog, hookErrors);
    }
    this.#steps = this.#stepsOfClose();
  }

  /** Never throws. */
  close(context: RequestContext): void {
    takeSteps(this.#steps, context, this.#hookErrors);
  }

  /** What the close has found is in the log already, and in the record where that is written. */
  noteLateBreach(context: RequestContext, breach: BreachRecord): void {
    const before = context.breaches;
    context.breaches = Object.freeze([breach]);
    renewRecordAtClose(context);
    this.#announce(context);
    this.#hookErrors.guard('report of a unit of work', () => this.workLog.note(context, breach));
    context.breaches = Object.freeze([...before, breach]);
    dropRecordAtClose(context);
  }

  onClose(context: RequestContext, fn: () => unknown): void {
    if (!context.isClosed) {
      (context.closeCallbacks ??= []).push(fn);
      return;
    }
    queueMicrotask(() => void contextStorage.run(context, () => this.#hookErrors.settle('onClose', fn)));
  }

  /**
   * What a close is made of. The record is offered before anything of the application is called, so that no
   * logger and no hook can keep it back.
   */
  #stepsOfClose(): readonly CloseStep[] {
    const steps: (CloseStep | false)[] = [
      { name: 'user and route of a unit of work', take: identify },
      { name: 'time of a unit of work', take: context => this.#end(context) },
      { name: 'signal of a unit of work', take: context => knownStop(context)?.close() },
      { name: 'query history', take: ({ cost }) => cost.history?.learn(cost) },
      { name: 'budget check', take: checkBudget },
      { name: 'cost record', take: context => this.#queue.offer(context) },
      this.#options.guards.breaker !== undefined && {
        name: 'breaker',
        take: context => this.breakers?.learn(context),
      },
      { name: 'resource monitor', take: context => context.resources?.close(context) },
      !this.#observers.isEmpty && {
        name: 'observing sinks',
        take: context => this.#observers.ends(context),
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
      { name: 'record at close', take: dropRecordAtClose },
      { name: 'query values', take: ({ cost }) => cost.releaseValues() },
      { name: 'drivers loaded later', take: () => this.#hasServed || this.#afterFirst() },
      { name: 'onClose', take: context => this.#runCloseCallbacks(context) },
    ];
    return steps.filter(step => step !== false);
  }

  #end(context: RequestContext): void {
    // A clock that a test has faked may be at 0, which stands for open.
    context.endMs = performance.now() || Number.MIN_VALUE;
    context.cost.isClosed = true;
    context.time.close(context.endMs);
    context.cost.callTrace?.close(context.endMs);
    judgeTime(context, this.#options.slowAfterMs);
  }

  /** Drivers that the first work has loaded (`await import()` in a handler) are there for the second. */
  #afterFirst(): void {
    this.#hasServed = true;
    setImmediate(() => {
      this.#hookErrors.guard('drivers loaded later', () => this.#instrumentations.installLoaded());
      this.#hookErrors.guard('propagate', () => this.onFirstServed?.());
    }).unref();
  }

  /** The application's own callback belongs to the request it speaks of. */
  #announce(context: RequestContext): void {
    const { onExceeded } = this.#options;
    if (typeof onExceeded !== 'function' || context.breaches.length === 0) return;
    contextStorage.run(context, () => {
      const record = recordAtClose(context);
      const fingerprint = fingerprintOf(record.handler ?? record.route ?? record.kind, record.breaches);
      for (const breach of record.breaches) {
        this.#hookErrors.guard('onExceeded', () => onExceeded({ ...breach, fingerprint, record }));
      }
    });
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

function identify(context: RequestContext): void {
  context.userId = context.currentUserId();
  context.route = context.currentRoute();
}

function judgeTime(context: RequestContext, slowAfterMs: number): void {
  const { time, elapsedMs, kind } = context;
  if (time.stalledMs > 0 || time.blockedMs > 0) context.blocks = eventLoop.blocksSince(context.startMs);
  // A job takes as long as it takes.
  if (slowAfterMs === 0 || elapsedMs < slowAfterMs || kind === 'job') return;
  context.isSlow = !isStream(context);
}

function checkBudget(context: RequestContext): void {
  const limits = context.budget?.limits ?? [];
  const stop = knownStop(context);
  if (limits.length === 0 && stop === undefined) return;
  const breaches = [...findBreaches(limits, context.cost), ...(stop?.breaches() ?? [])];
  if (breaches.length === 0) return;
  context.breaches = Object.freeze(breaches.map(breach => Object.freeze(breach)));
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
