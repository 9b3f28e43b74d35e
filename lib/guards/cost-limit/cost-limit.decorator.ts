import { applyDecorators, UseGuards } from '@nestjs/common';
import { CostLimitGuard } from './cost-limit.guard';
import type { CostLimitOptions } from './cost-limit-options';
import { readPolicy } from './cost-limit-policy';
import { declaredCostLimit } from './declared-cost-limit';

type AnyDecorator = ClassDecorator & MethodDecorator;

/**
 * Limits what each caller may cost at a handler, or at all handlers of a class, which then share its buckets. On a
 * method it replaces what its class and the module say; `false` takes the limit away.
 *
 * It brings its guard along, which runs in the place of the decorator: above what authenticates (decorators of a
 * method apply from below) where it asks who the user is.
 *
 * @throws AsyncContextError `ASYNC_CONTEXT_INVALID_OPTION`, at start-up
 *
 * @example
 * @Controller('reports')
 * export class ReportsController {
 *   // 10,000 points at once, and 600,000 an hour.
 *   @Get()
 *   @CostLimit({ burst: 10_000, restorePerSecond: 167, by: 'user' })
 *   list() {}
 * }
 */
export function CostLimit(options: CostLimitOptions | false): AnyDecorator {
  if (options === false) return declaredCostLimit.decorate(() => false);
  const policy = declaredCostLimit.decorate(where =>
    readPolicy(options, where, '', `@CostLimit on ${where}`),
  );
  return applyDecorators(policy, UseGuards(CostLimitGuard)) as AnyDecorator;
}
