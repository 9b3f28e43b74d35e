import type { SqlDialect } from './statement';

/** How strings treat a backslash. `doubt`: nobody knows, so a backslash before a quote ends the scan. */
export type Backslash = 'plain' | 'escape' | 'doubt';

/** How a session reads backslashes: in strings, and between double quotes where those make strings too. */
export interface Reading {
  readonly strings: Backslash;
  readonly doubleQuotes: Backslash;
}

/** Where readings differ, what follows is dropped. */
export const IN_DOUBT: Reading = { strings: 'doubt', doubleQuotes: 'doubt' };
const PLAIN: Reading = { strings: 'plain', doubleQuotes: 'plain' };

/**
 * The readings that sessions of a dialect may have, the default first. A setting of the server, of its user or
 * of the connection string decides, which nobody sees here: `standard_conforming_strings` of PostgreSQL,
 * `NO_BACKSLASH_ESCAPES` and `ANSI_QUOTES` of MySQL.
 */
export const READINGS: Readonly<Record<SqlDialect, readonly [Reading, ...Reading[]]>> = {
  postgresql: [PLAIN, { strings: 'escape', doubleQuotes: 'plain' }],
  mysql: [{ strings: 'escape', doubleQuotes: 'escape' }, PLAIN, { strings: 'escape', doubleQuotes: 'plain' }],
  sqlite: [PLAIN],
  mssql: [PLAIN],
  generic: [IN_DOUBT],
};

/** No end was found, or where it is depends on something that we cannot see. What follows must be dropped. */
export const NO_END = -1;

// '$' is part of a word and not of a number: in PostgreSQL `1$$x$$` is a number and a string.
const WORD_PARTS = new Uint8Array(128);
for (const character of 'abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_') {
  WORD_PARTS[character.charCodeAt(0)] = 1;
}
WORD_PARTS[36] = 2;

export function isWordPart(code: number): boolean {
  return code > 127 || (WORD_PARTS[code] ?? 0) !== 0;
}

export function isDigit(code: number): boolean {
  return code >= 48 && code <= 57;
}

export function endOfWord(text: string, start: number): number {
  let at = start;
  while (at < text.length && isWordPart(text.charCodeAt(at))) at += 1;
  return at;
}

/** Takes `0x1F`, `1_000`, `.5` and `1e-5` in one piece, and whatever else sticks to a digit. */
export function endOfNumber(text: string, start: number): number {
  let at = start + 1;
  for (; at < text.length; at += 1) {
    const code = text.charCodeAt(at);
    if (code > 127 || WORD_PARTS[code] === 1 || code === 46) continue;
    const exponentSign = (code === 43 || code === 45) && (text.charCodeAt(at - 1) | 32) === 101;
    if (!exponentSign || !isDigit(text.charCodeAt(at + 1))) break;
  }
  return at;
}

/** `start` is the opening quote; the result is the index after the closing one, or `NO_END`. */
export function endOfString(text: string, start: number, backslash: Backslash): number {
  const quote = text.charCodeAt(start);
  const mark = quote === 39 ? "'" : '"';
  let at = start + 1;
  for (let steps = 0; at < text.length; at += 1) {
    const code = text.charCodeAt(at);
    if (code === quote) {
      if (text.charCodeAt(at + 1) !== quote) return at + 1;
      at += 1;
    } else if (code === 92 && backslash !== 'plain') {
      const next = text.charCodeAt(at + 1);
      if (backslash === 'doubt' && next === quote) return NO_END;
      at += 1;
    } else if ((steps += 1) % 64 === 0 && backslash === 'plain') {
      // A long literal: indexOf takes 0.05 ms for 1 MB where this loop takes 1 ms. Not for each quote: the call
      // costs as much as 20 steps, and a megabyte of doubled quotes would make half a million calls.
      const next = text.indexOf(mark, at);
      if (next === -1) return NO_END;
      at = next - 1;
    }
  }
  return NO_END;
}

/** `start` is the opening quote or bracket; the closing one is doubled to stand for itself. */
export function endOfQuotedName(text: string, start: number): number {
  const open = text.charCodeAt(start);
  const quote = open === 91 ? 93 : open;
  for (let at = start + 1; at < text.length; at += 1) {
    if (text.charCodeAt(at) !== quote) continue;
    if (text.charCodeAt(at + 1) !== quote) return at + 1;
    at += 1;
  }
  return NO_END;
}

/** `$tag$ … $tag$`. `undefined`: no dollar quote begins here. */
export function endOfDollarQuote(text: string, start: number): number | undefined {
  let at = start + 1;
  while (at < text.length && text.charCodeAt(at) !== 36 && isWordPart(text.charCodeAt(at))) at += 1;
  if (text.charCodeAt(at) !== 36) return undefined;
  const tag = text.slice(start, at + 1);
  const close = text.indexOf(tag, at + 1);
  return close === -1 ? NO_END : close + tag.length;
}

/**
 * A comment to the end of its line. PostgreSQL ends it at a lone carriage return, others do not: whether what
 * follows is a comment is then unknown.
 */
export function endOfLineComment(text: string, start: number): number {
  for (let at = start; at < text.length; at += 1) {
    const code = text.charCodeAt(at);
    if (code === 10) return at + 1;
    if (code === 13 && text.charCodeAt(at + 1) !== 10) return NO_END;
  }
  return text.length;
}

/** MySQL executes what stands in a comment that begins with an exclamation mark, so it has no end that we can see. */
export function endOfBlockComment(text: string, start: number, dialect: SqlDialect): number {
  const nests = dialect === 'postgresql' || dialect === 'mssql';
  if (dialect === 'mysql' || dialect === 'generic') {
    const first = text.charCodeAt(start + 2);
    if (first === 33 || (first === 77 && text.charCodeAt(start + 3) === 33)) return NO_END;
  }
  let depth = 1;
  for (let at = start + 2; at < text.length; at += 1) {
    const code = text.charCodeAt(at);
    if (code === 42 && text.charCodeAt(at + 1) === 47) {
      at += 1;
      depth -= 1;
      if (depth === 0) return at + 1;
    } else if (code === 47 && text.charCodeAt(at + 1) === 42) {
      if (dialect === 'generic') return NO_END;
      if (nests) {
        at += 1;
        depth += 1;
      }
    }
  }
  return NO_END;
}

export function endOfSpace(text: string, start: number): number {
  let at = start + 1;
  while (text.charCodeAt(at) <= 32) at += 1;
  return at;
}

// The longest name of any database: 128 in SQL Server, 63 in PostgreSQL.
const MAX_NAME_LENGTH = 128;

/** A quote too many turns literals into names. No name of a database is that long or holds a quote. */
export function isPlainName(text: string, start: number, end: number): boolean {
  if (end - start > MAX_NAME_LENGTH) return false;
  for (let at = start; at < end; at += 1) {
    const code = text.charCodeAt(at);
    if (code < 32 || code === 39 || code === 127) return false;
  }
  return true;
}

/** Whether a bracket reads the same as the name of SQL Server and as the subscript of PostgreSQL. */
export function isPlainBracket(text: string, start: number): boolean {
  for (let at = start; at < start + MAX_NAME_LENGTH; at += 1) {
    const code = text.charCodeAt(at);
    if (code === 93) return true;
    const isPlain =
      (isWordPart(code) && code !== 36) || code === 32 || code === 44 || code === 46 || code === 58;
    if (!isPlain) return false;
  }
  return false;
}
