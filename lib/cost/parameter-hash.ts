/** Longer texts and lists are not compared: they would cost more than they tell. */
const MAX_LENGTH = 1_024;
const MAX_ITEMS = 64;
const MAX_DEPTH = 3;

/** New in each process, so that a hash says nothing about its value to anybody who sees one. */
const SEED = (Math.random() * 0x7fff_ffff) | 0;
const float = new Float64Array(1);
const words = new Int32Array(float.buffer);

/** The hash of a text, of 1 ns a character; `undefined` where it is too long to be compared. */
export function hashText(text: string, seed = SEED): number | undefined {
  if (text.length > MAX_LENGTH) return undefined;
  let hash = seed ^ text.length;
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 16_777_619);
  return hash;
}

/**
 * A number that is the same for the same parameters; `undefined` where they cannot be compared.
 *
 * It calls nothing of the application's: no getter, no `toJSON`.
 */
export function hashParameters(
  value: unknown,
  seed: number | undefined = SEED,
  depth = 0,
): number | undefined {
  if (seed === undefined) return undefined;
  switch (typeof value) {
    case 'string':
      return hashText(value, mix(seed, 1));
    case 'number':
      // Most are ids: without the detour through memory that a fraction takes.
      if ((value | 0) === value) return mix(seed, value);
      float[0] = value;
      return mix(mix(seed, words[0] as number), words[1] as number);
    case 'boolean':
      return mix(seed, value ? 3 : 5);
    case 'undefined':
      return mix(seed, 7);
    case 'bigint':
      return hashText(String(value), mix(seed, 9));
    case 'object':
      return value === null ? mix(seed, 7) : hashObject(value, seed, depth);
    default:
      return undefined;
  }
}

function hashObject(value: object, seed: number, depth: number): number | undefined {
  if (Array.isArray(value)) {
    if (value.length > MAX_ITEMS || depth >= MAX_DEPTH) return undefined;
    let hash: number | undefined = mix(seed, value.length);
    for (const item of value) hash = hashParameters(item, hash, depth + 1);
    return hash;
  }
  if (value instanceof Date) return hashParameters(value.getTime(), seed);
  if (value instanceof Uint8Array) {
    if (value.length > MAX_LENGTH) return undefined;
    let hash = mix(seed, value.length);
    for (const byte of value) hash = Math.imul(hash ^ byte, 16_777_619);
    return hash;
  }
  if (Object.getPrototypeOf(value) !== Object.prototype || depth >= MAX_DEPTH) return undefined;
  const names = Object.keys(value);
  if (names.length > MAX_ITEMS) return undefined;
  let hash: number | undefined = seed;
  for (const name of names) {
    // One by one: the descriptors of all at once take ten times as long.
    const property = Object.getOwnPropertyDescriptor(value, name);
    if (property === undefined || property.get !== undefined) return undefined;
    hash = hashParameters(property.value, hashText(name, hash), depth + 1);
  }
  return hash;
}

function mix(hash: number, value: number): number {
  const mixed = Math.imul(hash ^ value, 0x85eb_ca6b);
  return mixed ^ (mixed >>> 13);
}
