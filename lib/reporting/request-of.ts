import { ownLogFields, textOfOwnFields } from '../context/own-log-fields';
import type { FieldsOfReport } from '../context/our-fields';
import type { RequestContext } from '../context/request-context';

/** `OrdersController.list`, or what else the work is called. */
export function workOf(context: RequestContext): string {
  return context.handler?.name ?? routeOf(context);
}

/** `GET /orders/:id, request id …, user …` */
export function requestOf(context: RequestContext): string {
  const userId = context.currentUserId();
  const parts = [routeOf(context), `request id ${context.requestId}`];
  if (context.traceId !== undefined) parts.push(`trace id ${context.traceId}`);
  if (userId !== undefined) parts.push(`user ${userId}`);
  const own = textOfOwnFields(ownLogFields(context));
  if (own !== '') parts.push(own);
  return parts.join(', ');
}

/** The same as fields; what is not known is `undefined`. */
export function requestFields(context: RequestContext): FieldsOfReport {
  return {
    ...ownLogFields(context),
    handler: context.handler?.name,
    route: context.currentRoute(),
    method: context.method,
    requestId: context.requestId,
    traceId: context.traceId,
    userId: context.currentUserId(),
  };
}

/** In a middleware no route has taken the request yet. */
function routeOf(context: RequestContext): string {
  const { kind, method } = context;
  return context.currentRoute() ?? (method === undefined ? kind : `${method}, no route yet`);
}
