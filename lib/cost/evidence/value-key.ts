/** What a value is compared by: whole numbers as numbers, whatever else as text. */
export type Key = string | number;

/** Longer texts are no keys. */
const MAX_LENGTH = 128;
/** Whole numbers of so many digits are exact. */
const MAX_DIGITS = 15;
const MAX_EXACT = 1e15;
/** Bytes of a UUID. Shorter ones may be keys as well. */
const UUID_BYTES = 16;
const UUID_LENGTH = 36;
const UUID = /^[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}$/;
/** A date, as text or as a `Date` that was made a key. */
const DATE = /^(?:@-?\d+|\d{4}-\d\d(?:-\d\d.*)?)$/;
/** Of MongoDB. */
const OBJECT_ID = /^[0-9a-f]{24}$/;
const WORDS = /^[\p{L}][\p{L} _-]*$/u;
const CODE = /[\d@./:]/;
/** From so many characters on a text with digits is more than a word. */
const MIN_CODE = 8;
const BITS_OF_CHARACTER = 3;
const BITS_OF_UUID = 60;
const MS_OF_DAY = 86_400_000;
/** February and the months around it, in days. */
const MONTHS_DIFFER = 3;

/**
 * The key of a value; `undefined` for what proves nothing: a boolean, NULL, nothing, a long text.
 *
 * `42`, `42n` and `'42'` are one key, as are a UUID as text and as 16 bytes.
 */
export function keyOf(value: unknown): Key | undefined {
  switch (typeof value) {
    case 'number':
      return Math.abs(value) < MAX_EXACT ? value : Number.isInteger(value) ? String(value) : undefined;
    case 'string':
      return keyOfText(value);
    case 'bigint':
      return keyOfText(String(value));
    case 'object':
      if (value instanceof Date) return `@${value.getTime()}`;
      return value instanceof Uint8Array ? keyOfBytes(value) : undefined;
    default:
      return undefined;
  }
}

function keyOfText(text: string): Key | undefined {
  const { length } = text;
  if (length === 0 || length > MAX_LENGTH) return undefined;
  if (length <= MAX_DIGITS && isWhole(text)) return Number(text);
  return length === UUID_LENGTH ? text.toLowerCase() : text;
}

/** `42` and `-42`; not `042`, which is a text of its own. */
function isWhole(text: string): boolean {
  const first = text.charCodeAt(0) === 45 ? 1 : 0;
  if (first === text.length || (text.charCodeAt(first) === 48 && text.length > 1)) return false;
  for (let i = first; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code < 48 || code > 57) return false;
  }
  return true;
}

function keyOfBytes(bytes: Uint8Array): Key | undefined {
  if (bytes.length === 0 || bytes.length > UUID_BYTES) return undefined;
  let hex = '';
  for (const byte of bytes) hex += (byte < 16 ? '0' : '') + byte.toString(16);
  if (bytes.length !== UUID_BYTES) return hex;
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join('-');
}

/** Whether a key says what it stands for, so that one which no result has came from elsewhere. */
export function isReadable(key: Key): boolean {
  if (typeof key === 'number') return true;
  return UUID.test(key) || OBJECT_ID.test(key) || DATE.test(key) || WORDS.test(key);
}

export function isDate(key: Key): boolean {
  return typeof key === 'string' && DATE.test(key);
}

/**
 * How surprising it is that a row has just this key, in bits, when the two keys before it are known.
 *
 * Numbers by the change of their gap: a counter surprises nobody, and neither does each tenth of one.
 */
export function bitsOf(key: Key, before: Key | undefined, gapBefore: number | undefined): number {
  if (typeof key === 'number') {
    if (typeof before !== 'number' || gapBefore === undefined || !Number.isInteger(key)) return 0;
    return Math.log2(1 + Math.abs(key - before - gapBefore));
  }
  if (UUID.test(key)) return BITS_OF_UUID;
  if (DATE.test(key)) return bitsOfDay(key, before, gapBefore);
  if (key.length < MIN_CODE || !CODE.test(key)) return 0;
  return Math.min(BITS_OF_UUID, BITS_OF_CHARACTER * key.length);
}

/** The same for days, of which months and quarters are as good as a counter. */
function bitsOfDay(key: string, before: Key | undefined, gapBefore: number | undefined): number {
  const gap = gapOf(key, before);
  if (gap === undefined || gapBefore === undefined) return 0;
  const change = Math.abs(gap - gapBefore);
  return change <= MONTHS_DIFFER ? 0 : Math.log2(change);
}

/** How far a key is from the one before it: in days, for dates. */
export function gapOf(key: Key, before: Key | undefined): number | undefined {
  if (typeof key === 'number') return typeof before === 'number' ? key - before : undefined;
  if (typeof before !== 'string' || !DATE.test(key) || !DATE.test(before)) return undefined;
  return dayOf(key) - dayOf(before);
}

function dayOf(date: string): number {
  const ms = date.startsWith('@') ? Number(date.slice(1)) : Date.parse(date);
  return Math.round(ms / MS_OF_DAY);
}

/** New in each process, so that a hash says nothing about its value to anybody who sees one. */
const SEED = (Math.random() * 0x7fff_ffff) | 0;

/** A number to compare keys by where they may not be kept themselves. */
export function hashKey(key: Key, seed = SEED): number {
  const text = typeof key === 'number' ? String(key) : key;
  let hash = seed ^ text.length;
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 16_777_619);
  const mixed = Math.imul(hash ^ (hash >>> 15), 0x85eb_ca6b);
  return mixed ^ (mixed >>> 13);
}
