import { type CallSite, callSiteOf, describeCallSite, viaOf } from '../kernel/call-site';
import type { CostLedger } from './cost-ledger';
import type { Confidence } from './evidence/judge';
import { CALL_SITE_AT_REPEAT, MAX_SHAPES, MIN_RUNS, type ShapeCost } from './shape-cost';
import { canBeParent, type Growth, isGrowing } from './growth-history';
import type { OrmName } from '../kernel/package-frames';
import type { RepeatFinding, RepeatParent } from './repeat-finding';
import { MIN_ROWS, runsBetween } from './repeat-trace';

/** Rows and runs may differ by so much: a row that was skipped, one that was looked up once more. */
const TOLERANCE = 1;

/** What a shape grows with. */
interface Match {
  readonly parents: readonly ShapeCost[];
  /** Runs that the parents account for. */
  readonly runs: number;
}

/** For whose rows a shape ran, and how sure that is. */
interface Cause {
  readonly confidence: Confidence;
  readonly parents: readonly { readonly shape: ShapeCost; readonly column?: string }[];
}

/** What repeats in a unit of work: first what is proven, then the most frequent. */
export function findRepeats(cost: CostLedger): RepeatFinding[] {
  const findings: RepeatFinding[] = [];
  for (const shape of cost.shapes?.values() ?? []) {
    if (!isIgnored(shape, cost)) findings.push(...describe(shape, cost));
  }
  return findings.sort((a, b) => rankOf(a) - rankOf(b) || b.count - a.count);
}

/** Runs of the shape whose values came from the rows of an earlier result: of the largest, where there are several. */
export function countRepeats(cost: CostLedger): number {
  const { evidence, history } = cost;
  if (evidence === undefined) return 0;
  let most = 0;
  for (const shape of cost.shapes?.values() ?? []) {
    if (shape.count <= most || isIgnored(shape, cost)) continue;
    if (evidence.of(shape, history)?.confidence === 'proven') most = shape.count;
  }
  return most;
}

/** So many duplicates are worth as much as one run of an N+1: each may be another caller that wants to know. */
const DUPLICATES_PER_RUN = 2;

/**
 * The shape that repeats so often that it is worth a line: one that is proven, else the most frequent. No finding is
 * made to find out.
 */
export function worthyShape(cost: CostLedger, minRuns: number): ShapeCost | undefined {
  const { evidence, history } = cost;
  if (cost.queries < minRuns) return undefined;
  let proven: ShapeCost | undefined;
  let duplicate: ShapeCost | undefined;
  for (const shape of cost.shapes?.values() ?? []) {
    if (shape.count < minRuns || isIgnored(shape, cost)) continue;
    if (evidence?.of(shape, history)?.confidence === 'proven') proven = moreFrequent(proven, shape);
    else if (shape.duplicates >= DUPLICATES_PER_RUN * minRuns) duplicate = moreFrequent(duplicate, shape);
  }
  return proven ?? duplicate;
}

/** What is said of a shape that is worth a line. */
export function worthyFinding(shape: ShapeCost, cost: CostLedger): RepeatFinding | undefined {
  return describe(shape, cost).find(
    ({ kind, confidence }) => kind === 'duplicate' || confidence === 'proven',
  );
}

function moreFrequent(best: ShapeCost | undefined, shape: ShapeCost): ShapeCost {
  return best === undefined || shape.count > best.count ? shape : best;
}

function rankOf({ confidence }: RepeatFinding): number {
  return confidence === 'proven' ? 0 : 1;
}

function isIgnored({ shape }: ShapeCost, { ignored }: CostLedger): boolean {
  if (ignored === undefined) return false;
  const now = Date.now();
  return ignored.some(({ endsAt, matches }) => now < endsAt && matches(shape));
}

