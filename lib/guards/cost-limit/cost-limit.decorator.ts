import { applyDecorators, UseGuards } from '@nestjs/common';
import { CostLimitGuard } from './cost-limit.guard';
import type { CostLimitOptions } from './cost-limit-options';
import { readPolicy } from './cost-limit-policy';
import { declaredCostLimit } from './declared-cost-limit';

type AnyDecorator = ClassDecorator & MethodDecorator;

/**
 * Limits what each caller may spend at a handler, or at all handlers of a class, which then share its buckets. On a
 * method it replaces the limit of the class and of the module; `false` removes the limit.
 *
 * It applies its own guard, which runs at the position of the decorator: if it identifies callers by user, put it above
 * the decorator that authenticates (method decorators apply from the bottom up).
 *
 * @throws AsyncContextError `ASYNC_CONTEXT_INVALID_OPTION`, at startup
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
