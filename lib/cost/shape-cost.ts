import type { RawStack } from '../kernel/call-site';
import type { Trail } from './evidence/trail';
import type { Statement, StatementKind } from '../sql/statement';

/** Shapes, and tables, in the record of one unit of work; the rest is counted in the totals alone. */
export const MAX_SHAPES = 100;

/** A shape that repeats this often is worth a look at where, now and then. */
export const CALL_SITE_AT_REPEAT = 5;

/** A shape that runs this often may be a finding. */
export const MIN_RUNS = 3;

/** Running cost of one table. */
export interface TableCost {
  count: number;
  durationMs: number;
  rows: number;
}

/** Running cost of one statement shape. */
export interface ShapeCost {
  readonly shape: string;
  /** What it is told apart by. */
  readonly key: string;
  readonly table: string | undefined;
  readonly kind: StatementKind;
  readonly tableCost: TableCost | undefined;
  count: number;
  durationMs: number;
  rows: number;
  stack: RawStack | undefined;
  /** The traced method that it ran in when it began to repeat; absent unless providers are traced. */
  method: string | undefined;
  /** Runs under way, and the most at once. */
  open: number;
  maxConcurrent: number;
  /** Hash of the parameters of the first run since the last write: most shapes run once, and need no set. */
  firstSeen: number | undefined;
  /** Those of all runs since then, from the second on; for as long as the unit of work is open. */
  seen: Set<number> | undefined;
  /** Number of writes when `seen` was begun: what was read before one may have changed. */
  seenSince: number;
  /** Runs whose parameters had been seen before. */
  duplicates: number;
  /** When it ran first, and how often at that time; see `RepeatTrace`. */
  firstAt: number;
  runsAtFirst: number;
  /** Later times, as pairs of time and count; absent until there is one. */
  times: number[] | undefined;
  answeredAt: number;
  /** Results and rows that are kept to find whose values they are; see `Evidence`. */
  keptResults: number;
  keptRows: number;
  hasMoreRows: boolean;
  /** What its values are and where they may come from; absent while nothing repeats. */
  trail: Trail | undefined;
}

/** A shape that has not run yet. */
export function newShape(
  { shape, key = shape, table, kind }: Pick<Statement, 'shape' | 'key' | 'table' | 'kind'>,
  tableCost: TableCost | undefined,
): ShapeCost {
  return {
    shape,
    key,
    table,
    kind,
    tableCost,
    count: 0,
    durationMs: 0,
    rows: 0,
    stack: undefined,
    method: undefined,
    open: 0,
    maxConcurrent: 0,
    firstSeen: undefined,
    seen: undefined,
    seenSince: 0,
    duplicates: 0,
    firstAt: 0,
    runsAtFirst: 0,
    times: undefined,
    answeredAt: 0,
    keptResults: 0,
    keptRows: 0,
    hasMoreRows: false,
    trail: undefined,
  };
}
