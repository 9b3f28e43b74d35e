import { applyDecorators, UseGuards } from '@nestjs/common';
import { type ConcurrencyOptions, declaredConcurrency, readConcurrency } from './concurrency';
import { ConcurrencyGuard } from './concurrency.guard';

type AnyDecorator = ClassDecorator & MethodDecorator;

/**
 * Limits how many calls of a handler run at once, so that it cannot occupy a whole pool or the process. On a class,
 * its handlers share the slots; on a method, it replaces the limit of the class. It counts within this process.
 *
 * A request that finds no slot is refused with 503 and `Retry-After`, after queueing for up to `waitMs`. A client that
 * disconnects leaves the queue. A slot is released when the response is over and the handler has settled, so that
 * disconnecting clients do not cause more calls to run.
 *
 * It applies its own guard, which runs at the position of the decorator: with `by: 'user'`, put it above the decorator
 * that authenticates (method decorators apply from the bottom up).
 *
 * @throws AsyncContextError `ASYNC_CONTEXT_INVALID_OPTION`, at startup
 *
 * @example
 * export class ReportsController {
 *   @Get('export')
 *   @Concurrency({ limit: 2, waitMs: 500 })
 *   export() {}
 * }
 */
export function Concurrency(options: ConcurrencyOptions = {}): AnyDecorator {
  const concurrency = declaredConcurrency.decorate(where => readConcurrency(options, where));
  return applyDecorators(concurrency, UseGuards(ConcurrencyGuard)) as AnyDecorator;
}
