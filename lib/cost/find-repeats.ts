import { type CallSite, callSiteOf, describeCallSite } from './call-site';
import type { CostLedger } from './cost-ledger';
import { CALL_SITE_AT_REPEAT, type ShapeCost } from './shape-cost';
import { canBeParent, type Growth, isGrowing } from './growth-history';
import type { RepeatFinding, RepeatParent } from './repeat-finding';
import { MIN_ROWS, runsBetween } from './repeat-trace';
import { cutShape } from './shown-shape';

/** A shape that ran this often is looked at. */
const MIN_RUNS = 3;
/** Rows and runs may differ by so much: a row that was skipped, one that was looked up once more. */
const TOLERANCE = 1;

/** A finding names two or three shapes, a record holds ten findings, and its 64 KB are for all of it. */
const MAX_SHAPE_LENGTH = 500;

/** What a shape grows with. */
interface Match {
  readonly parents: readonly ShapeCost[];
  /** Runs that the parents account for. */
  readonly runs: number;
}

/** What repeats in a unit of work, the most frequent first. */
export function findRepeats(cost: CostLedger): RepeatFinding[] {
  const findings: RepeatFinding[] = [];
  for (const shape of cost.shapes?.values() ?? []) {
    const finding = isIgnored(shape, cost) ? undefined : describe(shape, cost);
    if (finding !== undefined) findings.push(finding);
  }
  return findings.sort((a, b) => b.count - a.count);
}

/** Runs of the shape that grows with the rows of an earlier result: of the largest, where there are several. */
export function countRepeats(cost: CostLedger): number {
  let most = 0;
  for (const shape of cost.shapes?.values() ?? []) {
    if (shape.count <= most || isIgnored(shape, cost)) continue;
    if (parentsOf(shape, cost) !== undefined) most = shape.count;
  }
  return most;
}

function isIgnored({ shape }: ShapeCost, { ignored }: CostLedger): boolean {
  if (ignored === undefined) return false;
  const now = Date.now();
  return ignored.some(({ endsAt, matches }) => now < endsAt && matches(shape));
}

function describe(shape: ShapeCost, cost: CostLedger): RepeatFinding | undefined {
  const found = parentsOf(shape, cost);
  const kind = found !== undefined ? 'n-plus-one' : kindOf(shape);
  if (kind === undefined) return undefined;
  const site = siteOf(shape, cost);
  const parents = found?.map(parent => recordParent(parent, cost)) ?? [];
  const growth = found?.[0] === undefined ? undefined : cost.history?.growthOf(shape, found[0]);
  return {
    kind,
    shape: cutShape(shape.shape, MAX_SHAPE_LENGTH),
    ...(shape.table !== undefined && { table: shape.table }),
    count: shape.count,
    duplicates: shape.duplicates,
    parents,
    ...(growth !== undefined && { slope: Math.round(growth.slope * 100) / 100 }),
    ...(site !== undefined && { callSite: describeCallSite(site) }),
    remedy: remedyOf(kind, shape, parents),
  };
}

function kindOf(shape: ShapeCost): 'duplicate' | 'fan-out' | undefined {
  if (shape.duplicates > 0) return 'duplicate';
  return shape.count >= MIN_RUNS && isSentAtOnce(shape) ? 'fan-out' : undefined;
}

function isSentAtOnce({ count, maxConcurrent }: ShapeCost): boolean {
  return maxConcurrent === count;
}

/**
 * What a shape grows with: what this unit of work shows, unless earlier ones of its handler know
 * better; what only they show, where something comes between rows and runs (a cache, a filter).
 */
function parentsOf(shape: ShapeCost, cost: CostLedger): readonly ShapeCost[] | undefined {
  if (shape.count < MIN_RUNS || cost.repeatTrace === undefined || isAlwaysTheSame(shape)) return undefined;
  const candidates = [...(cost.shapes?.values() ?? [])].filter(
    parent =>
      (parent === shape ? isTree(shape, cost) : canBeParent(parent)) &&
      runsBetween(shape, parent.answeredAt) > 0 &&
      !isFixed(shape, parent, cost),
  );
  const match = matchOf(shape, candidates, cost);
  if (match !== undefined) return match.parents;
  const steepest = steepestOf(shape, candidates, cost);
  return steepest === undefined ? undefined : [steepest];
}

/** Whether a shape may have run for its own rows; a chain gives one row each time. */
function isTree(shape: ShapeCost, { repeatTrace }: CostLedger): boolean {
  return repeatTrace?.results.some(result => result.shape === shape) === true;
}

/** A retry, or a poll: as often as there are rows perhaps, but always for the same one. */
function isAlwaysTheSame({ count, duplicates }: ShapeCost): boolean {
  return duplicates === count - 1;
}

/** Whether earlier units of work have shown that a shape does not grow with another. */
function isFixed(shape: ShapeCost, parent: ShapeCost, { history }: CostLedger): boolean {
  const growth = history?.growthOf(shape, parent);
  return growth !== undefined && !isGrowing(growth);
}