/** What is to be said of one shape: that it ran for rows, that it ran for the same again, or both. */
function describe(shape: ShapeCost, cost: CostLedger): RepeatFinding[] {
  const cause = causeOf(shape, cost);
  const found: RepeatFinding[] = [];
  if (cause !== undefined) found.push(nPlusOneOf(shape, cause, cost));
  const kind = otherKindOf(shape, cost);
  // One by one, or all at once, is how an N+1 runs; that all were sent at once is known where it is only suspected.
  const isOfCause = kind === 'look-ups' || (kind === 'fan-out' && cause?.confidence === 'proven');
  if (kind !== undefined && (cause === undefined || !isOfCause)) {
    found.push({ kind, ...outlineOf(shape, cost), parents: [], remedy: remedyOf(kind, shape, []) });
  }
  return found;
}

function nPlusOneOf(
  shape: ShapeCost,
  { confidence, parents: found }: Cause,
  cost: CostLedger,
): RepeatFinding {
  const parents = found.map(parent => recordParent(parent.shape, parent.column, cost));
  const growth = found[0] === undefined ? undefined : cost.history?.growthOf(shape, found[0].shape);
  // Of one that is proven, a slope that says nothing would only confuse: one handler may serve many selections.
  const isTold = growth !== undefined && (confidence !== 'proven' || isGrowing(growth));
  return {
    kind: 'n-plus-one',
    confidence,
    ...outlineOf(shape, cost),
    parents,
    ...(isTold && { slope: Math.round(growth.slope * 100) / 100 }),
    remedy: remedyOf('n-plus-one', shape, parents, viaOfShape(shape, cost)),
  };
}

function outlineOf(
  shape: ShapeCost,
  cost: CostLedger,
): Pick<RepeatFinding, 'shape' | 'table' | 'count' | 'duplicates' | 'callSite'> {
  const callSite = placeOf(shape, cost);
  return {
    shape: shape.shape,
    ...(shape.table !== undefined && { table: shape.table }),
    count: shape.count,
    duplicates: shape.duplicates,
    ...(callSite !== undefined && { callSite }),
  };
}

function otherKindOf(
  shape: ShapeCost,
  { evidence }: CostLedger,
): 'duplicate' | 'look-ups' | 'fan-out' | undefined {
  if (shape.duplicates > 0) return 'duplicate';
  if (shape.count >= MIN_RUNS && isSentAtOnce(shape)) return 'fan-out';
  return evidence?.lookUpsOf(shape) === undefined ? undefined : 'look-ups';
}

function isSentAtOnce({ count, maxConcurrent }: ShapeCost): boolean {
  return maxConcurrent === count;
}

/** What the values say; else what the counts do, unless the values speak against it. */
function causeOf(shape: ShapeCost, cost: CostLedger): Cause | undefined {
  if (shape.count < MIN_RUNS) return undefined;
  const { evidence, history } = cost;
  const evident = evidence?.of(shape, history);
  if (evident !== undefined) return evident;
  const parents = parentsOf(shape, cost);
  if (parents === undefined || evidence?.refutes(shape, parents) === true) return undefined;
  return { confidence: 'suspected', parents: parents.map(parent => ({ shape: parent })) };
}

/**
 * What a shape grows with by its counts: what this unit of work shows; else what earlier ones of its handler do,
 * where something comes between rows and runs (a cache, a filter).
 */
