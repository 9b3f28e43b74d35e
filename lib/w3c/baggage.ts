import { trimBlanks } from '../kernel/trim-blanks';

// https://www.w3.org/TR/baggage/#limits
const MAX_MEMBERS = 64;
const MAX_BYTES = 8_192;
// https://www.w3.org/TR/baggage/#definition
const TOKEN = "[!#$%&'*+.^_`|~0-9A-Za-z-]+";
const VALUE = '[!#-+\\--:<-[\\]-~]+';
const BLANKS = '[ \\t]*';
// Each blank can be taken by one part alone: else a text of 165 characters takes hours to be refused.
const MEMBER = new RegExp(
  `^(${TOKEN})${BLANKS}=${BLANKS}(?:(${VALUE})${BLANKS})?` +
    `(?:;${BLANKS}${TOKEN}${BLANKS}(?:=${BLANKS}(?:${VALUE}${BLANKS})?)?)*$`,
);

/**
 * A `baggage` as it is to be passed on: members that are none are left out, and whole members beyond the 64th
 * and beyond 8,192 bytes; `undefined` where none is left.
 */
export function boundBaggage(text: string): string | undefined {
  const kept: string[] = [];
  let bytes = -1;
  for (const part of text.split(',')) {
    const member = trimBlanks(part);
    if (!MEMBER.test(member) || bytes + 1 + member.length > MAX_BYTES) continue;
    bytes += 1 + member.length;
    if (kept.push(member) === MAX_MEMBERS) break;
  }
  return kept.length === 0 ? undefined : kept.join(',');
}

/** Keys and decoded values of what `boundBaggage` gave; of two with one key, the last. */
export function readBaggage(baggage: string | undefined): Map<string, string> {
  const members = new Map<string, string>();
  for (const member of baggage?.split(',') ?? []) {
    const [, key, value = ''] = MEMBER.exec(member) ?? [];
    if (key !== undefined) members.set(key, decode(value));
  }
  return members;
}

/** Percent-encoded UTF-8; what is none becomes U+FFFD, as the W3C says. */
function decode(value: string): string {
  return value.replace(/(?:%[0-9a-f]{2})+/gi, run =>
    Buffer.from(run.replaceAll('%', ''), 'hex').toString('utf8'),
  );
}
