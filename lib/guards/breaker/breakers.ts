import type { FieldsOfReport } from '../../context/our-fields';
import { knownStop } from '../../budget/work-stop';
import { contextStorage } from '../../context/context-storage';
import type { HttpExchange, RequestContext } from '../../context/request-context';
import { number, Report, type ReportLine } from '../../reporting/report-text';
import { type ReportKind, reports } from '../../reporting/reports';
import type { HookErrorReporter } from '../../reporting/hook-error-reporter';
import type { FilterAnswer } from '../../handlers/filter-answer';
import { Handler } from '../../handlers/handlers';
import { Breaker, type BreakerCause, type Outcome } from './breaker';
import type { ResolvedBreaker } from './breaker-options';
import type { PoolWatch } from '../../detectors/pools/pool-watch';
import type { WaitShare } from '../../detectors/pools/wait-shares';
import { HeldShare } from './held-share';
import { RecentSum } from './recent-sum';
import type { Refusal } from '../refusal';
import { answerRefusal, refusalError } from '../refusal-error';
import type { Refusals } from '../refusals';
import { type OnClose, whenOver } from '../when-over';
import { ReportLogger } from '../../reporting/report-logger';

const TURNS: ReportKind = { name: 'breaker changes', one: 'breaker change', isError: false };
const MS_PER_SECOND = 1_000;
/** What tries and has not ended by then is not judged any more. */
const MAX_PROBE_MS = 600_000;
const MESSAGE = 'Temporarily unavailable; try again later';

/** Breakers of the routes of one application: they learn at each close, and refuse before guards. */
export class Breakers {
  readonly #limits: ResolvedBreaker;
  readonly #answers: FilterAnswer;
  readonly #refusals: Refusals;
  readonly #hookErrors: HookErrorReporter;
  readonly #onClose: OnClose;
  readonly #logger = new ReportLogger('Guards');
  /** What handlers have waited for connections that others held. */
  readonly #waits: RecentSum;
  readonly #problemJson: boolean;
  readonly #pools: PoolWatch;
  /** Ends that it hears of waits for connections. */
  #stopHearing: (() => void) | undefined;

  constructor(
    limits: ResolvedBreaker,
    answers: FilterAnswer,
    refusals: Refusals,
    hookErrors: HookErrorReporter,
    onClose: OnClose,
    problemJson: boolean,
    pools: PoolWatch,
  ) {
    this.#pools = pools;
    this.#problemJson = problemJson;
    this.#limits = limits;
    this.#waits = new RecentSum(limits.windowMs);
    this.#answers = answers;
    this.#refusals = refusals;
    this.#hookErrors = hookErrors;
    this.#onClose = onClose;
  }

  start(): void {
    if (this.#limits.connectionsMs === 0) return;
    this.#stopHearing = this.#pools.hear((shares, nowMs) =>
      this.#hookErrors.guard('breaker, waits for connections', () => this.#learnWaits(shares, nowMs)),
    );
  }

  stop(): void {
    this.#stopHearing?.();
  }

