import { callSitesOf } from './call-site';
import type { CostLedger, ShapeCost } from './cost-ledger';
import type { GrowthHistory } from './growth-history';
import type { RepeatFinding, RepeatParent } from './repeat-finding';
import { MIN_ROWS, runsBetween } from './repeat-trace';

/** A shape that ran this often is looked at. */
const MIN_RUNS = 3;
/** Rows and runs may differ by so much: a row that was skipped, one that was looked up once more. */
const TOLERANCE = 1;

/** A shape and what it may have grown with. */
interface Match {
  readonly parents: readonly ShapeCost[];
  /** Runs that the parents account for. */
  readonly runs: number;
  readonly slope?: number | undefined;
}

/** What repeats in a unit of work, the most frequent first. */
export function findRepeats(cost: CostLedger, history?: GrowthHistory): RepeatFinding[] {
  const findings: RepeatFinding[] = [];
  for (const shape of cost.shapes?.values() ?? []) {
    const finding = describe(shape, cost, history);
    if (finding !== undefined) findings.push(finding);
  }
  return findings.sort((a, b) => b.count - a.count);
}

/** Runs of the shape that grows with the rows of an earlier result: of the largest, where there are several. */
export function countRepeats(cost: CostLedger, history?: GrowthHistory): number {
  let most = 0;
  for (const shape of cost.shapes?.values() ?? []) {
    if (shape.count > most && parentsOf(shape, cost, history) !== undefined) most = shape.count;
  }
  return most;
}

function describe(shape: ShapeCost, cost: CostLedger, history?: GrowthHistory): RepeatFinding | undefined {
  const match = parentsOf(shape, cost, history);
  const kind = match !== undefined ? 'n-plus-one' : kindOf(shape);
  if (kind === undefined) return undefined;
  const callSite = siteOf(shape, history);
  const parents = match?.parents.map(parent => recordParent(parent, history)) ?? [];
  return {
    kind,
    shape: shape.shape,
    ...(shape.table !== undefined && { table: shape.table }),
    count: shape.count,
    duplicates: shape.duplicates,
    parents,
    ...(match?.slope !== undefined && { slope: Math.round(match.slope * 100) / 100 }),
    ...(callSite !== undefined && { callSite }),
    remedy: remedyOf(kind, shape, parents),
  };
}

function kindOf(shape: ShapeCost): 'duplicate' | 'fan-out' | undefined {
  if (shape.duplicates > 0) return 'duplicate';
  return shape.count >= MIN_RUNS && shape.maxConcurrent === shape.count ? 'fan-out' : undefined;
}

/** What a shape grows with: by this unit of work alone, unless earlier ones of its handler know better. */
function parentsOf(shape: ShapeCost, cost: CostLedger, history?: GrowthHistory): Match | undefined {
  if (shape.count < MIN_RUNS || cost.trace === undefined) return undefined;
  const known = history?.growthOf(shape, cost);
  if (known === 'fixed') return undefined;
  if (known !== undefined) return { parents: [known.parent], runs: shape.count, slope: known.slope };
  // A retry, or a poll: as often as there are rows, but always for the same one.
  if (isAlwaysTheSame(shape)) return undefined;
  return matchOf(shape, cost);
}

function matchOf(shape: ShapeCost, cost: CostLedger): Match | undefined {
  let best: Match | undefined;
  for (const tolerance of [0, TOLERANCE]) {
    best ??= matchResults(shape, cost, tolerance) ?? matchSums(shape, cost, tolerance);
  }
  best ??= matchPairs(shape, cost);
  return best !== undefined && 2 * best.runs >= shape.count ? best : undefined;
}

/** A run for each row of one result, until its statement gave the next: all such results together. */
function matchResults(shape: ShapeCost, { trace }: CostLedger, tolerance: number): Match | undefined {
  const results = trace?.results ?? [];
  let best: Match | undefined;
  for (const parent of new Set(results.map(result => result.shape))) {
    if (parent === shape) continue;
    const own = results.filter(result => result.shape === parent);
    let runs = 0;
    for (const [i, { rows, at }] of own.entries()) {
      const here = runsBetween(shape, at, own[i + 1]?.at);
      if (here >= MIN_RUNS && Math.abs(here - rows) <= tolerance) runs += here;
    }
    // Of several, the one that accounts for most; of equals the last, as a loop follows its list.
    if (runs > 0 && runs >= (best?.runs ?? 0)) best = { parents: [parent], runs };
  }
  return best;
}

/** A run for each row of all results of a statement: what is nested in a loop, or a tree. */
function matchSums(shape: ShapeCost, cost: CostLedger, tolerance: number): Match | undefined {
  let best: Match | undefined;
  for (const parent of cost.shapes?.values() ?? []) {
    if (parent.answeredAt === 0 || parent.rows < MIN_ROWS || parent.rows <= parent.count) continue;
    const runs = runsBetween(shape, parent.answeredAt);
    if (runs < MIN_RUNS || Math.abs(runs - parent.rows) > tolerance) continue;
    if (best === undefined || runs > best.runs) best = { parents: [parent], runs };
  }
  return best;
}

/** A run for each row of two statements. */
function matchPairs(shape: ShapeCost, cost: CostLedger): Match | undefined {
  const parents = [...(cost.shapes?.values() ?? [])].filter(
    ({ answeredAt, rows }) => answeredAt !== 0 && rows >= MIN_ROWS,
  );
  for (const a of parents) {
    for (const b of parents) {
      if (a.rows < b.rows || a === b || a === shape || b === shape) continue;
      const runs = runsBetween(shape, Math.min(a.answeredAt, b.answeredAt));
      if (runs === a.rows + b.rows) return { parents: [a, b], runs };
    }
  }
  return undefined;
}

function isAlwaysTheSame({ count, duplicates, incomparable }: ShapeCost): boolean {
  return incomparable === 0 && duplicates === count - 1;
}

function recordParent(parent: ShapeCost, history?: GrowthHistory): RepeatParent {
  const { shape, table, rows } = parent;
  const callSite = siteOf(parent, history);
  return {
    shape,
    ...(table !== undefined && { table }),
    rows,
    ...(callSite !== undefined && { callSite }),
  };
}

function siteOf({ shape, stack }: ShapeCost, history?: GrowthHistory): string | undefined {
  return (stack === undefined ? undefined : callSitesOf(stack)[0]) ?? history?.siteOf(shape);
}

function remedyOf(
  kind: RepeatFinding['kind'],
  { table = 'it' }: ShapeCost,
  parents: readonly RepeatParent[],
): string {
  if (kind === 'duplicate')
    return `Read ${table} once and pass the result along, or cache it for the request.`;
  if (kind === 'fan-out') return `Ask ${table} once for all of them (IN (…), GROUP BY or UNION ALL).`;
  const source = parents[0]?.table;
  const join = source === undefined ? 'a JOIN' : `a JOIN with ${source}`;
  return `Fetch ${table} once for all rows: ${join} (include, relations, populate), IN (…) with their ids, or a DataLoader.`;
}
