import { contextStorage } from '../context/context-storage';
import { oncePerProcess } from '../kernel/once-per-process';
import { isAnswered } from '../handlers/answer-once';
import { hardAnswer } from './hard-answer';
import { noteError } from './settle';

interface ExceptionsHandler {
  filters?: readonly { readonly exceptionMetatypes?: readonly unknown[] }[];
  next(exception: unknown, host: unknown): unknown;
}

/**
 * Notes the class of each error that Nest answers an HTTP request with, be it of a guard, a pipe,
 * a handler, or that there is no such route. That of a unit of work which was stopped is answered as such.
 *
 * Nest has no hook for it, and a filter of our own would take the application's place. What every
 * error goes through is `ExceptionsHandler#next()`; a request without an error costs nothing.
 */
export function noteErrorsOfRequests(): void {
  oncePerProcess('exceptions', () => {
    const prototype = loadExceptionsHandler()?.prototype;
    if (prototype === undefined) return false;
    const next = prototype.next;
    prototype.next = function (exception, host) {
      const context = contextStorage.getStore();
      if (context !== undefined) noteError(context, exception);
      // The handler of a request whose unhandled error was answered may still fail, or answer.
      if (isAnswered(host)) return undefined;
      return next.call(this, hardAnswer(exception, host, this), host);
    };
    return true;
  });
}

function loadExceptionsHandler(): { prototype: ExceptionsHandler } | undefined {
  try {
    // Not in the index of the package, but at this path in Nest 11 and in Nest 12.
    const { ExceptionsHandler: found } = require('@nestjs/core/exceptions/exceptions-handler') as {
      ExceptionsHandler?: { prototype: ExceptionsHandler };
    };
    return found;
  } catch {
    // Moved by a later Nest: then records have no `error`.
    return undefined;
  }
}
