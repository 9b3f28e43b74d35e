import { applyDecorators, type ExecutionContext, UseGuards } from '@nestjs/common';
import { checkFunction, checkObject, readBoolean } from '../../kernel/option-checks';
import type { ContextUser } from '../../context/request-context';
import { declaredAccess } from './access';
import { UserGuard } from './user.guard';

/** Options of `@RequireUser()`. */
export interface RequireUserOptions {
  /**
   * Whether it only counts and logs whom it would refuse. `forRoot({ guards: { dryRun } })` does not say so for it.
   * @default false
   */
  readonly dryRun?: boolean;
}

type AnyDecorator = ClassDecorator & MethodDecorator;

/**
 * Lets in who has a user in the context, and, with a function, whom it gives `true` for: 401 without a user, 403
 * otherwise. The function may be asynchronous; one that throws lets nobody in, and is reported. On a method it
 * replaces what its class says.
 *
 * It brings its guard along, which runs in the place of the decorator: above what authenticates (decorators of a
 * method apply from below), or under a guard of the class or of the application that does.
 *
 * @throws AsyncContextError `ASYNC_CONTEXT_INVALID_OPTION`, at start-up
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
 * Opens a handler, or all of a class, to callers without a user, where `UserGuard` is a guard of the application
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
