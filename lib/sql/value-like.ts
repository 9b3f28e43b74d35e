// Names that an application makes of its data: `prices.user@example.com`, `mail:550e8400-…`, `SUM(…) AS "42"`.

const DIGITS = /^\d+$/;
const UUID = /[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}/i;
/** Hexadecimal or decimal, as long as half of an ObjectId and longer than any date with its time. */
const LONG_NUMBER = /(?<![a-z])[0-9a-f]{15,}(?![a-z])/i;
/** Base64 and base62: capitals, small letters and digits, mixed over a length that no word has. */
const TOKEN = /[0-9A-Za-z+/=]{20,}/g;
/** Its name and its host have dots of their own. */
const ADDRESS = /[^/:,\s]*@[^/:,\s]*/g;
const SEGMENT = /[^./:,\s]+/g;

/**
 * Whether a name looks like a value: digits alone, an e-mail address, a UUID, a long number or a token. A value
 * that is a word like any other cannot be told from a name.
 */
export function isValueLike(name: string): boolean {
  if (name.includes('@')) return true;
  if (!/\d/.test(name)) return false;
  return DIGITS.test(name) || UUID.test(name) || hasLongNumber(name) || hasToken(name);
}

function hasLongNumber(name: string): boolean {
  const found = LONG_NUMBER.exec(name);
  return found !== null && /\d/.test(found[0]);
}

function hasToken(name: string): boolean {
  const runs = name.match(TOKEN) ?? [];
  return runs.some(run => /[A-Z]/.test(run) && /[a-z]/.test(run) && (run.match(/\d/g) ?? []).length > 1);
}

/** `prices.user@example.com` as `?`, `items.0.price` as `items.?.price`; `mark` stands for what looks like a value. */
export function withoutValues(name: string, mark = '?'): string {
  if (!/[\d@]/.test(name)) return name;
  return name
    .replaceAll(ADDRESS, mark)
    .replaceAll(SEGMENT, segment => (isValueLike(segment) ? mark : segment));
}
