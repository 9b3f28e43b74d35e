import { inspect } from 'node:util';

/** A label of at most nine characters, and what is to be said. */
export type LogLine = readonly [label: string, text: string];

/**
 * A finding as it is logged: a block to read in a text log, flat fields in a JSON log.
 *
 * Nest's `ConsoleLogger` prints objects with `util.inspect`, or as JSON; pino takes the own
 * fields. So the block is what `inspect()` gives, and the facts are the own fields.
 */
export class LogBlock {
  [field: string]: unknown;

  constructor(headline: string, lines: readonly LogLine[], fields: Readonly<Record<string, unknown>>) {
    const block = lines.map(([label, text]) => `  ${label.padEnd(9)} ${oneLine(text)}`);
    const text = [oneLine(headline), ...block].join('\n');
    Object.defineProperty(this, inspect.custom, { value: () => text });
    Object.defineProperty(this, 'toString', { value: () => text });
    this['message'] = headline;
    for (const [name, value] of Object.entries(fields)) if (value !== undefined) this[name] = value;
  }
}

export function formatNumber(value: number): string {
  return value.toLocaleString('en-US', { maximumFractionDigits: 1 });
}

const CONTROL = /\p{Cc}|[\u2028\u2029]/gu;

/** A user id, a table or a route must not be able to forge a second log line. */
function oneLine(text: string): string {
  return text.replace(CONTROL, c => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`);
}
