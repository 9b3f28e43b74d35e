const MAX_DEPTH = 12;
/** As many as are compared; what has more is not. */
const MAX_LEAVES = 64;
/** Cannot be compared: see `hashParameters`. */
const INCOMPARABLE = (): void => undefined;

/**
 * The names and values of a nested request as one list, to be compared with others: a search or a key of
 * DynamoDB lies deeper than parameters are looked into. It calls nothing of the application's.
 */
export function flatParameters(value: unknown): unknown {
  const leaves: unknown[] = [];
  return flatten(value, leaves, 0) ? leaves : INCOMPARABLE;
}

function flatten(value: unknown, leaves: unknown[], depth: number): boolean {
  if (typeof value !== 'object' || value === null || value instanceof Uint8Array || value instanceof Date) {
    return leaves.push(value) <= MAX_LEAVES;
  }
  if (depth === MAX_DEPTH) return false;
  if (Array.isArray(value)) {
    return leaves.push(value.length) <= MAX_LEAVES && value.every(item => flatten(item, leaves, depth + 1));
  }
  if (Object.getPrototypeOf(value) !== Object.prototype) return false;
  for (const name of Object.keys(value)) {
    const property = Object.getOwnPropertyDescriptor(value, name);
    if (property?.get !== undefined || leaves.push(name) > MAX_LEAVES) return false;
    if (!flatten(property?.value, leaves, depth + 1)) return false;
  }
  return leaves.push(0) <= MAX_LEAVES;
}
