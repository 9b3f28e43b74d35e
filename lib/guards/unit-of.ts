import type { ExecutionContext } from '@nestjs/common';
import { contextStorage } from '../context/context-storage';
import type { RequestContext } from '../context/request-context';
import { type PlatformRequest, rememberedContext } from '../context/remembered-context';

/**
 * The unit of work that a guard or a parameter is asked for, of whichever application. An HTTP request says itself
 * which it is: what runs now may have lost it, and stand in that of somebody else.
 */
export function unitOf(execution: ExecutionContext): RequestContext | undefined {
  const request =
    execution.getType() === 'http' ? execution.switchToHttp().getRequest<PlatformRequest>() : undefined;
  return (request && rememberedContext(request)) ?? contextStorage.getStore();
}