function steepestOf(
  shape: ShapeCost,
  candidates: readonly ShapeCost[],
  { history }: CostLedger,
): ShapeCost | undefined {
  let best: { parent: ShapeCost; growth: Growth } | undefined;
  for (const parent of candidates) {
    const growth = parent === shape ? undefined : history?.growthOf(shape, parent);
    if (growth !== undefined && growth.fit > (best?.growth.fit ?? 0)) best = { parent, growth };
  }
  return best?.parent;
}

/** The explanation that accounts for all runs, else for half of them and more: the strict ones first. */
function matchOf(shape: ShapeCost, candidates: readonly ShapeCost[], cost: CostLedger): Match | undefined {
  const others = candidates.filter(parent => parent !== shape);
  // What is sent at once for each row is sent for exactly so many.
  const tolerance = isSentAtOnce(shape) ? 0 : TOLERANCE;
  const matches = [
    matchResults(shape, others, cost, 0),
    matchSums(shape, candidates, 0),
    matchPairs(shape, others),
    matchResults(shape, others, cost, tolerance),
    matchSums(shape, others, tolerance),
  ];
  return (
    matches.find(match => match?.runs === shape.count) ??
    matches.find(match => match !== undefined && 2 * match.runs >= shape.count)
  );
}

/** A run for each row of one result, until its statement gave the next: all such results together. */
function matchResults(
  shape: ShapeCost,
  candidates: readonly ShapeCost[],
  { repeatTrace }: CostLedger,
  tolerance: number,
): Match | undefined {
  const matches: { parent: ShapeCost; runs: number }[] = [];
  for (const parent of candidates) {
    const results = repeatTrace?.results.filter(result => result.shape === parent) ?? [];
    let runs = 0;
    for (const [i, { rows, at }] of results.entries()) {
      const here = runsBetween(shape, at, results[i + 1]?.at);
      if (here >= MIN_RUNS && Math.abs(here - rows) <= tolerance) runs += here;
    }
    if (runs > 0) matches.push({ parent, runs });
  }
  // Of several, the one that accounts for most; of equals the last, as a loop follows its list.
  return matches
    .map(({ parent, runs }) => ({ parents: [parent], runs }))
    .reduce<Match | undefined>((best, match) => (match.runs >= (best?.runs ?? 0) ? match : best), undefined);
}

/** A run for each row of all results of a statement: what is nested in a loop, or a tree. */
function matchSums(shape: ShapeCost, candidates: readonly ShapeCost[], tolerance: number): Match | undefined {
  let best: Match | undefined;
  for (const parent of candidates) {
    const runs = runsBetween(shape, parent.answeredAt);
    if (runs < MIN_RUNS || Math.abs(runs - parent.rows) > tolerance) continue;
    if (best === undefined || runs > best.runs) best = { parents: [parent], runs };
  }
  return best;
}

/** A run for each row of two statements. */
function matchPairs(shape: ShapeCost, candidates: readonly ShapeCost[]): Match | undefined {
  for (const a of candidates) {
    for (const b of candidates) {
      if (a === b || a.rows < b.rows) continue;
      const runs = runsBetween(shape, Math.min(a.answeredAt, b.answeredAt));
      if (runs >= MIN_ROWS && runs === a.rows + b.rows) return { parents: [a, b], runs };
    }
  }
  return undefined;
}

function recordParent(parent: ShapeCost, cost: CostLedger): RepeatParent {
  const { shape, table, rows } = parent;
  const site = siteOf(parent, cost);
  return {
    shape: cutShape(shape, MAX_SHAPE_LENGTH),
    ...(table !== undefined && { table }),
    rows,
    ...(site !== undefined && { callSite: describeCallSite(site) }),
  };
}

/** Where this unit of work made a shape, if it repeated; else where others of its handler did. */
function siteOf({ key, stack, count }: ShapeCost, { history }: CostLedger): CallSite | undefined {
  if (stack !== undefined) return callSiteOf(stack) ?? history?.siteOf(key);
  const repeated = count < CALL_SITE_AT_REPEAT ? undefined : history?.repeatSiteOf(key);
  return repeated ?? history?.siteOf(key);
}

function remedyOf(
  kind: RepeatFinding['kind'],
  { table = 'the database', kind: access }: ShapeCost,
  parents: readonly RepeatParent[],
): string {
  if (kind === 'duplicate')
    return `Read ${table} once and pass the result along, or cache it for the request.`;
  if (kind === 'fan-out') return `Ask ${table} once for all of them (IN (…), GROUP BY or UNION ALL).`;
  if (access === 'write')
    return `Write to ${table} once for all rows (multi-row VALUES, UPDATE … FROM, COPY).`;
  const join = parents[0]?.table === undefined ? 'a JOIN' : `a JOIN with ${parents[0].table}`;
  return `Fetch ${table} once for all rows: ${join} (include, relations, populate), IN (…) or a DataLoader.`;
}
