import { type Attributes, ROOT_CONTEXT, type SpanContext, trace } from '@opentelemetry/api';
import { type Logger, SeverityNumber } from '@opentelemetry/api-logs';
import { oneLine } from '../../kernel/one-line';
import type { ObservedUnit } from '../observing-sink';
import * as names from './attribute-names';

/** Emits a log record for each breach, in the trace of the unit of work. */
export function logBreaches(
  logger: Logger,
  unit: ObservedUnit,
  span: SpanContext,
  owner: string | undefined,
): void {
  const { handler, route, kind, requestId } = unit;
  // A name can be the application's own text, and who reads a log record may do so in a terminal.
  const name = handler === undefined ? undefined : oneLine(handler.name);
  const work = name ?? oneLine(route ?? kind);
  const context = trace.setSpanContext(ROOT_CONTEXT, span);
  for (const { dimension, used, limit, from } of unit.breaches) {
    const attributes: Attributes = {
      [names.KIND]: kind,
      [names.REQUEST_ID]: requestId,
      [names.DIMENSION]: dimension,
      [names.USED]: used,
      [names.LIMIT]: limit,
      [names.FROM]: from,
    };
    if (owner !== undefined) attributes[names.OWNER] = oneLine(owner);
    if (name !== undefined) attributes[names.FUNCTION_NAME] = name;
    logger.emit({
      eventName: names.BREACH_EVENT,
      severityNumber: SeverityNumber.ERROR,
      severityText: 'ERROR',
      body: `${work} exceeded its ${dimension} budget: ${used} of ${limit}`,
      attributes,
      context,
    });
  }
}
