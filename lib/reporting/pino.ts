import { fieldsOfLine, type LogFieldNames, readFieldNames, useFieldNames } from './log-field-names';
import type { LogValue } from '../context/own-log-fields';
import { contextLogFields } from './log-fields';

export type { LogFieldNames } from './log-field-names';

/** pino calls this for each line, before it writes it. */
export type ContextMixin = (line: object, level: number, logger?: object) => Record<string, LogValue>;

const MAX_NAMES = 100;

/** What is used of a logger of pino. */
interface BoundLogger {
  bindings?(): object;
  readonly [internal: symbol]: unknown;
}

/**
 * Creates a mixin for pino, and so for `pino-http` and `nestjs-pino`: it adds the request id, trace id, span id, user
 * id and handler to each line that a unit of work writes. Fields that the application sets on the line, or has bound
 * to its child logger, are kept.
 *
 * @param names names of the fields
 * @throws AsyncContextError `ASYNC_CONTEXT_INVALID_OPTION` for an invalid name
 * @example
 * import { contextMixin } from 'nestjs-async-context/pino';
 * import pino from 'pino';
 *
 * export const logger = pino({ mixin: contextMixin({ traceId: 'trace_id', spanId: 'span_id' }) });
 */
export function contextMixin(names?: LogFieldNames): ContextMixin {
  const named = readFieldNames(names, 'contextMixin');
  useFieldNames('pino', named);
  const bindings = new BoundNames();
  return (_line, _level, logger) => {
    // An object of its own for each line: pino assigns what the application has set to it.
    const added: Record<string, LogValue> = {};
    const fields = contextLogFields();
    if (fields === undefined) return added;
    const isBound = bindings.of(logger as BoundLogger | undefined);
    for (const [name, value] of fieldsOfLine(fields, named)) if (!isBound(name)) added[name] = value;
    return added;
  };
}

/**
 * Which of our names the application has bound to a child logger.
 *
 * Pino writes those in front of the line, as JSON made once: a field of the same name would be there twice,
 * and the later one, ours, would win. Looking for five names in the JSON of a request (`pino-http`) takes
 * 2 µs and `bindings()` 5 µs, so it is done once for each name, text and logger.
 */
class BoundNames {
  readonly #known = new WeakMap<
    BoundLogger,
    { readonly text: string | undefined; readonly bound: Map<string, boolean> }
  >();
  #symbolOfText: symbol | undefined;

  // Pino names the logger from version 8 on.
  of(logger: BoundLogger | undefined): (name: string) => boolean {
    if (logger === undefined) return () => false;
    const text = this.#textOf(logger);
    let known = this.#known.get(logger);
    if (known === undefined || known.text !== text)
      this.#known.set(logger, (known = { text, bound: new Map() }));
    const { bound } = known;
    return name => {
      let is = bound.get(name);
      if (is === undefined) {
        is = text?.includes(`${JSON.stringify(name)}:`) !== false && isBound(logger, name);
        // Names of `logFields` may be made of data.
        if (bound.size >= MAX_NAMES) bound.clear();
        bound.set(name, is);
      }
      return is;
    };
  }

  #textOf(logger: BoundLogger): string | undefined {
    const text = this.#symbolOfText === undefined ? undefined : logger[this.#symbolOfText];
    if (typeof text === 'string') return text;
    this.#symbolOfText = findSymbol(logger);
    return this.#symbolOfText === undefined ? undefined : (logger[this.#symbolOfText] as string);
  }
}

function findSymbol(logger: BoundLogger): symbol | undefined {
  for (let part: object | null = logger; part !== null; part = Object.getPrototypeOf(part) as object | null) {
    const found = Object.getOwnPropertySymbols(part).find(
      ({ description }) => description === 'pino.chindings',
    );
    if (found !== undefined && typeof logger[found] === 'string') return found;
  }
  return undefined;
}

function isBound(logger: BoundLogger, name: string): boolean {
  try {
    return Object.hasOwn(logger.bindings?.() ?? {}, name);
  } catch {
    // A serializer of the application has written what is no JSON.
    return false;
  }
}
