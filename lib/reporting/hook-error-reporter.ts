import { Logger } from '@nestjs/common';
import { oneLine } from '../kernel/one-line';
import { isThenable, settled, whenSettled } from '../kernel/thenable';
import { answerOf } from '../kernel/answer-of';
import { describeError } from '../kernel/error-outline';
import { ReportLogger } from './report-logger';
import { number, Report, type ReportLine } from './report-text';
import { type ReportKind, reports } from './reports';

const HOOK_ERRORS: ReportKind = { name: 'hook errors', one: 'hook error', isError: false };

/** The application chooses the names of sinks and keys. */
const MAX_WHERE = 200;
const MAX_WORDS = 500;

/** Receives reports about failures. */
export type HookErrors = Pick<HookErrorReporter, 'report' | 'say'>;

const ignore = (): void => undefined;

/**
 * Logs, at most once a minute, that a hook of the application or a part of this package failed. The work that met the
 * error continues with the default.
 */
export class HookErrorReporter {
  readonly #logger = new Logger('AsyncContext');
  readonly #reports = new ReportLogger('AsyncContext');
  readonly #withMessages: boolean;

  /** @param withMessages whether to log error messages, which may contain values of the application */
  constructor(withMessages = false) {
    this.#withMessages = withMessages;
  }

  /**
   * Logs that something failed with an error, which may be any value. Never throws.
   *
   * @param where a fixed name (an option's path, a part of the package), never a value
   * @param advise gives lines below the message: what is lost, and what to do
   */
  report(where: string, error: unknown, advise?: () => readonly ReportLine[]): void {
    const suppressed = reports.admit(HOOK_ERRORS, where);
    if (suppressed === undefined) return;
    this.#write(
      `${named(where)} failed and was ignored`,
      describeError(error, this.#withMessages),
      suppressed,
      advise,
    );
  }

  /** Logs a message in this package's own words about something that need not have failed. Never throws. */
  say(where: string, words: string): void {
    const suppressed = reports.admit(HOOK_ERRORS, where);
    if (suppressed !== undefined) this.#write(named(where), words, suppressed);
  }

  /** Runs a hook of the application. An error or rejection is reported and not passed on. */
  guard(where: string, hook: () => unknown): void {
    try {
      const result = hook();
      if (isThenable(result)) whenSettled(result, ignore, error => this.report(where, error));
    } catch (error) {
      this.report(where, error);
    }
  }

  /** The same, but awaits the result. Never rejects. */
  async settle(where: string, hook: () => unknown): Promise<void> {
    try {
      await settled(hook());
    } catch (error) {
      this.report(where, error);
    }
  }

  /** Calls a synchronous hook; returns `undefined` if it fails or returns a promise. */
  ask<T>(where: string, hook: () => T): T | undefined {
    try {
      return answerOf(hook());
    } catch (error) {
      this.report(where, error);
      return undefined;
    }
  }

  #write(what: string, words: string, suppressed: number, advise?: () => readonly ReportLine[]): void {
    const more = suppressed > 0 ? ` (${number(suppressed)} more since the last one)` : '';
    try {
      const message = oneLine(`${what}: ${words.slice(0, MAX_WORDS)}${more}`);
      const lines = advise?.();
      if (lines === undefined) this.#logger.warn(message);
      else this.#reports.warn(new Report(message, lines, { ...Object.fromEntries(lines), suppressed }));
    } catch {
      // The application's logger failed; there is nowhere left to say so.
    }
  }
}

function named(where: string): string {
  return where.slice(0, MAX_WHERE);
}
