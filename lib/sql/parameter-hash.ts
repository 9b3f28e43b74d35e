/** Longer texts and lists are not compared: they would cost more than they tell. */
const MAX_LENGTH = 1_024;
const MAX_VALUES = 64;
/** A search of Elasticsearch lies this deep. */
const MAX_DEPTH = 12;

/** New in each process, so that a hash says nothing about its value to anybody who sees one. */
const SEED = (Math.random() * 0x7fff_ffff) | 0;
const float = new Float64Array(1);
const words = new Int32Array(float.buffer);

/** How many values more are looked at; below zero, they cannot be compared. A hash is made in one go. */
let left = 0;

/** The hash of a text, of 1 ns a character; `undefined` where it is too long to be compared. */
export function hashText(text: string, seed = SEED): number | undefined {
  return text.length > MAX_LENGTH ? undefined : mixText(seed, text);
}

/** One number for two, that stands for nothing by itself. */
export function mixSeed(a: number, b: number): number {
  return mix(mix(SEED, a), b);
}

/**
 * A number that is the same for the same parameters; `undefined` where they cannot be compared.
 *
 * It calls nothing of the application's: no getter, no `toJSON`.
 */
export function hashParameters(value: unknown, seed = SEED): number | undefined {
  left = MAX_VALUES + 1;
  const hash = mixValue(seed, value, 0);
  return left < 0 ? undefined : hash;
}

function mixValue(seed: number, value: unknown, depth: number): number {
  if ((left -= 1) < 0) return seed;
  switch (typeof value) {
    case 'string':
      return mixText(mix(seed, 1), value);
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
      return mixText(mix(seed, 9), String(value));
    case 'object':
      return value === null ? mix(seed, 7) : mixObject(seed, value, depth);
    default:
      return incomparable(seed);
  }
}

function mixObject(seed: number, value: object, depth: number): number {
  if (depth >= MAX_DEPTH) return incomparable(seed);
  if (Array.isArray(value)) {
    let hash = mix(seed, value.length);
    for (let i = 0; i < value.length && left >= 0; i++) hash = mixValue(hash, value[i], depth + 1);
    return hash;
  }
  if (value instanceof Date) return mixValue(seed, value.getTime(), depth);
  if (value instanceof Uint8Array) {
    if (value.length > MAX_LENGTH) return incomparable(seed);
    let hash = mix(seed, value.length);
    for (const byte of value) hash = Math.imul(hash ^ byte, 16_777_619);
    return hash;
  }
  if (Object.getPrototypeOf(value) !== Object.prototype) return incomparable(seed);
  const names = Object.keys(value);
  let hash = mix(seed, ~names.length);
  for (let i = 0; i < names.length && left >= 0; i++) {
    const name = names[i] as string;
    // One by one: the descriptors of all at once take ten times as long.
    const property = Object.getOwnPropertyDescriptor(value, name);
    if (property === undefined || property.get !== undefined) return incomparable(seed);
    hash = mixValue(mixText(hash, name), property.value, depth + 1);
  }
  return hash;
}

function mixText(seed: number, text: string): number {
  if (text.length > MAX_LENGTH) return incomparable(seed);
  let hash = seed ^ text.length;
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 16_777_619);
  return hash;
}

function incomparable(seed: number): number {
  left = -1;
  return seed;
}

function mix(hash: number, value: number): number {
  const mixed = Math.imul(hash ^ value, 0x85eb_ca6b);
  return mixed ^ (mixed >>> 13);
}
