import { type CanActivate, type ExecutionContext, Injectable } from '@nestjs/common';
import { type GqlContextType, GqlExecutionContext } from '@nestjs/graphql';
import type { ContextUser } from 'nestjs-async-context';

declare module 'nestjs-async-context' {
  interface ContextUser {
    id: string;
    role: 'clerk' | 'customer';
  }
}

interface Request {
  readonly headers: Readonly<Record<string, string | undefined>>;
  user?: ContextUser;
}

/** Stands for the application's authentication: it sets `request.user`, as Passport does. */
@Injectable()
export class UserGuard implements CanActivate {
  canActivate(execution: ExecutionContext): boolean {
    const request = requestOf(execution);
    const id = request?.headers['x-user'];
    if (request !== undefined && id !== undefined) request.user = { id, role: 'customer' };
    return true;
  }
}

function requestOf(execution: ExecutionContext): Request | undefined {
  switch (execution.getType<GqlContextType>()) {
    case 'http':
      return execution.switchToHttp().getRequest<Request>();
    case 'graphql':
      return GqlExecutionContext.create(execution).getContext<{ req: Request }>().req;
    default:
      return undefined;
  }
}
