import { CONTEXT } from '../../context/carrier';
import type { PacketServer } from './arrived-metadata';

/** The headers as they came, by those that Nest has made of them. */
const rawHeaders = new WeakMap<object, object>();

/**
 * Nest's parser makes an object of a header that looks like JSON; what a signature is made of is its text.
 */
export function noteHeaders({ parser }: PacketServer): void {
  const parse = parser?.parse;
  if (!parser || typeof parse !== 'function') return;
  parser.parse = message => {
    const parsed = parse.call(parser, message);
    const { headers } = message as { headers?: object };
    if (headers && parsed.headers && CONTEXT in headers) rawHeaders.set(parsed.headers, headers);
    return parsed;
  };
}

/** A header that Nest's parser has made something else of. */
export function rawHeader(headers: object | undefined, name: string): unknown {
  if (name !== CONTEXT || headers === undefined) return undefined;
  return (rawHeaders.get(headers) as Record<string, unknown> | undefined)?.[name];
}
