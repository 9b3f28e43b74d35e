import { contextStorage } from './context-storage';

/** What a log line says about the unit of work that wrote it. */
export interface ContextLogFields {
  readonly requestId: string;
  readonly traceId?: string;
  readonly userId?: string;
  readonly handler?: string;
}

/**
 * The fields for a log line that is written now; `undefined` outside of any unit of work.
 *
 * @example
 * const line = { message: 'paid', ...contextLogFields() };
 */
export function contextLogFields(): ContextLogFields | undefined {
  const context = contextStorage.getStore();
  if (context === undefined) return undefined;
  const userId = context.currentUserId();
  return {
    requestId: context.requestId,
    ...(context.traceId !== undefined && { traceId: context.traceId }),
    ...(userId !== undefined && { userId }),
    ...(context.handler !== undefined && { handler: context.handler.name }),
  };
}
