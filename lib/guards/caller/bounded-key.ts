import { createHash, hash } from 'node:crypto';

/** What a caller is told by: a user, an address, a key of the context, a function, or what is left. */
export type CallerKind = 'u' | 'ip' | 'k' | 'f' | 'x';

const MAX_LENGTH = 64;
const PRINTABLE = /^[ -~]*$/;

/**
 * A caller as a part of a key: `u:alice`, and `u#` with a hash for what is long or more than printable ASCII. No
 * two callers have the same: what is hashed has another mark than what is not.
 */
export function callerKey(kind: CallerKind, caller: string): string {
  return caller.length <= MAX_LENGTH && PRINTABLE.test(caller)
    ? `${kind}:${caller}`
    : `${kind}#${hashOf(caller)}`;
}

/** A name as a part of a key, without `|`. */
export function nameKey(name: string): string {
  return name.length <= MAX_LENGTH && /^[\w.$-]+$/.test(name) ? name : `#${hashOf(name)}`;
}

/** What a client may be told of a key: 12 bytes in Base64. */
export function publicKey(key: string): string {
  return hash('sha256', key, 'base64').slice(0, 16);
}

// Over its code units: in UTF-8 all halves of pairs are the same.
function hashOf(text: string): string {
  return createHash('sha256').update(Buffer.from(text, 'utf16le')).digest('base64url');
}