function parentsOf(shape: ShapeCost, cost: CostLedger): readonly ShapeCost[] | undefined {
  if (cost.repeatTrace === undefined || isAlwaysTheSame(shape)) return undefined;
  const candidates = [...(cost.shapes?.values() ?? [])]
    .slice(0, MAX_SHAPES)
    .filter(
      parent =>
        (parent === shape ? isTree(shape, cost) : canBeParent(parent)) &&
        runsBetween(shape, parent.answeredAt) > 0,
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

function steepestOf(
  shape: ShapeCost,
  candidates: readonly ShapeCost[],
  { history }: CostLedger,
): ShapeCost | undefined {
  let best: { parent: ShapeCost; growth: Growth } | undefined;
  for (const parent of candidates) {
    const growth = parent === shape ? undefined : history?.growthOf(shape, parent);
    if (growth !== undefined && isGrowing(growth) && growth.fit > (best?.growth.fit ?? 0))
      best = { parent, growth };
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

function recordParent(parent: ShapeCost, column: string | undefined, cost: CostLedger): RepeatParent {
  const { shape, table, rows } = parent;
  const site = siteOf(parent, cost);
  return {
    shape,
    ...(table !== undefined && { table }),
    ...(column !== undefined && { column }),
    rows,
    ...(site !== undefined && { callSite: describeCallSite(site) }),
  };
}

/** The line of a shape that repeats, or the method of a traced provider that it ran in. */
function placeOf(shape: ShapeCost, cost: CostLedger): string | undefined {
  const site = siteOf(shape, cost);
  if (site !== undefined) return describeCallSite(site);
  return shape.method && `in ${shape.method}`;
}

/** Where this unit of work made a shape, if it repeated; else where others of its handler did. */
function siteOf({ key, stack, count }: ShapeCost, { history }: CostLedger): CallSite | undefined {
  const own = stack && callSiteOf(stack);
  const repeated = own ?? (count < CALL_SITE_AT_REPEAT ? undefined : history?.repeatSiteOf(key));
  return repeated ?? history?.siteOf(key);
}

/** How each loads the rows of another table along. */
const ALONG: Readonly<Record<OrmName, string>> = {
  typeorm: 'relations: { … } or leftJoinAndSelect(), or IN (…)',
  prisma: 'include: { … }, or where: { in: … }',
  drizzle: 'with: { … } or a join, or inArray()',
  'mikro-orm': 'populate: […], or $in',
  mongoose: 'populate(), or $in',
  sequelize: 'include: […], or Op.in',
  objection: 'withGraphFetched(), or whereIn()',
  graphql: 'a DataLoader in the resolver',
};

/** Of an ORM that sends its queries in a turn of its own, the stack has no line of the application. */
function viaOfShape(shape: ShapeCost, cost: CostLedger): OrmName | undefined {
  const { stack } = shape;
  return siteOf(shape, cost)?.via ?? (stack && (stack.via ?? viaOf(stack)));
}

/** How a statement that writes again and again becomes one: no `IN (…)` gives each row a value of its own. */
export function remedyOfWrites(shape: string, table = 'the database'): string {
  const [verb] = /^\w+/.exec(shape) ?? [];
  switch (verb) {
    case 'INSERT':
    case 'REPLACE':
      return `insert all rows into ${table} in one statement (multi-row VALUES, createMany, COPY)`;
    case 'UPDATE':
      return `update all rows of ${table} in one statement (UPDATE … FROM (VALUES …), or WHERE … IN (…) for equal values)`;
    case 'DELETE':
      return `delete all rows of ${table} in one statement (WHERE … IN (…))`;
    case 'insert':
    case 'update':
    case 'delete':
      return `write all documents of ${table} in one command (insertMany, updateMany, bulkWrite)`;
    default:
      return `write all rows to ${table} in one statement (multi-row VALUES, UPDATE … FROM, COPY)`;
  }
}

function remedyOf(
  kind: RepeatFinding['kind'],
  { shape, table = 'the database', kind: access }: ShapeCost,
  parents: readonly RepeatParent[],
  via?: OrmName,
): string {
  if (access === 'write') return remedyOfWrites(shape, table);
  if (kind === 'duplicate')
    return `read ${table} once and pass the result along, or cache it for the request`;
  if (kind === 'fan-out') return `query ${table} once for all of them (IN (…), GROUP BY or UNION ALL)`;
  if (kind === 'look-ups') return `query ${table} once for all of them (IN (…)), or use a DataLoader`;
  const from = parents[0]?.table;
  // Rows of one table that lead to others of it are no JOIN, but a tree.
  if (from === table) return `load ${table} for all rows at once: IN (…), a recursive query or a DataLoader`;
  const all = `load ${table} for all ${from ?? 'rows'} at once`;
  return `${all}: ${via === undefined ? 'a JOIN, IN (…) or a DataLoader' : ALONG[via]}`;
}
