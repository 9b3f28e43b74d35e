import { fieldsOfLine, type LogFieldNames, readFieldNames, useFieldNames } from './log-field-names';
import { type ContextLogFields, contextLogFields } from './log-fields';
import { sharedName } from '../kernel/protocol';

export type { LogFieldNames } from './log-field-names';

/** A winston format, for `format.combine()`. */
export interface ContextFormat {
  transform<Info extends object>(info: Info): Info;
}

/** On a line from where it was written to where it is formatted; each copy of the package knows it. */
const WRITTEN_IN = Symbol.for(sharedName('written-in'));

/** A line on its way through winston. */
interface Line {
  [WRITTEN_IN]?: ContextLogFields | undefined;
  [name: string]: unknown;
}

/**
 * Creates a format for winston, and so for `nest-winston`: it adds the request id, trace id, span id, user id and
 * handler to each line that a unit of work writes. Put it before the format that renders the text. Fields that the
 * application has set are kept. Use it together with `defaultMeta: contextMeta()`.
 *
 * @param names names of the fields
 * @throws AsyncContextError `ASYNC_CONTEXT_INVALID_OPTION` for an invalid name
 * @example
 * import { contextFormat, contextMeta } from 'nestjs-async-context/winston';
 * import { createLogger, format, transports } from 'winston';
 *
 * export const logger = createLogger({
 *   defaultMeta: contextMeta({ service: 'shop' }),
 *   format: format.combine(contextFormat({ traceId: 'trace_id' }), format.json()),
 *   transports: [new transports.Console()],
 * });
 */
export function contextFormat(names?: LogFieldNames): ContextFormat {
  const named = readFieldNames(names, 'contextFormat');
  useFieldNames('winston', named);
  return {
    transform(info) {
      const fields = WRITTEN_IN in info ? (info as Line)[WRITTEN_IN] : contextLogFields();
      if (fields === undefined) return info;
      // It may be an object of the application, which logs it again in another unit of work.
      const line = copyOf(info);
      for (const [name, value] of fieldsOfLine(fields, named)) line[name] ??= value;
      return line as typeof info;
    },
  };
}

/**
 * Creates the `defaultMeta` of a winston logger, so that a line remembers the unit of work that wrote it.
 *
 * Winston is a stream: behind a slow transport (a file on a busy disk, a socket), it formats a line only when the
 * previous one has been written, possibly in another request.
 *
 * @param meta other fields for each line; pass them here, because a copy of the result (`{ ...contextMeta() }`)
 * remembers nothing
 * @example
 * import { contextMeta } from 'nestjs-async-context/winston';
 *
 * export const options = { defaultMeta: contextMeta({ service: 'shop' }) };
 */
export function contextMeta(meta: Readonly<Record<string, unknown>> = {}): Record<string, unknown> {
  return Object.defineProperty({ ...meta }, WRITTEN_IN, { enumerable: true, get: contextLogFields });
}

function copyOf(info: object): Line {
  if (!(info instanceof Error)) return Object.assign({}, info) as Line;
  // Formats behind this one, such as `format.errors()`, look for an error.
  const copy = Object.assign(Object.create(Object.getPrototypeOf(info) as object) as object, info);
  for (const name of ['message', 'stack', 'cause'] as const) {
    if (!Object.hasOwn(info, name) || Object.hasOwn(copy, name)) continue;
    Object.defineProperty(copy, name, { value: info[name], writable: true, configurable: true });
  }
  return copy as unknown as Line;
}
