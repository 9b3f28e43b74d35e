import { Logger } from '@nestjs/common';
import { isThenable } from '../context/thenable';
import { OncePerWindow } from './once-per-window';

/**
 * Says once a minute that a hook of the application, or a part of this package, failed.
 * The work that met the fault goes on with the default.
 */
export class FaultReporter {
  readonly #logger = new Logger('AsyncContext');
  readonly #windows = new OncePerWindow(60_000);

  /** `where` is a fixed name (an option's path, a part of the package), never a value. */
  report(where: string, reason: unknown): void {
    const suppressed = this.#windows.admit(where);
    if (suppressed === undefined) return;
    const more = suppressed > 0 ? ` (${suppressed} more in the last minute)` : '';
    try {
      this.#logger.warn(`${where} failed and was ignored: ${describe(reason)}${more}`);
    } catch {
      // The application's logger failed; there is nowhere left to say so.
    }
  }

  /** Runs a hook of the application. What it throws or rejects with is reported, never passed on. */
  guard<T>(where: string, hook: () => T): T | undefined {
    try {
      const result = hook();
      if (isThenable(result)) result.then(undefined, (error: unknown) => this.report(where, error));
      return result;
    } catch (error) {
      this.report(where, error);
      return undefined;
    }
  }
}

function describe(reason: unknown): string {
  return reason instanceof Error ? (reason.stack ?? reason.message) : String(reason);
}
