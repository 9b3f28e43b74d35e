const SURROGATES = /[\uD800-\uDFFF]/;
const LONE_SURROGATES = /\p{Cs}/gu;

/**
 * A new string of the first `length` code units. It is flat: no slice or rope that keeps another string alive.
 *
 * Lone surrogates become U+FFFD, because UTF-8 has no way to write them.
 */
export function flatString(units: Uint16Array, length: number): string {
  const text = String.fromCharCode.apply(undefined, units.subarray(0, length) as unknown as number[]);
  return SURROGATES.test(text) ? text.replace(LONE_SURROGATES, '\uFFFD') : text;
}
