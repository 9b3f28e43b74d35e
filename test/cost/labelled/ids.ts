import { createHash } from 'node:crypto';
import { seeded } from '../../support/random';

/** 1..n, as in a database of tests; numbers with gaps, as in one that has lived; UUIDs. */
export const idKinds = ['counted', 'irregular', 'uuid'] as const;
export type IdKind = (typeof idKinds)[number];
export type Id = number | string;

/** The id of the n-th row of a table, from 1 on. */
export type IdOf = (table: string, n: number) => Id;

export function idsOf(kind: IdKind): IdOf {
  if (kind === 'counted') return (_, n) => n;
  if (kind === 'uuid') return uuidOf;
  const known = new Map<string, number[]>();
  return (table, n) => {
    let ids = known.get(table);
    if (ids === undefined) known.set(table, (ids = irregular(table)));
    return ids[n - 1]!;
  };
}

/** The n-th UUID of a name. */
export function uuidOf(name: string, n: number): string {
  const hex = createHash('md5').update(`${name} ${n}`).digest('hex');
  return [
    hex.slice(0, 8),
    hex.slice(8, 12),
    `4${hex.slice(13, 16)}`,
    `8${hex.slice(17, 20)}`,
    hex.slice(20),
  ].join('-');
}

/** Numbers that rise by gaps of 1 to 997. */
function irregular(table: string): number[] {
  const seed = createHash('md5').update(table).digest().readUInt32LE(0);
  const random = seeded(seed);
  let id = 10_000 + Math.floor(random() * 900_000);
  return Array.from({ length: 200 }, () => (id += 1 + Math.floor(random() * 997)));
}
