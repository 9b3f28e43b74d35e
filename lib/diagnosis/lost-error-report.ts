import { inspect } from 'node:util';
import { oneLine } from './report-text';
import type { RequestContext } from '../context/request-context';
import type { ErrorOutline } from './error-outline';

/** What Node says of where an error came from. */
export type ErrorOrigin = 'uncaughtException' | 'unhandledRejection';

/** What has become of the request. */
export type LostErrorOutcome = 'answered' | 'waiting' | 'over';

const OUTCOMES: Readonly<Record<LostErrorOutcome, string>> = {
  answered: 'was answered by its exception filters',
  waiting: 'still waits; forRoot({ answerLostErrors: true }) would answer it',
  over: 'was over, or its answer had begun',
};

/**
 * An error that nobody awaits as it is logged: a block to read in a text log, flat fields in a JSON
 * log. Neither holds the text of the error.
 */
export class LostErrorReport {
  [field: string]: unknown;

  constructor(
    context: RequestContext,
    error: ErrorOutline,
    origin: ErrorOrigin,
    outcome: LostErrorOutcome | undefined,
    suppressed: number,
  ) {
    const text = describe(context, error, origin, outcome, suppressed);
    Object.defineProperty(this, inspect.custom, { value: () => text });
    Object.defineProperty(this, 'toString', { value: () => text });
    Object.assign(this, fieldsOf(context, error, origin, outcome, suppressed));
  }
}

function describe(
  context: RequestContext,
  error: ErrorOutline,
  origin: ErrorOrigin,
  outcome: LostErrorOutcome | undefined,
  suppressed: number,
): string {
  const lines: [label: string, text: string][] = [
    ['request', requestOf(context)],
    ['error', `${classOf(error)}, ${origin === 'unhandledRejection' ? 'rejected' : 'thrown'}${at(error)}`],
    ['next', nextOf(error, origin)],
  ];
  if (outcome !== undefined) lines.splice(2, 0, ['answer', `the request ${OUTCOMES[outcome]}`]);
  if (suppressed > 0) lines.push(['group', `${suppressed} more were not logged since the last one`]);
  const block = lines.map(([label, value]) => `  ${label.padEnd(9)} ${oneLine(value)}`);
  return [oneLine(headline(context, error)), ...block].join('\n');
}

function headline(context: RequestContext, error: ErrorOutline): string {
  return `An error that nobody awaits ended work of ${workOf(context)}: ${classOf(error)}${at(error)}`;
}

/** `OrdersController.create`; in a middleware no route has taken the request yet. */
export function workOf(context: RequestContext): string {
  return context.handler?.name ?? routeOf(context);
}

function routeOf(context: RequestContext): string {
  const { kind, method } = context;
  return context.currentRoute() ?? (method === undefined ? kind : `${method}, no route yet`);
}

function classOf({ name, code }: ErrorOutline): string {
  return code === undefined ? name : `${name} (${code})`;
}

function at({ place }: ErrorOutline): string {
  return place === undefined ? '' : ` at ${place}`;
}

function requestOf(context: RequestContext): string {
  const parts = [routeOf(context), `request id ${context.requestId}`];
  if (context.traceId !== undefined) parts.push(`trace id ${context.traceId}`);
  const userId = context.currentUserId();
  if (userId !== undefined) parts.push(`user ${userId}`);
  return parts.join(', ');
}

function nextOf({ place }: ErrorOutline, origin: ErrorOrigin): string {
  if (origin === 'uncaughtException')
    return "Catch it in the callback, listen to 'error' of the emitter, or use the promise of the call and await it.";
  const what = 'Await the promise, return it, or give it a catch().';
  return place === undefined ? `${what} Reject with an Error: it knows its line.` : what;
}

function fieldsOf(
  context: RequestContext,
  error: ErrorOutline,
  origin: ErrorOrigin,
  outcome: LostErrorOutcome | undefined,
  suppressed: number,
): Record<string, unknown> {
  const fields: Record<string, unknown> = {
    message: headline(context, error),
    handler: context.handler?.name,
    route: context.currentRoute(),
    method: context.method,
    requestId: context.requestId,
    traceId: context.traceId,
    userId: context.currentUserId(),
    error: error.name,
    code: error.code,
    at: error.place,
    origin,
    outcome,
    next: nextOf(error, origin),
    suppressed,
  };
  for (const [name, value] of Object.entries(fields)) if (value === undefined) delete fields[name];
  return fields;
}
