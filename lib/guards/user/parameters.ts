import { createParamDecorator, type ExecutionContext } from '@nestjs/common';
import type { ContextUser } from '../../context/request-context';
import { unitOf } from '../unit-of';

/**
 * The user of the context, as a parameter of a handler, or one property of it. `undefined` without a user.
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
 * The id of the unit of work, as a parameter of a handler.
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
