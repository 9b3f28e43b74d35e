/** Names further apart than a third of their letters have nothing to do with each other. */
const MOST_APART = 1 / 3;
/** From so many letters on, the beginning of a name says what is meant: `trusted`, `slow`. */
const LEAST_PREFIX = 4;

/**
 * The known name that somebody is likely to have meant, if one is near.
 *
 * @example
 * nearestName('querys', ['queries', 'rows']); // 'queries'
 */
export function nearestName(name: string, known: readonly string[]): string | undefined {
  const distances = known.map(one => [distanceOf(name.toLowerCase(), one.toLowerCase()), one] as const);
  const [nearest] = distances.toSorted(([a], [b]) => a - b);
  if (nearest === undefined) return undefined;
  const [distance, one] = nearest;
  if (distance <= Math.max(1, Math.floor(MOST_APART * one.length))) return one;
  return known.find(other => beginsAlike(name.toLowerCase(), other.toLowerCase()));
}

function beginsAlike(a: string, b: string): boolean {
  return Math.min(a.length, b.length) >= LEAST_PREFIX && (a.startsWith(b) || b.startsWith(a));
}

/** Letters to insert, delete or replace: https://en.wikipedia.org/wiki/Levenshtein_distance */
function distanceOf(a: string, b: string): number {
  let before = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const replaced = before[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1);
      row.push(Math.min(replaced, before[j]! + 1, row[j - 1]! + 1));
    }
    before = row;
  }
  return before[b.length]!;
}