  /** Looks at a unit of work that is closed. */
  learn(context: RequestContext): void {
    const { endMs } = context;
    const handler = routeOf(context);
    if (handler === undefined || context.refused !== undefined) return;
    const breaker = ofHandler(handler, this.#limits);
    if (breaker.cause === undefined && breaker.learn(this.#outcomeOf(context), endMs))
      this.#open(handler, breaker);
  }

  /**
   * Whether a request may go on to its guards, while the breaker of its handler is not closed. One that may not
   * is answered by exception filters.
   */
  admits(
    context: RequestContext,
    handler: Handler,
    exchange: HttpExchange,
  ): true | { readonly answer: unknown } {
    const breaker = handler.breaker as Breaker | undefined;
    const cause = breaker?.cause;
    if (breaker === undefined || cause === undefined) return true;
    const nowMs = performance.now();
    if (breaker.admit(context, nowMs) === 'probe') {
      this.#watch(context, handler, breaker);
      return true;
    }
    const { dryRun } = this.#limits;
    if (dryRun) {
      this.#refusals.count('breaker', cause, handler.name, true);
      return true;
    }
    const answer = this.#answers.of(handler, exchange, true);
    // A later Nest has moved what answers.
    if (answer === undefined) return true;
    this.#refusals.count('breaker', cause, handler.name, false);
    context.refused ??= Object.freeze({ by: 'breaker', reason: cause });
    const retryAfterSeconds = Math.max(1, Math.ceil(breaker.leftMs(nowMs) / MS_PER_SECOND));
    const refusal: Refusal = {
      by: 'breaker',
      reason: cause,
      status: 503,
      message: MESSAGE,
      retryAfterSeconds,
    };
    const reply = this.#problemJson ? exchange[1] : undefined;
    this.#hookErrors.guard('answering a refused request', () =>
      answerRefusal(refusal, context.response, reply),
    );
    return { answer: answer.filters.next(refusalError('http', refusal, this.#problemJson), answer.host) };
  }

  /** Others may try after a while, also where it never ends; it is judged when it does. */
  #watch(context: RequestContext, handler: Handler, breaker: Breaker): void {
    const timer = setTimeout(() => breaker.giveBack(context), this.#limits.openMs).unref();
    const held = breaker.cause === 'connections' ? new HeldShare(this.#pools, context) : undefined;
    whenOver(context, this.#onClose, MAX_PROBE_MS, hasEnded => {
      clearTimeout(timer);
      const wholePoolMs = held?.end() ?? 0;
      if (!hasEnded) return;
      // A guard has refused it: that says nothing of the handler.
      const outcome =
        context.refused === undefined
          ? { ...this.#outcomeOf(context), wholePoolMs }
          : { failed: false, blockedMs: 0, aborted: true };
      if (breaker.judge(context, outcome, performance.now())) this.#close(handler, breaker);
    });
  }

  /** Who holds connections is charged with its part of what others wait, while they wait. */
  #learnWaits(shares: readonly WaitShare[], nowMs: number): void {
    let ofAllMs = 0;
    for (const { waitedMs } of shares) ofAllMs = this.#waits.add(waitedMs, nowMs);
    for (const { holder, waitedMs } of shares) {
      const handler = routeOf(holder);
      if (handler === undefined || (holder.application as { breakers?: Breakers }).breakers !== this)
        continue;
      const breaker = ofHandler(handler, this.#limits);
      if (breaker.learnWait(waitedMs, ofAllMs, nowMs)) this.#open(handler, breaker);
    }
  }

  #outcomeOf(context: RequestContext): Outcome {
    const { status, time } = context;
    // Whatever it answers.
    const isBreach = knownStop(context)?.breach !== undefined;
    return {
      failed: isBreach || (status !== undefined && status >= 500),
      blockedMs: time.blockedMs,
      aborted: status === undefined,
    };
  }

  #open(handler: Handler, breaker: Breaker): void {
    handler.isWatched = true;
    const { cause } = breaker;
    if (cause === undefined) return;
    const { openMs, dryRun } = this.#limits;
    const what = dryRun ? 'would be refused (dry run)' : 'is refused';
    this.#say(
      `${handler.name}, open, ${cause}`,
      `${handler.name} ${what} with 503 for at least ${number(openMs)} ms: ${this.#describe(cause, breaker)}`,
      [['fix', FIX[cause]]],
      { handler: handler.name, cause, state: 'open', dryRun, ...breaker.sums, fix: FIX[cause] },
    );
  }

  #close(handler: Handler, breaker: Breaker): void {
    handler.isWatched = false;
    const { dryRun } = this.#limits;
    const ms = performance.now() - breaker.openedMs;
    const refused = breaker.arrivals;
    const what = dryRun ? 'would accept requests again (dry run)' : 'accepts requests again';
    this.#say(
      `${handler.name}, closed`,
      `${handler.name} ${what} after ${number(ms)} ms; ${number(refused)} arrived meanwhile`,
      [],
      {
        handler: handler.name,
        state: 'closed',
        dryRun,
        ms,
        arrivals: refused,
      },
    );
  }

  #describe(cause: BreakerCause, breaker: Breaker): string {
    const { requests, failures, blockedMs, connectionsMs } = breaker.sums;
    const within = `within ${number(this.#limits.windowMs)} ms`;
    if (cause === 'blocked') return `it blocked the event loop for ${number(blockedMs)} ms ${within}`;
    if (cause === 'connections')
      return `others waited ${number(connectionsMs)} ms for pool connections that it held ${within}`;
    return `${number(failures)} of its ${number(requests)} requests failed ${within}`;
  }

  /** One a window and turn: a handler at its limit may open and close for hours. */
  #say(turn: string, headline: string, lines: readonly ReportLine[], fields: FieldsOfReport): void {
    if (reports.admit(TURNS, turn) === undefined) return;
    // It is about a handler, not about the request that happened to end just now.
    contextStorage.run(undefined as never, () =>
      this.#hookErrors.guard('breaker log', () => this.#logger.warn(new Report(headline, lines, fields))),
    );
  }
}

/** The handler that a breaker is for. */
function routeOf({ kind, handler }: RequestContext): Handler | undefined {
  return kind === 'http' && handler instanceof Handler && !handler.isStream ? handler : undefined;
}

function ofHandler(handler: Handler, limits: ResolvedBreaker): Breaker {
  return (handler.breaker ??= new Breaker(limits)) as Breaker;
}

const FIX: Readonly<Record<BreakerCause, string>> = {
  blocked: 'split the work (setImmediate between parts), or move it to a worker thread',
  connections:
    'release connections sooner, above all before calling other services, or limit the handler with @Concurrency()',
  failures: 'check its errors and the services it depends on',
};
