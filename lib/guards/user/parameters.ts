import { createParamDecorator, type ExecutionContext } from '@nestjs/common';
import type { ContextUser } from '../../context/request-context';
import { unitOf } from '../unit-of';

/**
 * Injects the user of the context, or one of its properties, into a handler parameter. `undefined` without a user.
 *
 * @example
 * export class ProfileController {
 *   @Get()
 *   @RequireUser()
 *   profile(@CurrentUser() user: ContextUser, @CurrentUser('id' as never) id: string) {
 *     return { user, id };
 *   }
 * }
 */
export const CurrentUser: (property?: keyof ContextUser) => ParameterDecorator = createParamDecorator(
  (property: keyof ContextUser | undefined, execution: ExecutionContext) => {
    const user = unitOf(execution)?.currentUser();
    return property === undefined ? user : user?.[property];
  },
);

/**
 * Injects the id of the unit of work into a handler parameter.
 *
 * @example
 * export class EchoController {
 *   @Get()
 *   echo(@RequestId() requestId: string) {
 *     return { requestId };
 *   }
 * }
 */
export const RequestId: () => ParameterDecorator = createParamDecorator(
  (_: unknown, execution: ExecutionContext) => unitOf(execution)?.requestId,
);
