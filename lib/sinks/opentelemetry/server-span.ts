import { type Attributes, context, type Span, trace } from '@opentelemetry/api';
import type { CostRecord } from '../../cost/cost-record';
import type { ObservedUnit } from '../observing-sink';
import { routeOf } from '../record-labels';
import * as names from './attribute-names';

/** What instrumentation-http keeps for those of frameworks; `createContextKey()` is `Symbol.for()`. */
const RPC_METADATA = Symbol.for('OpenTelemetry SDK Context Key RPC_METADATA');

interface RpcMetadata {
  readonly span?: Span;
  route?: string;
}

/** The span of a unit of work, and where the route of a server span is kept. */
export interface FoundSpan {
  readonly span: Span;
  readonly server: RpcMetadata | undefined;
}

/**
 * The span that stands for what begins just now.
 *
 * For an HTTP request it is the one of instrumentation-http, also where an instrumentation of the
 * framework has a span of its own active, of the middleware that we are to it.
 */
export function spanOf(unit: ObservedUnit): FoundSpan | undefined {
  const server =
    unit.kind === 'http' ? (context.active().getValue(RPC_METADATA) as RpcMetadata | undefined) : undefined;
  const span = server?.span ?? trace.getActiveSpan();
  return span?.isRecording() === true ? { span, server } : undefined;
}

/** Says on the span what the unit of work has cost, which is over. */
export function describeCost(
  { span, server }: FoundSpan,
  unit: ObservedUnit,
  record: () => CostRecord,
): void {
  const route = unit.kind === 'http' ? routeOf(unit) : undefined;
  // instrumentation-http makes it `http.route` of the span and of `http.server.request.duration`.
  if (server !== undefined && route !== undefined) server.route ??= route;
  if (!span.isRecording()) return;
  span.setAttributes(attributesOf(unit, record));
  for (const { dimension, used, limit, from } of unit.breaches) {
    span.addEvent(names.BREACH_EVENT, {
      [names.DIMENSION]: dimension,
      [names.USED]: used,
      [names.LIMIT]: limit,
      [names.FROM]: from,
    });
  }
}

function attributesOf(unit: ObservedUnit, record: () => CostRecord): Attributes {
  const { cost, handler } = unit;
  const attributes: Attributes = {
    [names.KIND]: unit.kind,
    [names.REQUEST_ID]: unit.requestId,
    'nestjs.cost.queries': cost.queries,
    'nestjs.cost.rows': cost.rows,
    'nestjs.cost.database_ms': cost.durationMs,
  };
  if (handler !== undefined) attributes[names.FUNCTION_NAME] = handler.name;
  if (cost.waitMs > 0) attributes['nestjs.cost.pool_wait_ms'] = cost.waitMs;
  if (cost.loopBlockMs > 0) attributes['nestjs.cost.blocked_ms'] = cost.loopBlockMs;
  if (cost.cache > 0) attributes['nestjs.cost.cache'] = cost.cache;
  if (cost.http > 0) attributes['nestjs.cost.http'] = cost.http;
  if (cost.messages > 0) attributes['nestjs.cost.messages'] = cost.messages;
  if (cost.repeats > 0) attributes['nestjs.cost.repeats'] = cost.repeats;
  if (unit.breaches.length > 0) {
    attributes['nestjs.budget.breaches'] = unit.breaches.map(({ dimension }) => dimension);
  }
  const slow = unit.isSlow ? record().slow : undefined;
  if (slow !== undefined) attributes[names.CAUSE] = slow.because;
  return attributes;
}
