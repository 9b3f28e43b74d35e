import type { ExecutionContext } from '@nestjs/common';
import type { ContextService } from '../context/context.service';
import type { ContextApplication, RequestContext } from '../context/request-context';
import type { HookErrorReporter } from '../reporting/hook-error-reporter';
import type { Handler, Handlers } from '../handlers/handlers';
import { Callers } from './caller/callers';
import { AllSlots } from './concurrency/concurrency';
import { nameOf } from './guard-kit-token';
import type { ResolvedGuards } from './guard-options';
import type { Refusal, RefusalDetails } from './refusal';
import { answerRefusal, refusalError } from './refusal-error';
import type { Refusals } from './refusals';
import { unitOf } from './unit-of';
import { whenOver } from './when-over';

/** What guards need from the units of work of their application. */
interface GuardedUnits extends ContextApplication {
  readonly handlers: Handlers;
  /** Calls `fn` after the close, or immediately if it is already closed. */
  onClose(context: RequestContext, fn: () => unknown): void;
  /** Sets the handler of the work. */
  setHandler(context: RequestContext, handler: Handler): void;
}

/** State shared by the guards of one application; not part of the public API. */
export class GuardKit {
  readonly refusals: Refusals;
  readonly options: ResolvedGuards;
  readonly contextService: ContextService;
  readonly hookErrors: HookErrorReporter;
  /** Of `@Concurrency()`. */
  readonly slots = new AllSlots();
  readonly callers = new Callers(this);
  readonly #units: GuardedUnits;
  /** Runs a function after the close of a unit of work, or immediately if it is already closed. */
  readonly onClose = (context: RequestContext, fn: () => unknown): void => this.#units.onClose(context, fn);

  constructor(
    options: ResolvedGuards,
    units: GuardedUnits,
    contextService: ContextService,
    hookErrors: HookErrorReporter,
    refusals: Refusals,
  ) {
    this.refusals = refusals;
    this.options = options;
    this.#units = units;
    this.contextService = contextService;
    this.hookErrors = hookErrors;
  }

  /** The unit of work of this application that a guard is called for. */
  contextOf(execution: ExecutionContext): RequestContext | undefined {
    const context = unitOf(execution);
    return context?.isOf(this.#units) === true ? context : undefined;
  }

  /**
   * Refuses, unless in a dry run: counts and logs the refusal, and returns whether the work continues.
   *
   * @param details facts for operators, never a value of a request
   * @throws the error of the transport
   */
  refuse(execution: ExecutionContext, refusal: Refusal, dryRun: boolean, details?: RefusalDetails): true {
    const context = this.contextOf(execution);
    // A logger of the application may throw.
    this.hookErrors.guard('refusal log', () =>
      this.refusals.note(context, this.#handlerOf(execution), refusal, dryRun, details),
    );
    if (dryRun) return true;
    this.hookErrors.guard('naming a refused handler', () => this.#nameHandler(execution, context));
    const { problemJson } = this.options;
    const type = execution.getType<string>();
    const reply: unknown =
      problemJson && type === 'http' ? execution.switchToHttp().getResponse() : undefined;
    this.hookErrors.guard('answering a refused request', () =>
      answerRefusal(refusal, context?.response, reply),
    );
    throw refusalError(type, refusal, problemJson);
  }

  /**
   * Refuses work whose client has disconnected, without logging it; not in a dry run.
   *
   * @throws the error of the transport
   */
  refuseLeft(execution: ExecutionContext, refusal: Refusal, dryRun: boolean): true {
    if (dryRun) return true;
    this.refusals.count(refusal.by, refusal.reason, nameOf(execution), false);
    throw refusalError(execution.getType(), refusal);
  }

  /** Calls back once, when a unit of work is over for good; see `whenOver()`. */
  whenOver(context: RequestContext, maxHoldMs: number, over: (hasEnded: boolean) => void): void {
    whenOver(context, this.onClose, maxHoldMs, hasEnded =>
      // A timer may call it, and what it throws would end the process.
      this.hookErrors.guard('releasing what a guard holds', () => over(hasEnded)),
    );
  }

  /** That of a message is known by what runs after its guards. */
  #nameHandler(execution: ExecutionContext, context: RequestContext | undefined): void {
    if (context === undefined || context.handler !== undefined || context.isClosed) return;
    this.#units.setHandler(
      context,
      this.#units.handlers.ofMethod(execution.getClass(), execution.getHandler()),
    );
  }

  /** As records have it: a decorator may have put a function of another name in the place of the method. */
  #handlerOf(execution: ExecutionContext): string {
    return this.#units.handlers.ofMethod(execution.getClass(), execution.getHandler()).name;
  }
}
