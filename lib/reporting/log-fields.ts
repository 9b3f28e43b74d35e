import { contextStorage } from '../context/context-storage';
import { type LogValue, ownLogFields } from '../context/own-log-fields';
import { activeSpan } from '../w3c/open-telemetry';

/**
 * The fields that a log line gets from its unit of work: five fields of this package, and those of the application
 * (keys with `log`, `forRoot({ logFields })`).
 */
export interface ContextLogFields {
  readonly requestId: string;
  /** 32 hexadecimal digits. */
  readonly traceId: string;
  /** 16 hexadecimal digits: the active OpenTelemetry span, else the span of the unit of work. */
  readonly spanId: string;
  readonly userId?: string;
  readonly handler?: string;
  readonly [own: string]: LogValue | undefined;
}

/**
 * Returns the context fields for a log line that is written now; `undefined` outside of any unit of work.
 *
 * @example
 * const line = { message: 'paid', ...contextLogFields() };
 */
export function contextLogFields(): ContextLogFields | undefined {
  const context = contextStorage.getStore();
  if (context === undefined) return undefined;
  const userId = context.currentUserId();
  const { traceId, spanId } = activeSpan() ?? context.trace;
  return {
    ...ownLogFields(context),
    requestId: context.requestId,
    traceId,
    spanId,
    ...(userId !== undefined && { userId }),
    ...(context.handler !== undefined && { handler: context.handler.name }),
  };
}
