const SURROGATES = /[\uD800-\uDFFF]/;
const LONE_SURROGATES = /\p{Cs}/gu;

/**
 * A new string of the code units up to `end`. It is flat: no slice or rope that keeps another string alive.
 *
 * Lone surrogates become U+FFFD, because UTF-8 has no way to write them.
 */
export function flatString(units: Uint16Array, end: number, start = 0): string {
  const text = String.fromCharCode.apply(undefined, units.subarray(start, end) as unknown as number[]);
  return SURROGATES.test(text) ? text.replace(LONE_SURROGATES, '\uFFFD') : text;
}
