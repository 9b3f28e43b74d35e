import { applyDecorators, UseGuards } from '@nestjs/common';
import { type ConcurrencyOptions, declaredConcurrency, readConcurrency } from './concurrency';
import { ConcurrencyGuard } from './concurrency.guard';

type AnyDecorator = ClassDecorator & MethodDecorator;

/**
 * Lets a handler run so many times at once and no more, so that it cannot hold the whole pool or the process. On
 * a class its handlers share the slots; on a method it replaces what its class says. It counts in this process.
 *
 * Who finds no slot is refused with 503 and `Retry-After`, or waits in line for `waitMs` before that. A client
 * that leaves gives up its place. A slot comes back when the response is over and the handler has settled, so
 * that clients that leave do not make more of them run.
 *
 * It brings its guard along, which runs in the place of the decorator: with `by: 'user'` above what authenticates
 * (decorators of a method apply from below).
 *
 * @throws AsyncContextError `ASYNC_CONTEXT_INVALID_OPTION`, at start-up
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
