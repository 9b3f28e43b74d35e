import { runAgain } from '../context/charge-redirect';
import { activeSpan } from '../w3c/open-telemetry';
import type { ContextKind, ContextTask, RequestContext } from '../context/request-context';
import type { Handler } from '../handlers/handlers';
import { runToEnd } from './settle';
import type { UnitsOfWork } from './units-of-work';

/** How a unit of work begins that a library of Nest calls without a request. */
export interface TaskStart {
  readonly task: ContextTask;
  readonly handler: Handler | undefined;
  /** `cron:0 3 * * *`, `event:order.created`, `mail:send` */
  readonly route: string | undefined;
  /** @default 'job' */
  readonly kind?: ContextKind;
  /** The unit of work of this process that asked for it. */
  readonly caller?: RequestContext | undefined;
  /** Whether the caller awaits it: then it is a part of the caller. */
  readonly isAwaited?: boolean;
  /** What has travelled from the unit of work that asked for it. */
  readonly carrier?: unknown;
  /** Classes of errors that are none: how a job says that it goes on later. */
  readonly noErrors?: ReadonlySet<string>;
}

/** Runs `fn` in a unit of work of its own. Its result stays as it is; a stream is not subscribed to. */
export function runTask<T>(units: UnitsOfWork, start: TaskStart, fn: () => T): T {
  const { task, handler, route, caller, carrier, noErrors } = start;
  const isPart = start.isAwaited === true && caller?.isClosed === false;
  const context = isPart ? openPart(units, caller) : units.open(start.kind ?? 'job');
  if (!isPart && caller !== undefined) inherit(context, caller);
  const within = carrier === undefined ? undefined : units.adopt(context, carrier);
  context.task = task;
  context.route = route;
  if (handler !== undefined) units.setHandler(context, handler);
  context.time.runs();
  const close = (): void => {
    if (noErrors?.has(context.error ?? '') === true) context.error = undefined;
    if (isPart) closePart(context, caller);
    units.close(context);
  };
  try {
    // What its caller keeps apart is not asked of it.
    const inside = within === undefined ? fn : () => within(fn);
    const work = isPart ? inside : () => runAgain(undefined, inside);
    return runToEnd(context, work, close, false);
  } finally {
    caller?.time.runs();
  }
}

/** Nobody awaits it: it has an id, a record and copies of its own. */
function inherit(context: RequestContext, caller: RequestContext): void {
  follow(context, caller);
  context.user = caller.knownUser();
  if (caller.values !== undefined) context.values = new Map(caller.values);
}

/** A part of the caller: the same id and the same values, and what the caller has others look at. */
function openPart(units: UnitsOfWork, caller: RequestContext): RequestContext {
  const context = units.open('job', caller.requestId, undefined, caller);
  follow(context, caller);
  context.values = caller.values ??= new Map();
  context.cost.callTrace = caller.cost.callTrace;
  context.resources = caller.resources;
  return context;
}

function closePart(context: RequestContext, caller: RequestContext): void {
  const { outermost } = caller;
  context.within = (caller.handler ?? outermost.handler)?.name ?? outermost.kind;
  // They are the caller's, and go on.
  context.cost.callTrace = undefined;
  context.resources = undefined;
  if (context.poolWaits !== undefined) {
    caller.poolWaits = [...(caller.poolWaits ?? []), ...context.poolWaits].slice(0, MAX_WAITS);
  }
}

/** As many as a unit of work remembers. */
const MAX_WAITS = 5;

/** Its own span below the one that is at work, also where OpenTelemetry knows that one only. */
export function follow(context: RequestContext, caller: RequestContext): void {
  context.parentRequestId = caller.requestId;
  context.traceParent = activeSpan() ?? caller.trace;
  context.knownTrace = undefined;
  context.baggage = caller.baggage;
}
