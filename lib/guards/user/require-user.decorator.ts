import { applyDecorators, type ExecutionContext, UseGuards } from '@nestjs/common';
import { checkFunction, checkObject, readBoolean } from '../../kernel/option-checks';
import type { ContextUser } from '../../context/request-context';
import { declaredAccess } from './access';
import { UserGuard } from './user.guard';

/** Options of `@RequireUser()`. */
export interface RequireUserOptions {
  /**
   * Whether to only count and log what would be refused. `forRoot({ guards: { dryRun } })` does not affect this.
   * @default false
   */
  readonly dryRun?: boolean;
}

type AnyDecorator = ClassDecorator & MethodDecorator;

/**
 * Lets a caller in if there is a user in the context and, with a function, if the function returns `true`: 401 without
 * a user, 403 otherwise. The function may be asynchronous; if it throws, the caller is refused and the error is
 * reported. On a method it replaces the requirement of the class.
 *
 * It applies its own guard, which runs at the position of the decorator: put it above the decorator that authenticates
 * (method decorators apply from the bottom up), or authenticate in a guard of the class or of the application.
 *
 * @throws AsyncContextError `ASYNC_CONTEXT_INVALID_OPTION`, at startup
 *
 * @example
 * export class InvoiceController {
 *   @Delete(':id')
 *   @RequireUser(user => (user as { roles?: string[] }).roles?.includes('admin') === true)
 *   remove() {}
 * }
 */
export function RequireUser(
  allows?: (user: ContextUser, execution: ExecutionContext) => boolean | Promise<boolean>,
  options: RequireUserOptions = {},
): AnyDecorator {
  const access = declaredAccess.decorate(where => {
    const call = `@RequireUser on ${where}`;
    checkFunction('allows', allows, call);
    checkObject('', options, ['dryRun'], call);
    const { dryRun } = options;
    if (dryRun !== undefined) readBoolean('dryRun', dryRun, call);
    return { isPublic: false, allows, dryRun };
  });
  return applyDecorators(access, UseGuards(UserGuard)) as AnyDecorator;
}

/**
 * Opens a handler, or all handlers of a class, to callers without a user, if `UserGuard` is a guard of the application
 * or of the class.
 *
 * @example
 * @Controller('health')
 * @Public()
 * export class HealthController {}
 */
export function Public(): AnyDecorator {
  return declaredAccess.decorate(() => ({ isPublic: true }));
}
