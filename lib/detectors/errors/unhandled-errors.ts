import { contextStorage } from '../../context/context-storage';
import { oncePerProcess } from '../../kernel/once-per-process';
import type { RequestContext } from '../../context/request-context';
import { takeBack } from '../../kernel/take-back';
import { outlineOf } from '../../kernel/error-outline';
import { HookErrorReporter } from '../../reporting/hook-error-reporter';
import { type ErrorOrigin, type UnhandledErrorOutcome, UnhandledErrorReport } from './unhandled-error-report';
import { workOf } from '../../reporting/request-of';
import { coverConnections } from '../resources/opened-connections';
import { RejectionWatch } from './rejection-watch';
import { type ReportKind, reports } from '../../reporting/reports';
import { whoseError } from './whose-error';
import { ReportLogger } from '../../reporting/report-logger';

const UNHANDLED_ERRORS: ReportKind = { name: 'unhandled errors', one: 'unhandled error', isError: true };

/**
 * Says which unit of work an error belongs to that nobody awaits. One for all applications of a
 * process: the first installs it, the last takes it back.
 *
 * `uncaughtExceptionMonitor` changes nothing about what the process does next.
 */
export class UnhandledErrors {
  readonly #users = new Set<object>();
  readonly #logger = new ReportLogger('UnhandledErrors');
  readonly #hookErrors = new HookErrorReporter();
  readonly #watch = new RejectionWatch(reason =>
    // Somebody else listens, or the mode of the process asks for no listener.
    this.#see(reason, 'unhandledRejection', false),
  );
  /** Errors of this turn of the event loop: an `unhandledRejection` listener may throw what it was given. */
  readonly #seen = new Map<unknown, RequestContext>();
  #uncover: (() => void)[] = [];

  static ofProcess(): UnhandledErrors {
    return oncePerProcess('unhandled-errors', () => new UnhandledErrors());
  }

  install(user: object): void {
    if (this.#users.size === 0) {
      process.on('uncaughtExceptionMonitor', this.#seeFirst);
      this.#watch.start();
      this.#uncover = coverConnections();
    }
    this.#users.add(user);
  }

  uninstall(user: object): void {
    if (!this.#users.delete(user) || this.#users.size > 0) return;
    process.off('uncaughtExceptionMonitor', this.#seeFirst);
    this.#watch.stop();
    takeBack(this.#uncover);
  }

  readonly #seeFirst = (error: unknown, origin: ErrorOrigin): void =>
    this.#see(error, origin, !isListenedTo());

  // What it throws would replace the error that the process ends with.
  readonly #see = (error: unknown, origin: ErrorOrigin, endsProcess: boolean): void => {
    try {
      const context = whoseError(error, origin);
      if (context === undefined || this.#hasSeen(error, context)) return;
      contextStorage.run(context, () => this.#report(context, error, origin, endsProcess));
    } catch (hookError) {
      this.#hookErrors.report('reporting an unhandled error', hookError);
    }
  };

  #report(context: RequestContext, error: unknown, origin: ErrorOrigin, endsProcess: boolean): void {
    const outline = outlineOf(error);
    context.unhandledErrors += 1;
    if (!context.isClosed) context.error ??= outline.name;
    const outcome = this.#answer(context, error);
    const subject = `${workOf(context)}, ${outline.place ?? outline.name}, ${origin}`;
    const suppressed = reports.admit(UNHANDLED_ERRORS, subject);
    if (suppressed === undefined) return;
    const fate = { outcome, endsProcess };
    this.#logger.error(new UnhandledErrorReport(context, outline, origin, fate, suppressed));
  }

  #answer(part: RequestContext, error: unknown): UnhandledErrorOutcome | undefined {
    // An older copy of the package knows no parts.
    const context = part.outermost ?? part;
    if (context.kind !== 'http') return undefined;
    const { response } = context;
    if (context.isClosed || response === undefined || response.headersSent || response.writableEnded)
      return 'over';
    try {
      return context.application.answerUnhandledError?.(context, error) === true ? 'answered' : 'waiting';
    } catch (hookError) {
      this.#hookErrors.report('an exception filter, on an unhandled error,', hookError);
      return 'waiting';
    }
  }

  #hasSeen(error: unknown, context: RequestContext): boolean {
    if (this.#seen.get(error) === context) return true;
    if (this.#seen.size === 0) setImmediate(() => this.#seen.clear()).unref();
    this.#seen.set(error, context);
    return false;
  }
}

/** Whether the process goes on after an error that reaches it, also after a rejection that Node has made one. */
function isListenedTo(): boolean {
  return process.listenerCount('uncaughtException') > 0 || process.hasUncaughtExceptionCaptureCallback();
}
