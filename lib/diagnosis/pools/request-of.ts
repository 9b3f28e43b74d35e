import type { RequestContext } from '../../context/request-context';

/** `GET /orders/:id, request id …, user …` */
export function requestOf(context: RequestContext): string {
  const userId = context.currentUserId();
  const parts = [context.currentRoute() ?? context.kind, `request id ${context.requestId}`];
  if (context.traceId !== undefined) parts.push(`trace id ${context.traceId}`);
  if (userId !== undefined) parts.push(`user ${userId}`);
  return parts.join(', ');
}

/** The same as fields; what is not known is `undefined`. */
export function requestFields(context: RequestContext): Readonly<Record<string, unknown>> {
  return {
    handler: context.handler?.name,
    route: context.currentRoute(),
    method: context.method,
    requestId: context.requestId,
    traceId: context.traceId,
    userId: context.currentUserId(),
  };
}
