import type { OverloadState } from '../../record/process-figures';
import type { IncomingMessage } from 'node:http';
import { clearInterval, setInterval } from '../../kernel/real-timers';
import type { HookErrorReporter } from '../../reporting/hook-error-reporter';
import { poolWatch } from '../../detectors/pools/pool-watch';
import { causeOfWait, fieldsOfWait, isFanOut, lineOfHolder } from '../../detectors/pools/pool-wait-report';
import { number, Report } from '../../reporting/report-text';
import { type OverloadCause, OverloadControl } from './overload-control';
import type { RequestPriority, ResolvedOverload } from './overload-options';
import type { Refusals } from '../refusals';
import { ReportLogger } from '../../reporting/report-logger';

/** Several in each step of the control; it costs 0.01 % of a CPU. */
const SAMPLE_MS = 20;
/** Holders of the pool that a line is worth. */
const MAX_HOLDERS = 2;
const FIX: Readonly<Record<OverloadCause, string>> = {
  'loop-delay':
    'more requests arrive than this process can handle: run more processes, or make the busiest handlers cheaper',
  'pool-wait': 'the pool has fewer connections than requests ask for: make their holders release them sooner',
};

/** Measures how the process fares, and decides which requests of an application are shed. */
export class OverloadMonitor {
  readonly #options: ResolvedOverload;
  readonly #control: OverloadControl;
  readonly #refusals: Refusals;
  readonly #hookErrors: HookErrorReporter;
  readonly #logger = new ReportLogger('Overload');
  #timer: NodeJS.Timeout | undefined;
  #dueMs = 0;
  #shed = 0;
  #begin: { readonly nowMs: number; readonly shed: number } | undefined;

  constructor(options: ResolvedOverload, refusals: Refusals, hookErrors: HookErrorReporter) {
    this.#options = options;
    this.#control = new OverloadControl(options);
    this.#refusals = refusals;
    this.#hookErrors = hookErrors;
  }

  get state(): OverloadState {
    const { isOverloaded, shedShare, delayMs, waitMs } = this.#control;
    const { dryRun } = this.#options;
    return Object.freeze({ isOverloaded, shedShare, delayMs, poolWaitMs: waitMs, shed: this.#shed, dryRun });
  }

  start(): void {
    this.#dueMs = performance.now() + SAMPLE_MS;
    this.#timer ??= setInterval(() => this.#sample(), SAMPLE_MS).unref();
  }

  stop(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  /** Whether a request is shed. Never throws. */
  sheds(request: IncomingMessage): boolean {
    const control = this.#control;
    if (!control.isWatching || this.#timer === undefined) return false;
    if (!control.sheds(this.#priorityOf(request))) return false;
    this.#shed += 1;
    const { dryRun } = this.#options;
    this.#refusals.count('overload', control.cause, 'none', dryRun);
    return !dryRun;
  }

  #priorityOf(request: IncomingMessage): RequestPriority {
    const { priority } = this.#options;
    if (priority === undefined) return 'default';
    const given = this.#hookErrors.ask('overload.priority', () => priority(request));
    if (given === 'default' || given === 'critical' || given === 'sheddable') return given;
    if (given !== undefined)
      this.#hookErrors.say(
        'overload.priority',
        "it returned something other than 'critical', 'default' or 'sheddable'",
      );
    return 'default';
  }

  #sample(): void {
    const nowMs = performance.now();
    const delayMs = Math.max(0, nowMs - this.#dueMs);
    this.#dueMs = nowMs + SAMPLE_MS;
    this.#hookErrors.guard('overload', () => {
      const waitMs = this.#options.poolWaitMs === 0 ? 0 : poolWatch().longestWaitMs(nowMs);
      const turn = this.#control.sample(delayMs, waitMs, nowMs);
      if (turn !== undefined) this.#say(turn, nowMs);
    });
  }

  #say(turn: 'began' | 'ended', nowMs: number): void {
    const { cause, delayMs, waitMs } = this.#control;
    const { targetDelayMs, poolWaitMs, dryRun } = this.#options;
    if (turn === 'began') {
      this.#begin = { nowMs, shed: this.#shed };
      const what =
        cause === 'loop-delay'
          ? `the event loop is at least ${number(delayMs)} ms late, above ${number(targetDelayMs)} ms for 500 ms`
          : `requests wait at least ${number(waitMs)} ms for a connection, above ${number(poolWaitMs)} ms for 500 ms`;
      const then = dryRun ? 'Requests would be shed (dry run)' : 'Requests are shed, lowest priority first';
      const wait = cause === 'pool-wait' ? poolWatch().longestWait(nowMs) : undefined;
      // No request is named that the other fixes could be for.
      const isOfHolders = wait !== undefined && wait.own === 0 && !isFanOut(wait);
      const fix = isOfHolders ? causeOfWait(wait).fix : FIX[cause];
      this.#logger.warn(
        new Report(
          `The process is overloaded: ${what}. ${then}`,
          [...(wait?.holders.slice(0, MAX_HOLDERS).map(lineOfHolder) ?? []), ['fix', fix]],
          {
            ...(wait && fieldsOfWait(wait)),
            state: 'began',
            cause,
            delayMs,
            poolWaitMs: waitMs,
            dryRun,
            fix,
          },
        ),
      );
      return;
    }
    const { nowMs: sinceMs, shed: before } = this.#begin ?? { nowMs, shed: this.#shed };
    const shed = this.#shed - before;
    const were = dryRun ? 'would have been' : 'were';
    this.#logger.warn(
      new Report(
        `The process is no longer overloaded after ${number(nowMs - sinceMs)} ms; ${number(shed)} requests ${were} shed`,
        [],
        { state: 'ended', ms: nowMs - sinceMs, shed, dryRun },
      ),
    );
  }
}
