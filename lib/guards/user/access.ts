import type { ExecutionContext } from '@nestjs/common';
import type { ContextUser } from '../../context/request-context';
import { Declared } from '../declared';

/** Whom a handler lets in. */
export interface Access {
  readonly isPublic: boolean;
  readonly allows?: ((user: ContextUser, execution: ExecutionContext) => unknown) | undefined;
  readonly dryRun?: boolean | undefined;
}

/** What `@RequireUser()` and `@Public()` say: of two, the one that is nearer to the handler. */
export const declaredAccess = new Declared<Access>('access');
